from __future__ import annotations

import sqlite3

import pytest

from distill_sql.sql.kinds import Kind, kind_of_error


@pytest.mark.parametrize(
    ("exception", "code", "message", "kind"),
    [
        ("OperationalError", sqlite3.SQLITE_ERROR, 'near "FORM": syntax error', "parse"),
        ("OperationalError", sqlite3.SQLITE_ERROR, "incomplete input", "parse"),
        ("OperationalError", sqlite3.SQLITE_ERROR, "no such column: a", "execution"),
        # A column may have the text of a message as its name; the message is then longer.
        ("OperationalError", sqlite3.SQLITE_ERROR, "no such column: incomplete input", "execution"),
        ("OperationalError", sqlite3.SQLITE_ERROR, "too many columns in result set", "too_large"),
        ("DatabaseError", sqlite3.SQLITE_AUTH, "not authorized", "forbidden"),
        ("OperationalError", sqlite3.SQLITE_INTERRUPT, "interrupted", "timeout"),
        ("OperationalError", sqlite3.SQLITE_TOOBIG, "string or blob too big", "too_large"),
        ("DatabaseError", sqlite3.SQLITE_CORRUPT, "malformed", "execution"),
        ("OperationalError", sqlite3.SQLITE_INTERRUPT | 1 << 8, "any", "timeout"),
        ("ProgrammingError", 0, "You can only execute one statement at a time.", "forbidden"),
        ("OverflowError", 0, "too large to convert", "too_large"),
        ("ValueError", 0, "embedded null character", "execution"),
    ],
)
def test_an_error_has_the_kind_of_its_code_its_class_or_its_message(
    exception: str, code: int, message: str, kind: Kind
) -> None:
    assert kind_of_error(exception, code, message) == kind

"""The kinds of outcome of a SQL statement, and which kind an error of SQLite or Python is."""

from __future__ import annotations

import re
import sqlite3
from typing import Literal, TypeAlias

#: The outcome of a statement. "ok": it ran to its end. "parse": it is not valid SQL. "execution":
#: it names what does not exist, or cannot be computed. "timeout": it exceeded its deadline.
#: "too_large": its text, its rows or its memory exceed a limit. "forbidden": it does more than
#: read, or is several statements.
Kind: TypeAlias = Literal["ok", "parse", "execution", "timeout", "too_large", "forbidden"]

#: Complete messages that SQLite gives only with its general error code. No name in a query can
#: imitate one, since no message has names at both ends.
_PARSE = re.compile(
    r'near ".*": syntax error|unrecognized token: ".*"|incomplete input'
    r"|parser stack overflow|Recursion limit",
    re.DOTALL,
)
_TOO_LARGE = re.compile(
    r"too many (?:columns|terms|FROM clause terms|arguments on function|references to)\b.*"
    r"|too many (?:SQL variables|levels of trigger recursion)|hex literal too big: .*"
    r"|(?:FTS e|E)xpression tree is too large \(maximum depth \d+\)"
    r"|LIKE or GLOB pattern too complex",
    re.DOTALL,
)
_KINDS: dict[int, Kind] = {
    sqlite3.SQLITE_AUTH: "forbidden",
    sqlite3.SQLITE_INTERRUPT: "timeout",
    sqlite3.SQLITE_TOOBIG: "too_large",
    sqlite3.SQLITE_NOMEM: "too_large",
    sqlite3.SQLITE_FULL: "too_large",
}


def kind_of_error(exception: str, code: int, message: str) -> Kind:
    """The kind of an error, by SQLite's code, else by Python's exception, else by the message.

    ``exception`` is the name of the exception's class; ``code`` is 0 if Python raised it.
    """
    if code & 0xFF != sqlite3.SQLITE_ERROR and code:
        return _KINDS.get(code & 0xFF, "execution")
    if not code:
        if exception in {"DataError", "OverflowError"}:
            return "too_large"
        several = message.startswith("You can only execute one statement at a time")
        return "forbidden" if several else "execution"
    if _PARSE.fullmatch(message):
        return "parse"
    return "too_large" if _TOO_LARGE.fullmatch(message) else "execution"

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from distill_sql.scoring import hardness
from distill_sql.scoring.mutants import mutants
from distill_sql.sql.failures import facets
from distill_sql.sql.parsing import LONGEST, parse, parse_query

#: Pieces of SQL that are expensive to parse when repeated, and some that are not SQL.
PIECES = [
    "(", ")", "1 AND ", "1 OR ", "NOT ", "a.", "a,", "'", '"', "`", "--", "-- \n", "/*", "*/",
    "CASE WHEN ", "CASE WHEN 1 THEN ", "SELECT * FROM (", "SELECT ", "UNION SELECT 1 ", "1+", "-",
    "~", ";", "[", "]", "{", "}", "{a:", "é", "\u2028", "\ud800", "\0", "1.", "0x", "T1.", "$",
    "$$", "@a", "\\", "'a'", "x'", "= ", "|| 'a' ", "EXISTS (", "a IN (SELECT ", "WITH a AS (",
    "(a OR ",
    "1 BETWEEN 1 AND ", "distinct ", "DISTINCT a,", " JOIN ", "GO ", "BEGIN ", "IF ", "CREATE ",
    "f(", "CAST(a AS ", "IS NOT NULL ", "OVER (PARTITION BY ", "(1),", "x->>'a'", "INTERVAL ",
]  # fmt: skip


def long_text(piece: str, length: int = LONGEST, begin: str = "") -> str:
    return begin + piece * ((length - len(begin)) // len(piece))


@pytest.mark.parametrize("begin", ["", "SELECT a FROM t WHERE "])
def test_parsing_is_quick_and_never_fails(begin: str) -> None:
    for piece in PIECES:
        text = long_text(piece, begin=begin)
        start = time.process_time()
        facets(text)
        hardness(text)
        assert time.process_time() - start < 2, (begin, piece)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([*PIECES, "a ", "1 ", "SELECT a FROM t ", ") "]), max_size=60))
def test_no_text_is_an_error(pieces: list[str]) -> None:
    sql = "SELECT a FROM t WHERE " + "".join(pieces)
    parse(sql)
    hardness(sql)
    facets(sql)
    mutants(sql)


@pytest.mark.parametrize(
    "tail", ["", ";", ";;", "; ;", ";\n;", "; -- total", " -- total", "; /* x */", "; what ((("]
)
def test_the_first_statement_is_read(tail: str) -> None:
    tree = parse(f"SELECT a FROM t{tail}")
    assert tree is not None
    tree.pop_comments()
    assert tree.sql("sqlite").split(" /*")[0] == "SELECT a FROM t"


@pytest.mark.parametrize(
    "sql", ["", " ", ";", "-- x", "; SELECT 1", "SELECT a FROM t WHERE if > 2"]
)
def test_invalid_sql_is_none(sql: str) -> None:
    assert parse(sql) is None


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    assert parse("SELECT 1".ljust(LONGEST)) is not None
    assert parse("SELECT 1".ljust(LONGEST + 1)) is None


def test_spaces_in_operators_are_removed_only_if_necessary() -> None:
    tree = parse("SELECT a FROM t WHERE b > = 2 AND c ! = 1")
    assert tree is not None
    assert tree.sql("sqlite") == "SELECT a FROM t WHERE b >= 2 AND c <> 1"
    kept = parse("SELECT a FROM t WHERE b = 'x > = y'")
    assert kept is not None
    assert kept.sql("sqlite").endswith("'x > = y'")


def test_values_is_not_a_query() -> None:
    assert isinstance(parse("VALUES (1)"), exp.Values)
    assert parse_query("VALUES (1)") is None
    assert parse_query("DELETE FROM t") is None
    assert parse_query("SELECT 1 UNION SELECT 2") is not None

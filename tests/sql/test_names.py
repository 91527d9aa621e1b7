from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given

from distill_sql.sql.names import folded, identifier, quote_identifier
from tests.hostile import names

#: https://sqlite.org/lang_keywords.html
KEYWORDS = (
    "abort action add after all alter always analyze and as asc attach autoincrement before begin "
    "between by cascade case cast check collate column commit conflict constraint create cross "
    "current current_date current_time current_timestamp database default deferrable deferred "
    "delete desc detach distinct do drop each else end escape except exclude exclusive exists "
    "explain fail filter first following for foreign from full generated glob group groups having "
    "if ignore immediate in index indexed initially inner insert instead intersect into is isnull "
    "join key last left like limit match materialized natural no not nothing notnull null nulls of "
    "offset on or order others outer over partition plan pragma preceding primary query raise "
    "range recursive references regexp reindex release rename replace restrict returning right "
    "rollback row rows savepoint select set table temp temporary then ties to transaction trigger "
    "unbounded union unique update using vacuum values view virtual when where window with without"
)


@pytest.mark.parametrize("word", KEYWORDS.split())
def test_a_keyword_is_quoted_unless_sqlite_takes_it_everywhere(word: str) -> None:
    name = identifier(word.upper())
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE {name} ({name} INT, b INT)")
        connection.execute(f"INSERT INTO {name} VALUES (5, 6)")
        for sql in (
            f"SELECT {name} FROM {name} WHERE {name} = 5 ORDER BY {name}",
            f"SELECT {name}.{name} FROM {name} GROUP BY {name}.{name}",
            f"SELECT a.{name} FROM {name} AS a JOIN {name} ON a.{name} = {name}.{name}",
        ):
            assert connection.execute(sql).fetchall() == [(5,)]


@given(names(), names())
def test_names_are_read_back_and_compared_as_sqlite_does(one: str, other: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for name in (one, other):
            sql = f"CREATE TABLE IF NOT EXISTS {quote_identifier(name)} ({identifier(name)} INT)"
            connection.execute(sql)
        made = [row[1] for row in connection.execute("PRAGMA table_list") if row[0] == "main"]
        stored = [name for name in made if not name.startswith("sqlite_")]
    assert sorted(stored) == sorted({folded(name): name for name in (other, one)}.values())

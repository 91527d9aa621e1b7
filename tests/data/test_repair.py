from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_sql.data.repair import Repair

Rows = list[tuple[object, ...]]


def repaired(statements: list[str], change: list[str]) -> tuple[sqlite3.Connection, list[str]]:
    """A database after ``change`` and the repair, and the names of its tables."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for sql in statements:
        connection.execute(sql)
    repair = Repair(connection, random.Random(1))
    for sql in change:
        connection.execute(sql)
    repair.run()
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return connection, [name for (name,) in tables]


@pytest.mark.parametrize(
    ("statements", "change", "left"),
    [
        (  # a row of the same table
            ["CREATE TABLE e (id INTEGER PRIMARY KEY, boss INT REFERENCES e)",
             "INSERT INTO e VALUES (1, NULL), (2, 1), (3, 2)"],
            ["UPDATE e SET boss = 99"], 3,
        ),
        (  # two tables in a circle, neither NULL
            ["CREATE TABLE a (id INTEGER PRIMARY KEY, b INT NOT NULL REFERENCES b)",
             "CREATE TABLE b (id INTEGER PRIMARY KEY, a INT NOT NULL REFERENCES a)",
             "INSERT INTO a VALUES (1, 1), (2, 2)", "INSERT INTO b VALUES (1, 1), (2, 2)"],
            ["UPDATE a SET id = id + 10", "UPDATE b SET id = id + 20"], 4,
        ),
        (  # no parent is left, and the key may be NULL
            ["CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (p INT REFERENCES p)",
             "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1)"],
            ["DELETE FROM p"], 1,
        ),
        (  # no parent is left, and the key may not be NULL, and what points to it goes, too
            ["CREATE TABLE p (id INTEGER PRIMARY KEY)",
             "CREATE TABLE c (id INTEGER PRIMARY KEY REFERENCES p)",
             "CREATE TABLE d (c INT NOT NULL REFERENCES c)",
             "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1)", "INSERT INTO d VALUES (1)"],
            ["DELETE FROM p"], 0,
        ),
        (  # two keys share a column
            ["CREATE TABLE p (a, b, PRIMARY KEY (a, b))", "CREATE TABLE q (b, c, UNIQUE (b, c))",
             "CREATE TABLE r (a NOT NULL, b NOT NULL, c NOT NULL, "
             "FOREIGN KEY (a, b) REFERENCES p, FOREIGN KEY (b, c) REFERENCES q (b, c))",
             *(f"INSERT INTO p VALUES ({b + 200}, {b})" for b in range(20)),
             *(f"INSERT INTO q VALUES ({b}, {b + 100})" for b in range(20)),
             *(f"INSERT INTO r VALUES ({b + 200}, {b}, {b + 100})" for b in range(20))],
            ["UPDATE r SET a = 9, c = 9"], 60,
        ),
        (  # without row numbers
            ["CREATE TABLE p (id TEXT PRIMARY KEY) WITHOUT ROWID",
             "CREATE TABLE c (id INT PRIMARY KEY, p TEXT NOT NULL REFERENCES p) WITHOUT ROWID",
             "INSERT INTO p VALUES ('x')", "INSERT INTO c VALUES (1, 'x'), (2, 'x')"],
            ["UPDATE p SET id = 'y'"], 3,
        ),
        (  # every name of the row's number is taken
            ["CREATE TABLE p (id TEXT PRIMARY KEY)",
             "CREATE TABLE c (rowid, oid, _rowid_ NOT NULL REFERENCES p)",
             "INSERT INTO p VALUES ('x')", "INSERT INTO c VALUES (1, 2, 'x')"],
            ["UPDATE p SET id = 'y'"], 1,
        ),
        (  # a parent that was never there, and a table that is called nothing
            ['CREATE TABLE "" ("" INTEGER PRIMARY KEY, p REFERENCES absent, s REFERENCES "")',
             'INSERT INTO "" VALUES (1, NULL, 1), (2, NULL, 1)'],
            ['UPDATE "" SET p = 5, s = 7'], 2,
        ),
    ],
    ids=["self", "circle", "null", "cascade", "shared", "without rowid", "rowid taken", "absent"],
)  # fmt: skip
def test_keys_hold_again_and_rows_go_last(
    statements: list[str], change: list[str], left: int
) -> None:
    connection, tables = repaired(statements, change)
    with closing(connection):
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        counts = [
            connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables
        ]
        assert sum(counts) == left


def test_a_key_that_was_broken_before_is_left_alone() -> None:
    statements = [
        "CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE q (id INTEGER PRIMARY KEY)",
        "CREATE TABLE c (p INT REFERENCES p, q INT REFERENCES q)",
        "INSERT INTO q VALUES (1)", "INSERT INTO c VALUES (7, 1)",
    ]  # fmt: skip
    connection, _ = repaired(statements, ["UPDATE c SET q = 5"])
    with closing(connection):
        assert connection.execute("SELECT * FROM c").fetchall() == [(7, 1)]


def test_a_key_to_what_is_no_key_is_held_to_what_its_first_rows_show() -> None:
    """SQLite refuses to check such a table."""
    statements = [
        "CREATE TABLE p (id INT)", "CREATE TABLE c (a INT REFERENCES p (id), b REFERENCES p (no))",
        "CREATE TABLE d (a INT REFERENCES p (id))",
        'CREATE TABLE e ("false" REFERENCES p (id))',
        "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1, 5)", "INSERT INTO d VALUES (2)",
        "INSERT INTO e VALUES (1)",
    ]  # fmt: skip
    connection, _ = repaired(statements, ["UPDATE c SET a = 8", "UPDATE d SET a = 8"])
    with closing(connection):
        assert connection.execute("SELECT * FROM c").fetchall() == [(1, 5)]
        assert connection.execute("SELECT * FROM d").fetchall() == [(8,)]


def test_virtual_tables_and_views_are_no_parents() -> None:
    statements = [
        "CREATE VIRTUAL TABLE ft USING fts5(a)", "CREATE VIEW v AS SELECT 1 AS a",
        "CREATE TABLE c (a REFERENCES ft (a), b REFERENCES v (a))",
        "INSERT INTO c VALUES (1, 2)",
    ]  # fmt: skip
    connection, _ = repaired(statements, ["UPDATE c SET a = 3"])
    with closing(connection):
        assert connection.execute("SELECT * FROM c").fetchall() == [(3, 2)]


small = st.sampled_from([None, 1, "1", 1.0, "a", "A", b"1"])
types = st.sampled_from(["INT", "TEXT", "REAL", "", "TEXT COLLATE NOCASE"])


@settings(max_examples=200)
@given(
    st.lists(types, min_size=3, max_size=3),
    st.lists(st.tuples(small, small), min_size=1, max_size=6),
    st.lists(st.tuples(small, small, small), min_size=1, max_size=8),
)
def test_a_key_holds_as_sqlite_understands_it(
    kinds: list[str], parents: Rows, children: Rows
) -> None:
    """For all affinities and collations of the two sides."""
    parent, child, other = kinds
    statements = [
        f"CREATE TABLE p (x {parent}, y {other}, PRIMARY KEY (x, y))",
        f"CREATE TABLE c (x {child} NOT NULL, y {parent}, p {child} REFERENCES u, "
        "FOREIGN KEY (x, y) REFERENCES p)",
        f"CREATE TABLE u (x {parent} PRIMARY KEY)",
    ]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for sql in statements:
            connection.execute(sql)
        repair = Repair(connection, random.Random(1))
        connection.executemany("INSERT OR IGNORE INTO p VALUES (?, ?)", parents)
        connection.executemany("INSERT OR IGNORE INTO u VALUES (?)", [row[:1] for row in parents])
        connection.executemany("INSERT OR IGNORE INTO c VALUES (?, ?, ?)", children)
        before = connection.execute("SELECT count(*) FROM c").fetchone()[0]
        was_sound = not connection.execute("PRAGMA foreign_key_check").fetchall()
        rows = connection.execute("SELECT * FROM c").fetchall()
        repair.run()
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        after = connection.execute("SELECT * FROM c").fetchall()
        assert len(after) == before  # y may be NULL
        assert not was_sound or after == rows

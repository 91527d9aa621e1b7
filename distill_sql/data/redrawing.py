"""Redrawing the rows of a copy of a database, from each column's values and from constants.

Writing a row runs code of the database's schema (CHECKs, indexes, generated columns), so this runs
in a separate process (:mod:`distill_sql.data.neighbours_worker`). All attempts are bounded: a value
that cannot be varied stays, a row that breaks a constraint is left out, and a table that would
become empty keeps its rows.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from distill_sql.data.pools import MIN_ROWS, Pool, Value
from distill_sql.data.repair import Repair, raise_if_fatal
from distill_sql.data.schema import Schema, Table
from distill_sql.sql.names import folded, quote_identifier

#: Most rows of a neighbour's table.
MAX_ROWS = 120
#: How much of a table is read to draw from: rows and cells.
READ_ROWS = 100_000
READ_CELLS = 4_000_000
#: Limits in bytes: a row or cell that is read or written, the database's growth, and the heap.
ROW_BYTES = 4 * 2**20
GROWTH_BYTES = 256 * 2**20
HEAP_BYTES = 512 * 2**20

Row = tuple[Value, ...]
Constants = Mapping[str, Sequence[int | float | str]]
#: For one foreign key: the positions of its columns in a row, and the parent's key values.
Parent = tuple[list[int], list[Row]]


def redraw(database: Path, schema: Schema, found: Constants, seed: str) -> None:
    """Replace the rows of all tables of a database.

    ``schema`` has the tables and columns of the file, and ``found`` the constants of each column.
    Raises sqlite3.Error if SQLite cannot continue.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        _prepare(connection)
        connection.execute("BEGIN")
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {quote_identifier(trigger)}")
        rng = random.Random(seed)
        repair = Repair(connection, rng)
        drawing = _Drawing(connection, schema, found, rng)
        for table in parents_first(schema):
            drawing.redraw(table)
        repair.run()
        connection.execute("COMMIT")
        try:
            connection.execute("VACUUM")
        except sqlite3.Error as error:  # a file with unused pages will do
            raise_if_fatal(error)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.text_factory = lambda raw: raw.decode(errors="ignore")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
    for pragma in (
        f"hard_heap_limit = {HEAP_BYTES}",
        "foreign_keys = OFF",
        "synchronous = OFF",
        "journal_mode = DELETE",  # a write-ahead log would be another file
    ):
        connection.execute(f"PRAGMA {pragma}")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (count,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {count + GROWTH_BYTES // size}")


class _Drawing:
    """Replaces the rows of one database, table by table, parents first."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        schema: Schema,
        found: Constants,
        rng: random.Random,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._constants = found
        self._rng = rng
        self._done: set[str] = set()
        self._stored = stored_columns(connection)

    def redraw(self, table: Table) -> None:
        """Replace the rows of a table, unless it is virtual or cannot be written."""
        stored = self._stored.get(folded(table.name), frozenset())
        kept = tuple(column for column in table.columns if folded(column.name) in stored)
        if not kept:
            return
        table = replace(table, columns=kept)
        name = quote_identifier(table.name)
        columns = [column.name for column in table.columns]
        listed = ", ".join(map(quote_identifier, columns))
        try:
            cursor = self._connection.execute(f"SELECT {listed} FROM {name}")
            rows = list(islice(cursor, min(READ_ROWS, READ_CELLS // len(columns))))
            cursor.close()
        except sqlite3.Error as error:  # a cell too long to be read, most likely
            raise_if_fatal(error)
            return
        drawn = self._draw(table, rows, self._parents(table, columns))
        # SQLite's own tables, such as the counters of AUTOINCREMENT, are drawn and not written:
        # without these draws, other tables would get other rows than before.
        if not folded(table.name).startswith("sqlite_"):
            self._write(name, listed, drawn, keep=bool(rows))
        self._done.add(folded(table.name))

    def _write(self, name: str, listed: str, drawn: list[list[Value]], *, keep: bool) -> None:
        connection = self._connection
        marks = ", ".join("?" * len(drawn[0]))
        insert = f"INSERT OR IGNORE INTO {name} ({listed}) VALUES ({marks})"
        connection.execute("SAVEPOINT table_")
        try:
            connection.execute(f"DELETE FROM {name}")
            for row in drawn:
                # A row that breaks a constraint is left out. OR IGNORE does not cover every error:
                # a rowid that is not an integer, a CHECK that cannot be evaluated.
                try:
                    connection.execute(insert, row)
                except sqlite3.Error as error:
                    raise_if_fatal(error)
            keep = keep and not connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall()
        except sqlite3.Error as error:  # a table that cannot be written keeps its rows
            raise_if_fatal(error)
            keep = True
        if keep:
            connection.execute("ROLLBACK TO table_")
        connection.execute("RELEASE table_")

    def _parents(self, table: Table, columns: list[str]) -> list[Parent]:
        """For each foreign key to a redrawn table: its columns' positions, and the key values."""
        lower = [folded(column) for column in columns]
        found = []
        for key in self._schema.keys_of(table.name):
            if folded(key.ref_table) not in self._done:
                continue
            if not {folded(column) for column in key.columns} <= {*lower}:
                continue
            target = ", ".join(map(quote_identifier, key.ref_columns))
            cursor = self._connection.execute(
                f"SELECT DISTINCT {target} FROM {quote_identifier(key.ref_table)}"
            )
            places = [lower.index(folded(column)) for column in key.columns]
            found.append((places, list(islice(cursor, READ_ROWS))))
            cursor.close()
        return found

    def _draw(self, table: Table, rows: list[Row], parents: list[Parent]) -> list[list[Value]]:
        rng = self._rng
        pools = [
            Pool([row[place] for row in rows], column.type, self._near(column.name), rng)
            for place, column in enumerate(table.columns)
        ]
        keyed = {place for places, _ in parents for place in places}
        size = min(MAX_ROWS, max(MIN_ROWS, round(len(rows) * rng.uniform(0.5, 1.2))))
        exchange = rng.choice((0.2, 0.5, 0.8))  # some neighbours stay close, some do not
        drawn = []
        for _ in range(size):
            row: list[Value] = list(rng.choice(rows)) if rows else [None] * len(pools)
            for place, pool in enumerate(pools):
                if place not in keyed:
                    row[place] = pool.value(row[place], exchange)
            for places, keys in parents:
                chosen = rng.choice(keys) if keys else (None,) * len(places)
                for place, value in zip(places, chosen, strict=True):
                    row[place] = value
            drawn.append(row)
        return drawn

    def _near(self, column: str) -> list[int | float | str]:
        return list(self._constants.get(column.lower(), ()))


def stored_columns(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """The columns of each ordinary table that are not generated, all in lower case."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    return {
        folded(name): frozenset(
            folded(column)
            for _, column, *_, hidden in connection.execute(
                f"PRAGMA table_xinfo({quote_identifier(name)})"
            )
            if not hidden
        )
        for name, sql in found.fetchall()
        if str(sql).upper().startswith("CREATE TABLE")
    }


def parents_first(schema: Schema) -> list[Table]:
    """The tables, parents before children; a cycle is broken at an arbitrary key."""
    ordered: dict[str, Table] = {}
    visiting: set[str] = set()
    for first in schema.tables:
        # Not recursive, since a chain of keys can be deeper than Python's stack.
        stack = [] if first.name in visiting else [(first, iter(schema.keys_of(first.name)))]
        visiting.add(first.name)
        while stack:
            table, keys = stack[-1]
            parents = (schema.table(key.ref_table) for key in keys)
            parent = next((p for p in parents if p.name not in visiting), None)
            if parent is None:
                ordered[table.name] = table
                stack.pop()
            else:
                visiting.add(parent.name)
                stack.append((parent, iter(schema.keys_of(parent.name))))
    return list(ordered.values())

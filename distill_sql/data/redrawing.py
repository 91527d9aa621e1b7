"""Other rows for a copy of a database: values drawn from each column's own, and from constants.

Writing a row runs what the database's schema says, CHECKs and indexes and generated columns, so
this runs in a process of its own (:mod:`distill_sql.data.neighbours_worker`). Nothing here is tried
without a bound: a value that cannot be varied stays, a row that breaks a constraint is left out,
and a table that would have no row left keeps those it had.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from distill_sql.data.repair import Repair, raise_if_fatal
from distill_sql.data.schema import Schema, Table
from distill_sql.sql.names import folded, quote_identifier

#: Rows that a table of a neighbour has at most, and at least if the original has none.
MAX_ROWS = 120
MIN_ROWS = 12
#: Rows, and cells, that are read of a table to draw from.
READ_ROWS = 100_000
READ_CELLS = 4_000_000
#: Attempts at a value that a column does not have yet.
TRIES = 1000
#: Longest row or cell that is read or written, and what the database may grow by, in bytes.
ROW_BYTES = 4 * 2**20
GROWTH_BYTES = 256 * 2**20
HEAP_BYTES = 512 * 2**20

Value = int | float | str | bytes | None
Row = tuple[Value, ...]
Constants = Mapping[str, Sequence[int | float | str]]
#: For one foreign key: the places of its columns in a row, and the keys of the parent.
Parent = tuple[list[int], list[Row]]


def redraw(database: Path, schema: Schema, found: Constants, seed: str) -> None:
    """Give the tables of a database other rows.

    ``schema`` names tables and columns of the file, and ``found`` the constants of each column.
    Raises sqlite3.Error if SQLite cannot go on.
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
        except sqlite3.Error as error:  # a file with holes in it does as well
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
        """Replace the rows of a table, unless it is a virtual one or cannot be written."""
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
        # SQLite's own tables, such as the counters of AUTOINCREMENT, are drawn like all others, so
        # that the rows of others are what they always were; they are not written.
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
                # A row that breaks a constraint is left out; there are others. Some SQLite does
                # not ignore: a key that must be whole and is not, a CHECK that cannot be computed.
                try:
                    connection.execute(insert, row)
                except sqlite3.Error as error:
                    raise_if_fatal(error)
            keep = keep and not connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall()
        except sqlite3.Error as error:  # a table that cannot be written stays
            raise_if_fatal(error)
            keep = True
        if keep:
            connection.execute("ROLLBACK TO table_")
        connection.execute("RELEASE table_")

    def _parents(self, table: Table, columns: list[str]) -> list[Parent]:
        """For each foreign key to a finished table: its columns' places and the keys there are."""
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


class Pool:
    """The values of one column, and those it might have."""

    def __init__(
        self, values: list[Value], kind: str, near: list[int | float | str], rng: random.Random
    ) -> None:
        self._rng = rng
        present = [value for value in values if value is not None]
        self._distinct = len(present) > 1 and len(set(present)) == len(present)
        self._nulls = len(values) > len(present)
        self._number = kind in ("number", "boolean") and not any(
            isinstance(value, str | bytes) for value in present
        )
        self._near = [value for value in map(self._fit, near) if value is not None]
        self._values: list[Any] = list(dict.fromkeys(present)) or self._invented()
        self._used: set[Any] = set()

    def value(self, current: Value, exchange: float) -> Value:
        """A value for a row that had ``current``; never twice the same in a column of its own.

        Unless no other is found in :data:`TRIES` attempts.
        """
        rng = self._rng
        if current is None or rng.random() < exchange:
            if self._nulls and rng.random() < 0.1:
                return None
            current = rng.choice(self._near if self._near and rng.random() < 0.4 else self._values)
            if self._number and rng.random() < 0.15:
                current = self._moved(current)
        if not self._distinct:
            return current
        for _ in range(TRIES):
            if current not in self._used:
                break
            current = self._moved(current)
        self._used.add(current)
        return current

    def _moved(self, value: Any) -> Any:
        """Another value nearby: it may be new to the column."""
        if isinstance(value, int):
            moved = value + self._rng.choice((-1, 1)) * self._rng.randint(1, 9)
            return moved if fits(moved) else value - (moved - value)
        if isinstance(value, float):
            near = value * self._rng.uniform(0.7, 1.3) + self._rng.uniform(-1, 1)
            return round(near, 2) if math.isfinite(near) else self._rng.uniform(-1000, 1000)
        if isinstance(value, str):
            other = str(self._rng.choice(self._values))
            return f"{value} {other}" if len(value) < 40 else f"{other[:20]} {self._rng.random()}"
        return value + bytes([self._rng.randrange(256)])

    def _fit(self, value: float | str) -> Value:
        """A constant as this column would store it, or None if it would not."""
        if not self._number:
            return str(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() and fits(number) else number

    def _invented(self) -> list[Any]:
        if self._number:
            return [self._rng.randint(1, 100) for _ in range(MIN_ROWS)]
        return [f"{self._rng.choice('abcdefgh')}{number}" for number in range(MIN_ROWS)]


def fits(number: float) -> bool:
    """Whether SQLite can store a whole number as one."""
    return -(2**63) <= number < 2**63


def stored_columns(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """The columns of each ordinary table that are no generated ones, all in lower case."""
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
    """The tables, each after those that its foreign keys point to; a cycle is cut anywhere."""
    ordered: dict[str, Table] = {}
    visiting: set[str] = set()
    for first in schema.tables:
        # By hand, since a chain of keys can be longer than Python's stack.
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

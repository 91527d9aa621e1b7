"""Repairing foreign keys that held before the rows of a database were redrawn.

Redrawing cannot follow keys that form a cycle, share columns, or are missing in its schema. Rows
that violate such a key get the key of another parent, else NULL; what remains is deleted.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from distill_sql.sql.names import folded, quote_identifier

#: Passes that assign new parents, parents tried per row, and rows per pass.
ROUNDS = 4
TRIES = 5
MOST_ROWS = 10_000
#: Rows that are checked for a key that SQLite cannot check.
FIRST_ROWS = 100
#: Errors that do not concern a single row or table.
_FATAL = {
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOTADB,
}


def raise_if_fatal(error: sqlite3.Error) -> None:
    """Raise an error of SQLite again unless it concerns a single row or table only."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FATAL:
        raise error


class Key(NamedTuple):
    """A foreign key of the file: columns of ``table`` that reference columns of ``parent``.

    ``row`` are columns that identify a row of ``table``; ``parent`` is None if the table is
    missing.
    """

    table: str
    columns: tuple[str, ...]
    parent: str | None
    targets: tuple[str, ...]
    row: tuple[str, ...]

    @property
    def own(self) -> str:
        """The table as a query names it."""
        return f"{quote_identifier(self.table)} AS c"

    @property
    def points_nowhere(self) -> str:
        """The SQL condition for a row that violates the key: no part is NULL, no parent matches."""
        child = [f"c.{quote_identifier(column)}" for column in self.columns]
        known = [f"{column} IS NOT NULL" for column in child]
        if self.parent is not None:
            # Like SQLite's own check, this uses the parent's affinity and collation: "+" removes
            # the child's.
            targets = map(quote_identifier, self.targets)
            same = [f"p.{t} = +{column}" for t, column in zip(targets, child, strict=True)]
            parent = f"{quote_identifier(self.parent)} AS p"
            known.append(f"NOT EXISTS (SELECT 1 FROM {parent} WHERE {' AND '.join(same)})")
        return " AND ".join(known)


class Repair:
    """Remembers which foreign keys of a database hold; :meth:`run` makes them hold again.

    Meanwhile SQLite must not check foreign keys or run triggers.
    """

    def __init__(self, connection: sqlite3.Connection, rng: random.Random) -> None:
        self._connection = connection
        self._rng = rng
        self._keys = list(_held_keys(connection))

    def run(self) -> None:
        """Give rows other parents, or NULL, or delete them, until every key holds."""
        for _ in range(ROUNDS):
            if not sum(map(self._point_elsewhere, self._keys)):
                break
        for key in self._keys:
            for column in key.columns:  # a single NULL is enough
                empty = f"{quote_identifier(column)} = NULL"
                self._changed(f"UPDATE OR IGNORE {key.own} SET {empty} WHERE {key.points_nowhere}")
        while sum(
            self._changed(f"DELETE FROM {key.own} WHERE {key.points_nowhere}") for key in self._keys
        ):
            pass  # rows that referenced deleted rows follow

    def _point_elsewhere(self, key: Key) -> int:
        """Give rows that violate a key another parent; returns the number of such rows."""
        if key.parent is None or not key.row:
            return 0
        own = ", ".join(f"c.{quote_identifier(column)}" for column in (*key.row, *key.columns))
        found = self._rows(f"SELECT {own} FROM {key.own} WHERE {key.points_nowhere}", MOST_ROWS)
        targets = ", ".join(map(quote_identifier, key.targets))
        known = " AND ".join(f"{quote_identifier(target)} IS NOT NULL" for target in key.targets)
        parents = (
            self._rows(
                f"SELECT DISTINCT {targets} FROM {quote_identifier(key.parent)} WHERE {known}",
                MOST_ROWS,
            )
            if found
            else []
        )
        shared = self._shared(key)
        given = ", ".join(f"{quote_identifier(column)} = ?" for column in key.columns)
        which = " AND ".join(f"{quote_identifier(column)} IS ?" for column in key.row)
        update = f"UPDATE OR IGNORE {quote_identifier(key.table)} SET {given} WHERE {which}"
        for row in found:
            place, current = row[: len(key.row)], row[len(key.row) :]
            # These columns belong to another key, too, which holds if they do not change.
            fitting = [p for p in parents if all(p[i] == current[i] for i in shared)] or parents
            for _ in range(TRIES if fitting else 0):
                if self._changed(update, (*self._rng.choice(fitting), *place)):
                    break
        return len(found)

    def _shared(self, key: Key) -> list[int]:
        """The positions of a key's columns that belong to another key as well."""
        others = {
            folded(column)
            for other in self._keys
            if other is not key and other.table == key.table
            for column in other.columns
        }
        return [place for place, column in enumerate(key.columns) if folded(column) in others]

    def _rows(self, sql: str, most: int) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(sql)
            rows = list(islice(cursor, most))
            cursor.close()
        except sqlite3.Error as error:
            raise_if_fatal(error)
            return []
        return rows

    def _changed(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """How many rows a statement changed; 0 if a constraint or the schema forbids it."""
        try:
            return max(self._connection.execute(sql, parameters).rowcount, 0)
        except sqlite3.Error as error:
            raise_if_fatal(error)
            return 0


def _held_keys(connection: sqlite3.Connection) -> Iterator[Key]:
    """The foreign keys of all tables that no row violates."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
    ).fetchall()
    tables = [name for name, sql in found if str(sql).upper().startswith("CREATE TABLE")]
    names = {folded(name) for name, _ in found}
    columns = {folded(name): _columns(connection, name) for name in tables}
    for table in tables:
        keys = dict(_declared_keys(connection, table, names, columns))
        broken = _broken(connection, table, keys) if keys else set()
        yield from (key for number, key in keys.items() if number not in broken)


def _declared_keys(
    connection: sqlite3.Connection,
    table: str,
    names: set[str],
    columns: Mapping[str, Mapping[str, int]],
) -> Iterator[tuple[int, Key]]:
    """The valid foreign keys of a table with SQLite's numbers, in the order of declaration."""
    grouped: dict[int, list[tuple[str, str, str | None]]] = {}
    for number, _, parent, column, target, *_ in connection.execute(
        f"PRAGMA foreign_key_list({quote_identifier(table)})"
    ).fetchall():
        grouped.setdefault(number, []).append((parent, column, target))
    row = _row_columns(connection, table, columns[folded(table)]) if grouped else ()
    for number in sorted(grouped, reverse=True):
        parent = grouped[number][0][0]
        there = columns.get(folded(parent), {})
        targets = tuple(target for _, _, target in grouped[number] if target is not None) or tuple(
            name for name, place in sorted(there.items(), key=lambda item: item[1]) if place
        )
        sources = tuple(column for _, column, _ in grouped[number])
        known = {folded(name) for name in there}
        if folded(parent) not in names:
            yield number, Key(table, sources, None, (), row)
        elif len(targets) == len(sources) and known.issuperset(map(folded, targets)):
            yield number, Key(table, sources, parent, targets, row)


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, int]:
    """The columns of a table, each with its position in the primary key, else 0."""
    found = connection.execute(f"PRAGMA table_xinfo({quote_identifier(table)})").fetchall()
    return {name: place for _, name, _, _, _, place, _ in found}


def _broken(connection: sqlite3.Connection, table: str, keys: Mapping[int, Key]) -> set[int]:
    """The numbers of the foreign keys of a table that some row violates."""
    try:
        found = connection.execute(
            "SELECT DISTINCT fkid FROM pragma_foreign_key_check(?)", (table,)
        ).fetchall()
        return {number for (number,) in found}
    except sqlite3.Error as error:
        raise_if_fatal(error)
    # If one of the table's keys references columns that are not unique, SQLite checks none of them.
    # Then the first rows are checked here.
    return {number for number, key in keys.items() if _is_broken(connection, key)}


def _is_broken(connection: sqlite3.Connection, key: Key) -> bool:
    listed = ", ".join(map(quote_identifier, key.columns))
    rows = connection.execute(f"SELECT {listed} FROM {key.own} LIMIT {FIRST_ROWS}").fetchall()
    pointing = [row for row in rows if None not in row]
    if key.parent is None:
        return bool(pointing)
    same = " AND ".join(f"{quote_identifier(target)} = ?" for target in key.targets)
    parent = f"SELECT 1 FROM {quote_identifier(key.parent)} WHERE {same} LIMIT 1"
    return any(connection.execute(parent, row).fetchone() is None for row in pointing)


def _row_columns(
    connection: sqlite3.Connection, table: str, columns: Mapping[str, int]
) -> tuple[str, ...]:
    """Columns that identify a row: the rowid, or the primary key of a table without one."""
    taken = {folded(name) for name in columns}
    for name in ("rowid", "oid", "_rowid_"):
        if name not in taken:
            try:
                connection.execute(f"SELECT {name} FROM {quote_identifier(table)} LIMIT 0")
            except sqlite3.Error:
                break
            return (name,)
    return tuple(name for name, place in columns.items() if place)

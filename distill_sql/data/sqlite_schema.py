"""The schema of a SQLite file, read from the database itself."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from distill_sql.data.databases import read_only
from distill_sql.data.schema import Column, ForeignKey, Schema, Table, coarse_type
from distill_sql.sql.names import folded, quote_identifier

_ROWID = ("rowid", "oid", "_rowid_")
#: Suffixes of the shadow tables of each kind of virtual table.
_SHADOWS = {
    **dict.fromkeys(("fts3", "fts4"), ("content", "segments", "segdir", "docsize", "stat")),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    **dict.fromkeys(("rtree", "rtree_i32", "geopoly"), ("node", "rowid", "parent")),
}
_MODULE = re.compile(r"\bUSING\W+(\w+)", re.IGNORECASE)
#: SQLite adds this to the type of a generated column.
_GENERATED = re.compile(r"\s*GENERATED ALWAYS\s*$", re.IGNORECASE)


def schema_from_sqlite(path: Path | str, *, db_id: str | None = None) -> Schema:
    """Read the schema of a SQLite file: tables, columns, primary and foreign keys.

    Generated columns are included. Views, SQLite's own tables and the shadow tables of full-text
    and R-Tree tables are left out. As in SQLite, a foreign key without columns refers to the
    parent's primary key, and one to the rowid refers to the column that is its alias. SQLite
    accepts foreign keys to what does not exist; they are left out. ``db_id`` defaults to the file's
    stem.
    """
    path = Path(path)
    with read_only(path) as connection:
        found = [_table_from_sqlite(connection, name) for name in _names_from_sqlite(connection)]
        tables = {folded(table.name): (table, rowid) for table, rowid in filter(None, found)}
        foreign = [
            key
            for table, _ in tables.values()
            for key in _foreign_keys_from_sqlite(connection, table, tables)
        ]
    return Schema(db_id or path.stem, tuple(table for table, _ in tables.values()), tuple(foreign))


def _names_from_sqlite(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%'"
        " ESCAPE '!' ORDER BY rowid"
    ).fetchall()
    # PRAGMA table_list lists them, too, but not in every SQLite, and it prepares every view.
    shadows = {
        folded(f"{name}_{suffix}")
        for name, sql in found
        for module in _MODULE.findall(sql or "")
        for suffix in _SHADOWS.get(module.lower(), ())
    }
    return [name for name, _ in found if folded(name) not in shadows]


def _table_from_sqlite(connection: sqlite3.Connection, name: str) -> tuple[Table, str] | None:
    """A table, and its column that is an alias of the rowid or ""; None if it cannot be queried.

    It cannot if the module of a virtual table is missing, or if a name is not text.
    """
    try:
        found = connection.execute(f"PRAGMA table_xinfo({quote_identifier(name)})").fetchall()
    except sqlite3.OperationalError:
        return None
    columns, key = [], []
    for _, column, declared, _, _, key_position, hidden in found:
        if hidden != 1:  # a parameter of a virtual table
            columns.append(Column(column, coarse_type(_GENERATED.sub("", declared))))
        if key_position:
            key.append((key_position, column, declared))
    if not columns:
        return None
    rowid = key[0][1] if len(key) == 1 and key[0][2].upper() == "INTEGER" else ""
    return Table(name, tuple(columns), tuple(column for _, column, _ in sorted(key))), rowid


def _foreign_keys_from_sqlite(
    connection: sqlite3.Connection, table: Table, tables: Mapping[str, tuple[Table, str]]
) -> Iterator[ForeignKey]:
    grouped: dict[int, list[tuple[str, str, str | None]]] = {}
    for number, _, ref_table, column, ref_column, *_ in connection.execute(
        f"PRAGMA foreign_key_list({quote_identifier(table.name)})"
    ):
        grouped.setdefault(number, []).append((ref_table, column, ref_column))
    own = {folded(column.name): column.name for column in table.columns}
    for number in sorted(grouped, reverse=True):  # SQLite lists the last declared key first
        pairs = grouped[number]
        if (name := folded(pairs[0][0])) not in tables:
            continue
        parent, rowid = tables[name]
        known = dict.fromkeys(_ROWID if rowid else (), rowid)
        known |= {folded(column.name): column.name for column in parent.columns}
        named = [ref for _, _, ref in pairs if ref is not None] or parent.primary_key
        sources = tuple(own[folded(c)] for _, c, _ in pairs if folded(c) in own)
        targets = tuple(known[folded(ref)] for ref in named if folded(ref) in known)
        if len(pairs) == len(named) == len(sources) == len(targets):
            yield ForeignKey(table.name, sources, parent.name, targets)

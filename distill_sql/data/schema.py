"""What a database is made of: tables, columns, keys; read from ``tables.json`` or a live database.

Names are kept as the database spells them. SQLite compares them without case, so every lookup here
does too (:func:`distill_sql.sql.names.folded`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_sql.data.databases import check_name, read_only
from distill_sql.errors import DatasetError
from distill_sql.files import read_json
from distill_sql.sql.names import folded
from distill_sql.sql.names import identifier as identifier  # both for whoever has a schema, too
from distill_sql.sql.names import quote_identifier as quote_identifier

#: Spider's words for column types.
COARSE_TYPES = ("text", "number", "time", "boolean", "others")
_ROWID = ("rowid", "oid", "_rowid_")
#: How each kind of virtual table names the tables that it keeps its contents in.
_SHADOWS = {
    **dict.fromkeys(("fts3", "fts4"), ("content", "segments", "segdir", "docsize", "stat")),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    **dict.fromkeys(("rtree", "rtree_i32", "geopoly"), ("node", "rowid", "parent")),
}
_MODULE = re.compile(r"\bUSING\W+(\w+)", re.IGNORECASE)
#: What SQLite adds to the type of a generated column.
_GENERATED = re.compile(r"\s*GENERATED ALWAYS\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column: its name, its coarse type and, where the data has one, a description.

    ``type`` is one of :data:`COARSE_TYPES`; BIRD's SQL types are mapped to them. ``synonyms`` are
    other words that people use for it, as a semantic layer lists them. ``comment`` is what a prompt
    says behind it (:mod:`distill_sql.data.descriptions`).
    """

    name: str
    type: str = "text"
    description: str = ""
    synonyms: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """Columns of ``table`` that reference columns of ``ref_table``, pair by pair."""

    table: str
    columns: tuple[str, ...]
    ref_table: str
    ref_columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table: columns in declaration order and the names of its primary key columns."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    description: str = ""
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """One database's tables, in declaration order, and the foreign keys between them."""

    db_id: str
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Table]:
        return {folded(table.name): table for table in self.tables}

    def __contains__(self, name: str) -> bool:
        return folded(name) in self._by_name

    def table(self, name: str) -> Table:
        """The table called ``name``, whatever its case; :class:`KeyError` if there is none."""
        return self._by_name[folded(name)]

    @cached_property
    def _keys(self) -> dict[str, list[ForeignKey]]:
        found: dict[str, list[ForeignKey]] = {}
        for key in self.foreign_keys:
            found.setdefault(folded(key.table), []).append(key)
        return found

    def keys_of(self, name: str) -> Sequence[ForeignKey]:
        """The foreign keys of the table called ``name``, in order."""
        return self._keys.get(folded(name), ())

    def neighbours(self, name: str) -> Iterator[str]:
        """Names of the tables one foreign key away from ``name``, in either direction."""
        wanted = folded(name)
        for key in self.foreign_keys:
            ends = folded(key.table), folded(key.ref_table)
            if wanted in ends and ends[0] != ends[1]:
                yield self.table(ends[1] if ends[0] == wanted else ends[0]).name

    def without_synonyms(self) -> Schema:
        """This schema as it is where nobody has listed any synonyms."""
        tables = (
            replace(t, synonyms=(), columns=tuple(replace(c, synonyms=()) for c in t.columns))
            for t in self.tables
        )
        return replace(self, tables=tuple(tables))

    def restrict(self, names: set[str]) -> Schema:
        """This schema with only the named tables, and no foreign key that leaves them."""
        keep = {folded(name) for name in names}
        return Schema(
            self.db_id,
            tuple(table for table in self.tables if folded(table.name) in keep),
            tuple(
                key
                for key in self.foreign_keys
                if folded(key.table) in keep and folded(key.ref_table) in keep
            ),
        )


def load_tables_json(path: Path | str) -> dict[str, Schema]:
    """Read the schemas of a ``tables.json`` file in the format of Spider and BIRD, by ``db_id``.

    Two keys of our own are optional: ``table_synonyms`` and ``column_synonyms``, a list of words
    for each table and each column.

    The format's habits are handled here and nowhere else: column 0 is the sentinel ``[-1, "*"]``,
    a primary key is one column index or a list of them, a foreign key is a pair of indices. Spider
    spells a composite foreign key as several pairs, and so do we: one key per pair.

    Raises :class:`DatasetError` naming the file, the entry and the field that is wrong.
    """
    path = Path(path)
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DatasetError(
            f"{path}: expected a list of schemas, found {type(entries).__name__}. "
            "Point at the tables.json of a Spider-format dataset."
        )
    schemas: dict[str, Schema] = {}
    for position, entry in enumerate(entries):
        try:
            schema = _schema_from_entry(entry)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            db_id = entry.get("db_id", "?") if isinstance(entry, Mapping) else "?"
            raise DatasetError(
                f"{path}: entry {position} (db_id {db_id!r}) is malformed: "
                f"{type(error).__name__}: {error}. Expected the keys db_id, table_names_original, "
                "column_names_original, column_types, primary_keys, foreign_keys; "
                "download the file again or correct the entry."
            ) from error
        schemas[check_name(schema.db_id, what=f"{path}, entry {position}: the db_id")] = schema
    return schemas


def _schema_from_entry(entry: Mapping[str, Any]) -> Schema:
    names: list[str] = [_text(name) for name in entry["table_names_original"]]
    columns = [
        (_place(t, len(names), -1), _text(name)) for t, name in entry["column_names_original"]
    ]
    types = [_text(kind) for kind in entry["column_types"]]
    if len(types) != len(columns):
        raise ValueError(f"{len(columns)} columns but {len(types)} column_types")
    natural_columns = entry.get("column_names", columns)
    natural_tables = entry.get("table_names", names)
    column_synonyms = entry.get("column_synonyms") or [()] * len(columns)
    table_synonyms = entry.get("table_synonyms") or [()] * len(names)
    if len(column_synonyms) != len(columns):
        raise ValueError(f"{len(columns)} columns but {len(column_synonyms)} column_synonyms")

    def column(index: int) -> tuple[str, str]:
        table_index, name = columns[_place(index, len(columns))]
        if table_index < 0:
            raise ValueError(f"column {index} ({name!r}) belongs to table {table_index}")
        return names[table_index], name

    members: dict[str, list[Column]] = {name: [] for name in names}
    for index, (table_index, name) in enumerate(columns):
        if table_index >= 0:
            description = _text(natural_columns[index][1])
            kind = types[index] if types[index] in COARSE_TYPES else coarse_type(types[index])
            members[column(index)[0]].append(
                Column(name, kind, description, tuple(map(_text, column_synonyms[index])))
            )

    primary: dict[str, list[str]] = {name: [] for name in names}
    for key in entry["primary_keys"]:
        for index in key if isinstance(key, list) else [key]:
            table, name = column(index)
            primary[table].append(name)

    foreign = []
    for source, target in entry["foreign_keys"]:
        (table, name), (ref_table, ref_name) = column(source), column(target)
        foreign.append(ForeignKey(table, (name,), ref_table, (ref_name,)))

    tables = tuple(
        Table(
            name,
            tuple(members[name]),
            tuple(primary[name]),
            _text(description),
            tuple(map(_text, synonyms)),
        )
        for name, description, synonyms in zip(names, natural_tables, table_synonyms, strict=True)
    )
    return Schema(_text(entry["db_id"]), tables, tuple(foreign))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _place(value: Any, size: int, first: int = 0) -> int:
    """A place in a list of ``size`` entries; Python itself would count -1 from the end."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no index")
    if not first <= value < size:
        raise IndexError(f"there is no entry {value} among {size}")
    return value


def schema_to_tables_json(schema: Schema) -> dict[str, Any]:
    """The ``tables.json`` entry of a schema, so that any Spider tool can read it.

    A composite primary key becomes a list of indices (BIRD's spelling), a composite foreign key one
    pair per column. Synonyms are written only where there are any.
    """
    columns: list[tuple[int, str]] = [(-1, "*")]
    natural = [(-1, "*")]
    types = ["text"]
    synonyms: list[list[str]] = [[]]
    index: dict[tuple[str, str], int] = {}
    for position, table in enumerate(schema.tables):
        for column in table.columns:
            index[folded(table.name), folded(column.name)] = len(columns)
            columns.append((position, column.name))
            natural.append((position, column.description or column.name.replace("_", " ").lower()))
            types.append(column.type)
            synonyms.append(list(column.synonyms))

    def at(table: str, column: str) -> int:
        return index[folded(table), folded(column)]

    primary: list[int | list[int]] = []
    for table in schema.tables:
        key = [at(table.name, name) for name in table.primary_key]
        if key:
            primary.append(key[0] if len(key) == 1 else key)
    entry: dict[str, Any] = {
        "db_id": schema.db_id,
        "table_names_original": [table.name for table in schema.tables],
        "table_names": [
            table.description or table.name.replace("_", " ").lower() for table in schema.tables
        ],
        "column_names_original": [list(pair) for pair in columns],
        "column_names": [list(pair) for pair in natural],
        "column_types": types,
        "primary_keys": primary,
        "foreign_keys": [
            [at(key.table, name), at(key.ref_table, ref_name)]
            for key in schema.foreign_keys
            for name, ref_name in zip(key.columns, key.ref_columns, strict=True)
        ],
    }
    if any(synonyms) or any(table.synonyms for table in schema.tables):
        entry["table_synonyms"] = [list(table.synonyms) for table in schema.tables]
        entry["column_synonyms"] = synonyms
    return entry


def schema_from_sqlite(path: Path | str, *, db_id: str | None = None) -> Schema:
    """Read the schema of a live SQLite database: tables, columns, primary and foreign keys.

    Generated columns are columns like others. Views, SQLite's own tables and those that full-text
    and R-Tree tables keep their contents in are left out. A foreign key that names no column refers
    to the parent's primary key, and one to its rowid to the column that is it, as SQLite has it;
    keys to what does not exist, which SQLite takes, are left out. ``db_id`` defaults to the file's
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
    # PRAGMA table_list knows them, too, but not in every SQLite, and it prepares every view.
    shadows = {
        folded(f"{name}_{suffix}")
        for name, sql in found
        for module in _MODULE.findall(sql or "")
        for suffix in _SHADOWS.get(module.lower(), ())
    }
    return [name for name, _ in found if folded(name) not in shadows]


def _table_from_sqlite(connection: sqlite3.Connection, name: str) -> tuple[Table, str] | None:
    """A table, and its column that is the rowid or ""; None if it cannot be queried.

    That is so where the module of a virtual table is missing, and where a name is no text.
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


def coarse_type(declared: str) -> str:
    """Map a declared SQL type to Spider's five words.

    >>> [coarse_type(t) for t in ("INTEGER", "varchar(20)", "DATETIME", "bool", "BLOB")]
    ['number', 'text', 'time', 'boolean', 'others']
    """
    kind = declared.lower()
    for words, coarse in (
        (("bool", "bit"), "boolean"),
        (("date", "time", "year"), "time"),
        (("int", "real", "num", "dec", "float", "double", "serial", "money"), "number"),
        (("char", "text", "clob", "string"), "text"),
    ):
        if any(word in kind for word in words):
            return coarse
    return "others" if kind else "text"

"""The ``tables.json`` format of Spider and BIRD: reading it, and writing a schema in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_sql.data.databases import check_name
from distill_sql.data.schema import COARSE_TYPES, Column, ForeignKey, Schema, Table, coarse_type
from distill_sql.errors import DatasetError
from distill_sql.files import read_json
from distill_sql.sql.names import folded


def load_tables_json(path: Path | str) -> dict[str, Schema]:
    """Read the schemas of a ``tables.json`` file in the format of Spider and BIRD, by ``db_id``.

    Two optional keys are ours: ``table_synonyms`` and ``column_synonyms``, a list of synonyms for
    each table and each column.

    In this format, column 0 is the sentinel ``[-1, "*"]``, a primary key is one column index or a
    list of them, and a foreign key is a pair of indices. A composite foreign key is several pairs;
    it becomes one key per pair.

    Raises :class:`DatasetError` naming the file, the entry and the error.
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
        (_index(t, len(names), -1), _text(name)) for t, name in entry["column_names_original"]
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
        table_index, name = columns[_index(index, len(columns))]
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
        raise TypeError(f"{value!r} is not a string")
    return value


def _index(value: Any, size: int, first: int = 0) -> int:
    """``value``, if it is an index from ``first`` to ``size - 1``; negative ones would wrap."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an index")
    if not first <= value < size:
        raise IndexError(f"there is no entry {value} among {size}")
    return value


def schema_to_tables_json(schema: Schema) -> dict[str, Any]:
    """The ``tables.json`` entry of a schema, which any Spider tool can read.

    A composite primary key becomes a list of indices, as in BIRD, and a composite foreign key one
    pair per column. Synonyms are written only if there are any.
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

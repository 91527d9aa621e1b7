"""The sources of the pocket benchmark: one TOML file per database.

A file defines the names of tables and columns in the schema and in questions, how their values are
generated, and the verbs for each foreign key. :mod:`~distill_sql.pocket.rows` generates the rows
from it, and :mod:`~distill_sql.pocket.patterns` the questions.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.data.schema import Column, ForeignKey, Schema, Table
from distill_sql.errors import DatasetError

SPLITS = ("train", "validation", "dev")
TYPES = {"integer": "number", "real": "number", "text": "text", "date": "time"}
ROLES = ("label", "category", "measure", "date", "flag", "other")
SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class ColumnSpec:
    """A column, with the fields of the TOML file; ``says`` are its names in questions."""

    name: str
    type: str
    key: bool = False
    role: str = ""
    says: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    weights: tuple[float, ...] = ()
    make: str = ""
    range: tuple[Any, ...] = ()
    decimals: int = 2
    unit: str = ""
    most: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    where1: tuple[str, ...] = ()
    where0: tuple[str, ...] = ()
    references: str = ""
    parent_verb: tuple[str, ...] = ()
    child_verb: tuple[str, ...] = ()
    nulls: float = 0.0
    some: float = 0.85

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Its synonyms: names, superlatives, and its unit."""
        return tuple(
            dict.fromkeys(
                word.removesuffix(" flag")
                for word in (*self.says, *self.most, *self.least, self.unit)
                if word
            )
        )

    @property
    def parent(self) -> tuple[str, str]:
        """The table and column that it references."""
        table, _, column = self.references.partition(".")
        return table, column


@dataclass(frozen=True)
class TableSpec:
    """A table; ``one`` and ``many`` are its nouns, singular and plural in the same order."""

    name: str
    one: tuple[str, ...]
    many: tuple[str, ...]
    rows: int
    columns: tuple[ColumnSpec, ...]
    who: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the primary key's columns."""
        return tuple(column.name for column in self.columns if column.key)

    @property
    def label(self) -> ColumnSpec | None:
        """The column that names a row, if the table has one."""
        return next((column for column in self.columns if column.role == "label"), None)

    def with_role(self, *roles: str) -> list[ColumnSpec]:
        """The columns with these roles, in order."""
        return [column for column in self.columns if column.role in roles]


@dataclass(frozen=True)
class Domain:
    """One database of the benchmark."""

    db_id: str
    split: str
    about: str
    tables: tuple[TableSpec, ...]

    def table(self, name: str) -> TableSpec:
        """The table with this name."""
        return next(table for table in self.tables if table.name == name)

    @property
    def links(self) -> list[tuple[TableSpec, ColumnSpec, TableSpec]]:
        """The foreign keys, each as child table, referencing column and parent table."""
        return [
            (table, column, self.table(column.parent[0]))
            for table in self.tables
            for column in table.columns
            if column.references
        ]

    @property
    def schema(self) -> Schema:
        """The schema, as datasets represent it."""
        return Schema(
            self.db_id,
            tuple(
                Table(
                    table.name,
                    tuple(
                        Column(
                            column.name,
                            TYPES[column.type],
                            column.name.replace("_", " "),
                            column.synonyms,
                        )
                        for column in table.columns
                    ),
                    table.keys,
                    table.name.replace("_", " "),
                    table.one,
                )
                for table in self.tables
            ),
            tuple(
                ForeignKey(child.name, (column.name,), parent.name, (column.parent[1],))
                for child, column, parent in self.links
            ),
        )


def load_domains(folder: Path = SOURCES / "domains") -> list[Domain]:
    """Load all domains of a folder by file name; a :class:`DatasetError` names file and field."""
    return [load_domain(path) for path in sorted(folder.glob("*.toml"))]


def load_domain(path: Path) -> Domain:
    """Read and check one domain file."""
    try:
        source = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = tuple(_table(name, table) for name, table in source["table"].items())
        domain = Domain(source["db_id"], source["split"], source["about"], tables)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: {type(error).__name__}: {error}. Expected db_id, split, about and tables "
            "with one, many, rows and column; compare with the other files of the folder."
        ) from error
    problems = list(_problems(domain, path))
    if problems:
        raise DatasetError(f"{path}: {'; '.join(problems)}. Correct the file.")
    return domain


def _table(name: str, source: Mapping[str, Any]) -> TableSpec:
    columns = tuple(_column(column, fields) for column, fields in source["column"].items())
    return TableSpec(
        name,
        tuple(source["one"]),
        tuple(source["many"]),
        source["rows"],
        columns,
        source.get("who", False),
    )


def _column(name: str, fields: Mapping[str, Any]) -> ColumnSpec:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }
    return ColumnSpec(name=name, **plain)


def _problems(domain: Domain, path: Path) -> list[str]:
    found = []
    if domain.db_id != path.stem:
        found.append(f"db_id {domain.db_id!r} differs from the file name")
    if domain.split not in SPLITS:
        found.append(f"split {domain.split!r} is none of {', '.join(SPLITS)}")
    seen: dict[str, TableSpec] = {}
    for table in domain.tables:
        where = f"table {table.name}"
        if len(table.one) != len(table.many) or not table.one:
            found.append(f"{where}: one and many differ in length")
        if not table.keys:
            found.append(f"{where}: no primary key")
        for column in table.columns:
            at = f"{where}, column {column.name}"
            if column.type not in TYPES:
                found.append(f"{at}: type {column.type!r} is none of {', '.join(TYPES)}")
            if column.role and column.role not in ROLES:
                found.append(f"{at}: role {column.role!r} is none of {', '.join(ROLES)}")
            if column.references:
                parent, key = column.parent
                if parent not in seen or key not in seen[parent].keys:
                    found.append(
                        f"{at}: references {column.references!r}, not a key of an earlier table"
                    )
            elif not (column.key or column.values or column.make or column.range):
                found.append(f"{at}: none of values, make and range says how values are generated")
            if column.role and not column.says:
                found.append(f"{at}: a role, but no names in says")
            if column.role == "label" and column.values and len(set(column.values)) < table.rows:
                found.append(f"{at}: {len(set(column.values))} labels for {table.rows} rows")
        seen[table.name] = table
    return found

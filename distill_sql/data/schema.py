"""The schema of a database: tables, columns and keys.

Names are spelled as in the database. Like SQLite, every lookup ignores their case
(:func:`distill_sql.sql.names.folded`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from distill_sql.sql.names import folded

#: Spider's column types.
COARSE_TYPES = ("text", "number", "time", "boolean", "others")


@dataclass(frozen=True)
class Column:
    """A column: its name, its coarse type and, where the data has one, a description.

    ``type`` is one of :data:`COARSE_TYPES`; BIRD's SQL types are mapped to them. ``synonyms`` are
    other names that people use for it, from a semantic layer. ``comment`` is shown after it in a
    prompt (:mod:`distill_sql.data.descriptions`).
    """

    name: str
    type: str = "text"
    description: str = ""
    synonyms: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """Columns of ``table`` that reference columns of ``ref_table``, in pairs."""

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
        """The table called ``name``, in any case; raises KeyError if there is none."""
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
        """Names of the tables that a foreign key connects with ``name``, in either direction."""
        wanted = folded(name)
        for key in self.foreign_keys:
            ends = folded(key.table), folded(key.ref_table)
            if wanted in ends and ends[0] != ends[1]:
                yield self.table(ends[1] if ends[0] == wanted else ends[0]).name

    def without_synonyms(self) -> Schema:
        """This schema without synonyms."""
        tables = (
            replace(t, synonyms=(), columns=tuple(replace(c, synonyms=()) for c in t.columns))
            for t in self.tables
        )
        return replace(self, tables=tuple(tables))

    def restrict(self, names: set[str]) -> Schema:
        """This schema with only the named tables and the foreign keys between them."""
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


def coarse_type(declared: str) -> str:
    """Spider's type for a declared SQL type.

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

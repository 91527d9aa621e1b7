"""Rendering a schema for a prompt, in two styles, with a few rows of each table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from distill_sql.data.databases import Reader
from distill_sql.data.schema import ForeignKey, Schema, Table
from distill_sql.sql.names import identifier, quote_identifier

#: ``full`` shows CREATE TABLE and rows; ``compact`` has one line per table and one per join.
Style: TypeAlias = Literal["full", "compact"]
Cell: TypeAlias = "str | int | float | bytes | None"
#: The first rows of each table, by table name.
SampleRows: TypeAlias = Mapping[str, Sequence[tuple[Cell, ...]]]

#: Rows shown per table: enough to see how values are spelled.
SAMPLE_ROWS = 3
#: Longest cell that is shown, in characters; a longer one is cut and marked.
CELL_WIDTH = 40
#: For the compact style: the longest value, the number of values per text column, and the number of
#: rows that they are chosen from.
COMPACT_WIDTH = 24
COMPACT_VALUES = 3
COMPACT_ROWS = 24

_SQL_TYPE = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN"}


@lru_cache(maxsize=1024)
def sample_rows(path: Path, tables: tuple[Table, ...], count: int = SAMPLE_ROWS) -> SampleRows:
    """The first ``count`` rows of each table, columns in the schema's order.

    "First" means the stored order, so the same file gives the same rows. There are no rows if the
    file lacks a table or column of the schema, as in some real data, or if they cannot be read
    within the limits of :class:`distill_sql.data.databases.Reader`.
    """
    rows: dict[str, list[tuple[Cell, ...]]] = {}
    with Reader(path) as reader:
        for table in tables:
            name = quote_identifier(table.name)
            # Qualified, because SQLite reads a quoted name that is not a column as a string.
            columns = ", ".join(f"{name}.{quote_identifier(c.name)}" for c in table.columns)
            rows[table.name] = reader.rows(
                table.name, f"SELECT {columns} FROM {name} LIMIT {count}"
            )
    return rows


def render_table(schema: Schema, table: Table, rows: Sequence[tuple[Cell, ...]] = ()) -> str:
    """One table as ``CREATE TABLE`` with its keys, then its sample rows as a comment.

    A column is followed by its comment, if it has one. Foreign keys come from ``schema``: if it is
    restricted to some tables, keys to others are not shown.
    """
    lines = []
    single_key = table.primary_key if len(table.primary_key) == 1 else ()
    for column in table.columns:
        words = [identifier(column.name), _SQL_TYPE.get(column.type, "")]
        if column.name in single_key:
            words.append("PRIMARY KEY")
        lines.append(" ".join(word for word in words if word))
    if len(table.primary_key) > 1:
        lines.append(f"PRIMARY KEY ({_names(table.primary_key)})")
    lines += [
        f"FOREIGN KEY ({_names(key.columns)}) REFERENCES {identifier(key.ref_table)}"
        f" ({_names(key.ref_columns)})"
        for key in schema.keys_of(table.name)
    ]
    # A comment extends to the end of its line, so the comma comes before it.
    comments = [f" -- {_line(c.comment)}" if c.comment else "" for c in table.columns]
    comments += [""] * (len(lines) - len(comments))
    commas = [","] * (len(lines) - 1) + [""]
    body = "\n".join(map("  {}{}{}".format, lines, commas, comments))
    text = f"CREATE TABLE {identifier(table.name)} (\n{body}\n);\n"
    if rows:
        shown = "\n".join(" | ".join(map(_cell, row)) for row in rows)
        header = " | ".join(_line(column.name) for column in table.columns)
        text += f"/* {len(rows)} row{'s' if len(rows) > 1 else ''}:\n{header}\n{shown}\n*/\n"
    return text


def render_schema(schema: Schema, rows: SampleRows, *, rows_per_table: int = SAMPLE_ROWS) -> str:
    """The schema block of a prompt: all tables of ``schema`` in order, with blank lines between."""
    return "\n".join(
        render_table(schema, table, rows.get(table.name, ())[:rows_per_table])
        for table in schema.tables
    )


def render_compact(schema: Schema, rows: SampleRows) -> str:
    """The lines of :func:`compact_lines` as one block."""
    return "".join(compact_lines(schema, rows))


def compact_lines(schema: Schema, rows: SampleRows) -> list[str]:
    """The schema with one line per table and one per foreign key.

    A table's line has its columns with hints on their values; a foreign key's line is its join, as
    in a query: a small model copies a join more reliably than it composes one. ``rows`` are about
    :data:`COMPACT_ROWS` rows of each table. A text column with repeated values shows the most
    frequent ones. Dates, and flags of 0 and 1, are marked. A comment follows the column's name, cut
    short.
    """
    lines = []
    for table in schema.tables:
        shown = []
        for place, column in enumerate(table.columns):
            values = [row[place] for row in rows.get(table.name, ())]
            comment = f" ({_cell(column.comment)})" if column.comment else ""
            shown.append(identifier(column.name) + comment + _value_hint(column.type, values))
        lines.append(f"{identifier(table.name)}: {', '.join(shown)}\n")
    lines += [f"{_join(schema, key)}\n" for key in schema.foreign_keys]
    return lines


def _join(schema: Schema, key: ForeignKey) -> str:
    child, parent = (identifier(schema.table(name).name) for name in (key.table, key.ref_table))
    tables, one, two = f"{child} JOIN {parent}", child, parent
    if child == parent:
        tables, one, two = f"{child} AS T1 JOIN {parent} AS T2", "T1", "T2"
    pairs = zip(key.columns, key.ref_columns, strict=True)
    on = (f"{one}.{identifier(own)} = {two}.{identifier(other)}" for own, other in pairs)
    return f"{tables} ON {' AND '.join(on)}"


def _value_hint(type_: str, values: Sequence[Cell]) -> str:
    if type_ == "time":
        return " date"
    counts = Counter(value for value in values if value is not None)
    if type_ != "text":
        return " flag" if counts and counts.keys() <= {0, 1} else ""
    if len(counts) * 2 > counts.total():
        return ""
    shown = (_cell(value)[:COMPACT_WIDTH] for value, _ in counts.most_common(COMPACT_VALUES))
    return "".join(f" '{value}'" for value in shown)


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(identifier, names))


def _cell(value: Cell) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = _line(str(value))
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 3] + "..."


def _line(text: str) -> str:
    """A text on one line that cannot end the SQL comment around it."""
    return " ".join(text.replace("*/", "* /").split())

"""How a schema is written in a prompt: two styles, each table with a few of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from distill_sql.data.databases import Reader
from distill_sql.data.schema import ForeignKey, Schema, Table
from distill_sql.sql.names import identifier, quote_identifier

#: ``full`` shows tables as CREATE TABLE with rows; ``compact`` takes a line a table and one a join.
Style: TypeAlias = Literal["full", "compact"]
Cell: TypeAlias = "str | int | float | bytes | None"
#: The first rows of each table, by table name.
SampleRows: TypeAlias = Mapping[str, Sequence[tuple[Cell, ...]]]

#: Rows shown under each table: enough to see how values are spelled.
SAMPLE_ROWS = 3
#: Longest cell shown, in characters; a longer one is cut and marked.
CELL_WIDTH = 40
#: The same for the compact style, how many values of a text column it shows, and how many rows it
#: finds them in.
COMPACT_WIDTH = 24
COMPACT_VALUES = 3
COMPACT_ROWS = 24

_SQL_TYPE = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN"}


@lru_cache(maxsize=1024)
def sample_rows(path: Path, tables: tuple[Table, ...], count: int = SAMPLE_ROWS) -> SampleRows:
    """The first ``count`` rows of each table, columns in the schema's order.

    "First" is the table's stored order, so the same file gives the same rows. A table or column
    that the schema names and the file lacks (it happens in real data) simply has no rows to show;
    nor has one that cannot be read within the limits of :class:`distill_sql.data.databases.Reader`.
    """
    rows: dict[str, list[tuple[Cell, ...]]] = {}
    with Reader(path) as reader:
        for table in tables:
            name = quote_identifier(table.name)
            # Qualified, because SQLite reads a quoted name that is no column as a string.
            columns = ", ".join(f"{name}.{quote_identifier(c.name)}" for c in table.columns)
            rows[table.name] = reader.rows(
                table.name, f"SELECT {columns} FROM {name} LIMIT {count}"
            )
    return rows


def render_table(schema: Schema, table: Table, rows: Sequence[tuple[Cell, ...]] = ()) -> str:
    """One table as ``CREATE TABLE`` with its keys, then its sample rows as a comment.

    Behind a column stands what the dataset says of it, if anything. Foreign keys are taken from
    ``schema``, so a schema restricted to some tables shows no key to one that is not there.
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
    # A comment ends with its line, so the comma that follows the column comes before it.
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
    """The schema block of a prompt: every table of ``schema`` in order, a blank line between."""
    return "\n".join(
        render_table(schema, table, rows.get(table.name, ())[:rows_per_table])
        for table in schema.tables
    )


def render_compact(schema: Schema, rows: SampleRows) -> str:
    """The lines of :func:`compact_lines` as one block."""
    return "".join(compact_lines(schema, rows))


def compact_lines(schema: Schema, rows: SampleRows) -> list[str]:
    """The schema in a line a table, its columns and what their values are like, and a line a
    foreign key: the join that it is for, as a query would spell it.

    ``rows`` are :data:`COMPACT_ROWS` or so of each table. A text column whose values recur in them
    shows the commonest; dates, and flags of 0 and 1, say that they are such. What the dataset says
    of a column stands behind its name, cut short. Other columns show their name alone. A small
    model copies a join more surely than it puts one together.
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
    """A text on one line that does not end the comment it stands in."""
    return " ".join(text.replace("*/", "* /").split())

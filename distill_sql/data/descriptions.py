"""Column descriptions, from the files that BIRD has beside each database.

``database_description/<table>.csv`` has one line per column: its name, its full name, what it is,
and what its values mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from distill_sql.data.databases import is_file
from distill_sql.data.schema import Schema, Table
from distill_sql.errors import DatasetError

#: Longest comment on a column, in characters: 90 % of BIRD's descriptions have at most 56. A longer
#: description is cut and marked; the meaning of values is omitted unless it fits completely.
COMMENT_WIDTH = 100

#: BIRD's prefix of some descriptions of values.
_EVIDENCE = re.compile(r"common ?sense (evidence|reasoning):\s*", re.IGNORECASE)


def with_descriptions(schema: Schema, folder: Path) -> Schema:
    """The schema with the descriptions and comments of ``folder`` on its columns.

    ``folder`` is the database's ``database_description`` folder. BIRD's files mix encodings; bytes
    that are not UTF-8 are dropped. Tables without a file do not change. Raises
    :class:`DatasetError` for a file that cannot be read.
    """
    files = {file.stem.strip().lower(): file for file in folder.glob("*.csv") if is_file(file)}

    def describe(table: Table) -> Table:
        if table.name.lower() not in files:
            return table
        rows = _rows(files[table.name.lower()])
        columns = []
        for column in table.columns:
            row = rows.get(column.name.strip().lower(), {})
            description = row.get("column_description", "") or column.description
            columns.append(
                replace(column, description=description, comment=_comment(column.name, row))
            )
        return replace(table, columns=tuple(columns))

    return replace(schema, tables=tuple(describe(table) for table in schema.tables))


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """The cells of each column's line, by the column's name in lower case, without line breaks.

    If a column has several lines, the last one counts.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="ignore", newline="") as file:
            lines = csv.DictReader(file)
            lines.fieldnames = [name.strip() for name in lines.fieldnames or ()]
            return {
                row["original_column_name"].strip().lower(): {
                    name: " ".join(cell.split())
                    for name, cell in row.items()
                    if isinstance(name, str) and isinstance(cell, str)
                }
                for row in lines
                if row["original_column_name"]
            }
    except (OSError, csv.Error, KeyError) as error:
        raise DatasetError(
            f"{path} cannot be read as BIRD's column descriptions ({type(error).__name__}: "
            f"{error}). Expected CSV with the columns original_column_name and "
            "column_description; copy the file again."
        ) from None


def _comment(name: str, row: Mapping[str, str]) -> str:
    """The comment on a column in a prompt: its description and, if it fits, its values' meaning.

    Empty if the file only repeats the name.
    """
    text = row.get("column_description", "") or row.get("column_name", "")
    if _letters(text) == _letters(name):
        text = ""
    if len(text) > COMMENT_WIDTH:
        text = f"{text[: COMMENT_WIDTH - 3].rstrip()}..."
    values = _EVIDENCE.sub("", row.get("value_description", ""))
    if _letters(values) == _letters(text):
        values = ""
    both = "; ".join(part for part in (text, values) if part)
    return both if len(both) <= COMMENT_WIDTH else text


def _letters(text: str) -> str:
    return "".join(mark for mark in text.lower() if mark.isalnum())

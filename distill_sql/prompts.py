"""From a question to chat messages, and from a completion back to SQL.

One prompt for every stage: what the teacher is asked, what a student is trained on and what it is
asked at inference differ in ``mode`` only. The schema comes before the question, so questions on
the same database share the longest possible prefix.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from distill_sql.databases import Reader
from distill_sql.datasets import Dataset, Example
from distill_sql.errors import ParameterError
from distill_sql.mentions import mentions_of
from distill_sql.names import identifier, quote_identifier
from distill_sql.pocket import CHECKPOINTS
from distill_sql.schema import ForeignKey, Schema, Table
from distill_sql.tokenizer import (
    ChatTokenizer,
    Message,
    fetch_tokenizer,
    load_tokenizer,
)

Mode: TypeAlias = Literal["direct", "reasoning"]
#: ``full`` shows tables as CREATE TABLE with rows; ``compact`` takes a line a table and
#: one a join, few tokens, and marks what the question mentions (:mod:`distill_sql.mentions`).
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

SYSTEM_PROMPT = (
    "You translate questions about a database into SQLite queries. "
    "You are shown the database's tables, their keys and a few of their rows."
)

INSTRUCTIONS: Mapping[Mode, str] = {
    "direct": "Answer with one SQLite query in a ```sql block, and nothing else.",
    "reasoning": (
        "First reason briefly: which tables and columns are needed, how they join, which "
        "conditions, grouping and order apply. Then give one SQLite query in a ```sql block."
    ),
}

#: What the compact style says around schema and question.
COMPACT_SYSTEM_PROMPT = "Translate the question to SQLite."
COMPACT_INSTRUCTIONS: Mapping[Mode, str] = {
    "direct": "Answer with SQL.",
    "reasoning": "Reason, then answer with SQL.",
}

_SQL_TYPE = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN"}


@lru_cache(maxsize=1024)
def sample_rows(path: Path, tables: tuple[Table, ...], count: int = SAMPLE_ROWS) -> SampleRows:
    """The first ``count`` rows of each table, columns in the schema's order.

    "First" is the table's stored order, so the same file gives the same rows. A table or column
    that the schema names and the file lacks (it happens in real data) simply has no rows to show;
    nor has one that cannot be read within the limits of :class:`distill_sql.databases.Reader`.
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


#: A longer completion without a fence is no query: it could not be run, and is slow to parse.
LONGEST = 100_000


def render_table(schema: Schema, table: Table, rows: Sequence[tuple[Cell, ...]] = ()) -> str:
    """One table as ``CREATE TABLE`` with its keys, then its sample rows as a comment.

    Foreign keys are taken from ``schema``, so a schema restricted to some tables shows no key to
    one that is not there.
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
    body = ",\n".join(f"  {line}" for line in lines)
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
    """The schema in a line a table, its columns and what their values are like, and a line a
    foreign key: the join that it is for, as a query would spell it.

    ``rows`` are :data:`COMPACT_ROWS` or so of each table. A text column whose values recur in them
    shows the commonest; dates, and flags of 0 and 1, say that they are such. Other columns show
    their name alone. A small model copies a join more surely than it puts one together.
    """
    lines = []
    for table in schema.tables:
        shown = []
        for place, column in enumerate(table.columns):
            values = [row[place] for row in rows.get(table.name, ())]
            shown.append(identifier(column.name) + _value_hint(column.type, values))
        lines.append(f"{identifier(table.name)}: {', '.join(shown)}\n")
    lines += [f"{_join(schema, key)}\n" for key in schema.foreign_keys]
    return "".join(lines)


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


def build_messages(
    example: Example, schema_block: str, *, mode: Mode = "direct", style: Style = "full"
) -> list[Message]:
    """The chat for one question: a system turn, and a user turn that ends with the instruction.

    ``schema_block`` comes from :func:`render_schema`, :func:`render_compact` or from linking.
    Raises :class:`ParameterError` for an unknown mode.
    """
    if mode not in INSTRUCTIONS:
        raise ParameterError(
            f"Unknown prompt mode {mode!r}; expected one of {', '.join(INSTRUCTIONS)}."
        )
    hint = f"Hint: {example.evidence}\n" if example.evidence else ""
    compact = style == "compact"
    system = COMPACT_SYSTEM_PROMPT if compact else SYSTEM_PROMPT
    instruction = (COMPACT_INSTRUCTIONS if compact else INSTRUCTIONS)[mode]
    return [
        {"role": "system", "content": system},
        {
            "role": "user",
            "content": f"{schema_block}\nQuestion: {example.question}\n{hint}{instruction}",
        },
    ]


def style_of(messages: Sequence[Message]) -> Style:
    """The style that a chat of :func:`build_messages` is in."""
    return "compact" if messages[0]["content"] == COMPACT_SYSTEM_PROMPT else "full"


def prompt_messages(
    dataset: Dataset, example: Example, *, mode: Mode = "direct", style: Style = "full"
) -> list[Message]:
    """The chat for one question of a dataset, with its whole schema and sample rows.

    In the compact style the question is marked with the names and values that it mentions.
    """
    if style == "compact":
        mentions = mentions_of(dataset.schema(example.db_id), dataset.database_path(example.db_id))
        example = replace(example, question=mentions.mark(example.question))
    block = _schema_block(dataset, example.db_id, style)
    return build_messages(example, block, mode=mode, style=style)


def _schema_block(dataset: Dataset, db_id: str, style: Style = "full") -> str:
    return _rendered(dataset.schema(db_id), dataset.database_path(db_id), style)


@lru_cache(maxsize=1024)
def _rendered(schema: Schema, path: Path, style: Style) -> str:
    if style == "compact":
        return render_compact(schema, sample_rows(path, schema.tables, COMPACT_ROWS))
    return render_schema(schema, sample_rows(path, schema.tables))


def tokenizer_for(dataset: Dataset, folder: str | Path = "") -> ChatTokenizer:
    """The tokenizer that counts a dataset's prompts: the students' own.

    ``folder`` is a model's folder. Without it, pocket's is that of the ladder in the package; for
    any other dataset it is Qwen2.5's, from the environment variable ``TOKENIZER_DIR``, from a
    folder ``qwen2.5-tokenizer`` beside the dataset, or from the hub.
    """
    if folder:
        return load_tokenizer(folder)
    if dataset.name == "pocket":
        return load_tokenizer(CHECKPOINTS / "pocket-l")
    beside = dataset.root.resolve().parent / "qwen2.5-tokenizer"
    given = os.environ.get("TOKENIZER_DIR") or (beside if beside.is_dir() else None)
    return load_tokenizer(given) if given else fetch_tokenizer()


def trace_mode(example: Example, *, reasoning_share: float = 0.4, seed: int = 42) -> Mode:
    """Which prompt mode a training question gets when traces are sampled.

    A hash of seed, database and question decides, so neither a limit nor the visiting order changes
    it. Over many questions the share of ``reasoning`` tends to ``reasoning_share``.
    """
    key = f"{seed}\0{example.db_id}\0{example.question}".encode()
    draw = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    return "reasoning" if draw < reasoning_share else "direct"


_SQL_START = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
    r"(?:select|with|values|insert|update|delete|replace|create|drop|alter|pragma|explain)\b",
    re.IGNORECASE | re.DOTALL,
)
_LANGUAGE_TAG = re.compile(r"\s*(?:sqlite3?|sql)\b", re.IGNORECASE)


def extract_sql(completion: str) -> str | None:
    """The SQL of a model's completion, or None if it gives none.

    The last fenced block that starts like SQL counts; its language tag and its closing fence may be
    missing. Without any such block, a completion that is a query and nothing else counts, prose
    does not. The closing semicolon is dropped; nothing else is touched, so several statements stay
    several statements for the sandbox to refuse.

    >>> extract_sql("The singers table is enough.\\n```sql\\nSELECT count(*) FROM singer;\\n```")
    'SELECT count(*) FROM singer'
    >>> extract_sql("Select a table first, please.") is None
    True
    """
    outside, *fenced = completion.split("```")
    for block in reversed(fenced[::2]):
        text = _LANGUAGE_TAG.sub("", block, count=1)
        if _SQL_START.match(text):
            return _strip(text)
    if _SQL_START.match(outside) and _is_one_query(outside):
        return _strip(outside)
    return None


def _strip(text: str) -> str:
    return text.strip().rstrip(";").rstrip()


def _is_one_query(text: str) -> bool:
    if len(text) > LONGEST:
        return False
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, read="sqlite")
    except (SqlglotError, RecursionError):
        return False
    # "Select a table" parses: a query without FROM counts only if it selects no bare name.
    query = tree.find(sqlglot.exp.Select)
    if query is None:
        return False
    return query.args.get("from_") is not None or not query.find(sqlglot.exp.Column)

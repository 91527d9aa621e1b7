"""From a question to chat messages, and from a completion back to SQL.

All stages use the same prompt: the teacher's, those of training, and those of inference differ in
``mode`` only. The schema comes before the question, so questions on the same database share the
longest possible prefix.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.schema import Schema
from distill_sql.errors import DatasetError, ParameterError
from distill_sql.prompting.linking import DEFAULT_BUDGET, Linked, linker_for, said
from distill_sql.prompting.mentions import mentions_of
from distill_sql.prompting.rendering import (
    COMPACT_ROWS,
    Style,
    render_compact,
    render_schema,
    sample_rows,
)
from distill_sql.prompting.tokenizer import (
    ChatTokenizer,
    Message,
    fetch_tokenizer,
    load_tokenizer,
)

Mode: TypeAlias = Literal["direct", "reasoning"]

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

#: The texts of the compact style around schema and question.
COMPACT_SYSTEM_PROMPT = "Translate the question to SQLite."
COMPACT_INSTRUCTIONS: Mapping[Mode, str] = {
    "direct": "Answer with SQL.",
    "reasoning": "Reason, then answer with SQL.",
}

#: A longer completion without a fence does not count as a query: it is slow to parse, and too long
#: to be executed.
LONGEST = 100_000


def build_messages(
    example: Example, schema_block: str, *, mode: Mode = "direct", style: Style = "full"
) -> list[Message]:
    """The chat for one question: a system turn, and a user turn that ends with the instruction.

    ``schema_block`` comes from :mod:`distill_sql.prompting.rendering` or from linking.
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
    """The style of a chat that :func:`build_messages` made."""
    return "compact" if messages[0]["content"] == COMPACT_SYSTEM_PROMPT else "full"


def prompt_messages(
    dataset: Dataset,
    example: Example,
    *,
    mode: Mode = "direct",
    style: Style = "full",
    schema_tokens: int = 0,
    count: Callable[[str], int] | None = None,
) -> list[Message]:
    """The chat for one question of a dataset. Every prompt is made by this function.

    The schema block has at most ``schema_tokens`` tokens; 0 means the whole schema. A schema that
    fits is the same text for all questions on its database; of a larger one, only the tables that
    linking keeps are shown (:mod:`distill_sql.prompting.linking`). ``count`` counts a text's tokens
    with the model's tokenizer; the default is that of :func:`tokenizer_for`. In the compact style,
    the question's mentions of names and values of the shown tables are marked. Raises
    :class:`ParameterError` for an unknown mode and for a negative ``schema_tokens``.
    """
    schema, path = dataset.schema(example.db_id), dataset.database_path(example.db_id)
    if check_schema_tokens(schema_tokens):
        count = count or tokenizer_for(dataset).count
    return messages_on(
        schema, path, example, mode=mode, style=style, schema_tokens=schema_tokens, count=count
    )


def messages_on(
    schema: Schema,
    path: Path,
    example: Example,
    *,
    mode: Mode = "direct",
    style: Style = "full",
    schema_tokens: int = 0,
    count: Callable[[str], int] | None = None,
) -> list[Message]:
    """The chat for one question on a database file; see :func:`prompt_messages`.

    ``count`` is required unless ``schema_tokens`` is 0.
    """
    if check_schema_tokens(schema_tokens):
        if count is None:
            raise ValueError("a budget needs count, which counts tokens")
        linked = linker_for(schema, path, count, style).link(said(example), budget=schema_tokens)
        block, shown = linked.block, frozenset(linked.kept)
    else:
        block, shown = _rendered(schema, path, style), None
    if style == "compact":
        marked = mentions_of(schema, path).mark(example.question, shown=shown)
        example = replace(example, question=marked)
    return build_messages(example, block, mode=mode, style=style)


def link(
    dataset: Dataset,
    example: Example,
    *,
    schema_tokens: int = DEFAULT_BUDGET,
    style: Style = "full",
    count: Callable[[str], int] | None = None,
) -> Linked:
    """The tables that a prompt shows for a question within a budget, with reasons.

    ``count`` counts a text's tokens; the default is that of :func:`tokenizer_for`. Raises
    :class:`ParameterError` for a budget below 1.
    """
    schema, path = dataset.schema(example.db_id), dataset.database_path(example.db_id)
    count = count or tokenizer_for(dataset).count
    return linker_for(schema, path, count, style).link(said(example), budget=schema_tokens)


def check_schema_tokens(value: int) -> int:
    """``value`` itself, if it is a valid budget of tokens; 0 means the whole schema.

    Raises :class:`ParameterError` for anything but an integer of 0 or more.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ParameterError(
            f"--schema-tokens (schema_tokens in Python) is {value!r}; expected a whole number: 1 "
            "or more tokens, or 0 for the whole schema."
        )
    return value


@lru_cache(maxsize=1024)
def _rendered(schema: Schema, path: Path, style: Style) -> str:
    if style == "compact":
        return render_compact(schema, sample_rows(path, schema.tables, COMPACT_ROWS))
    return render_schema(schema, sample_rows(path, schema.tables))


def tokenizer_for(dataset: Dataset, folder: str | Path = "") -> ChatTokenizer:
    """The tokenizer that counts the tokens of a dataset's prompts: that of its students.

    ``folder`` is a model's folder. Without it, the tokenizer of pocket is that of the models in the
    package. For any other dataset it is Qwen2.5's, from the environment variable ``TOKENIZER_DIR``,
    from a folder ``qwen2.5-tokenizer`` beside the dataset, or from the hub. If none has it, the
    package's tokenizer is used instead; its name and its note say so.
    """
    if folder:
        return load_tokenizer(folder)
    if dataset.name.partition("+")[0] == "pocket":  # also with another file of questions
        return load_tokenizer(CHECKPOINTS / "pocket-l")
    beside = dataset.root.resolve().parent / "qwen2.5-tokenizer"
    given = os.environ.get("TOKENIZER_DIR") or (beside if beside.is_dir() else None)
    return load_tokenizer(given) if given else _qwen_tokenizer()


@cache
def _qwen_tokenizer() -> ChatTokenizer:
    """Qwen2.5's tokenizer from the hub, or its substitute; the hub is asked once."""
    try:
        return fetch_tokenizer()
    except DatasetError as error:
        return replace(
            load_tokenizer(CHECKPOINTS / "pocket-l"),
            name="pocket-l, in place of Qwen2.5's",
            note="Tokens are counted with the tokenizer of the package's own models, which cuts "
            f"Spider's prompts into about twice as many as Qwen2.5's. {error}",
        )


def trace_mode(example: Example, *, reasoning_share: float = 0.4, seed: int = 42) -> Mode:
    """The prompt mode of a training question when traces are sampled.

    It depends on a hash of seed, database and question, and so not on a limit or on the order of
    questions. Over many questions the share of ``reasoning`` tends to ``reasoning_share``.
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
    """The SQL of a model's completion, or None if there is none.

    The last fenced block that starts like SQL counts; its language tag and its closing fence may be
    missing. Without such a block, the completion counts if it is a query and nothing else. A
    closing semicolon is removed. Nothing else changes: several statements stay several statements,
    which the sandbox refuses.

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
    # "Select a table" parses, so a query without FROM counts only if it has no column.
    query = tree.find(sqlglot.exp.Select)
    if query is None:
        return False
    return query.args.get("from_") is not None or not query.find(sqlglot.exp.Column)

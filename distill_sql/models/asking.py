"""One question on one database file: a student answers it, and its query is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_sql.data.datasets import Example
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.models.generation import ANSWER_TOKENS
from distill_sql.models.protocol import ClosingFence, Student
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.prompts import Mode, extract_sql, messages_on
from distill_sql.prompting.tokenizer import Message
from distill_sql.sql.sandbox import Result, run_sql


@dataclass(frozen=True)
class Reply:
    """The prompt and the answer; ``sql`` is empty and ``result`` None if it has no query."""

    messages: tuple[Message, ...]
    text: str
    sql: str
    result: Result | None


def ask(
    question: str,
    database: Path | str,
    student: Student,
    recipe: Recipe,
    *,
    mode: Mode = "direct",
    max_tokens: int = ANSWER_TOKENS,
) -> Reply:
    """Ask a student a question on a SQLite file, and run its query in read-only mode.

    ``recipe`` is the one that the student was opened with; it determines the prompt. Raises
    :class:`DatasetError` if the file is not a database.
    """
    path = Path(database)
    tokenizer = student.tokenizer
    messages = messages_on(
        schema_from_sqlite(path), path, Example(0, path.stem, question, ""), mode=mode,
        style=recipe.style, schema_tokens=recipe.schema_tokens, count=tokenizer.count,
    )  # fmt: skip
    ids = tokenizer.encode(tokenizer.render(messages))
    [output] = student.complete(
        ids[:-1], [ids[-1:]], max_tokens=max_tokens, finished=ClosingFence(tokenizer)
    )
    text = tokenizer.backend.decode(output)
    sql = extract_sql(text) or ""
    return Reply(tuple(messages), text, sql, run_sql(path, sql) if sql else None)

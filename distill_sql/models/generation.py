"""Predictions for a whole split: batched, prefixes shared, streamed to disk, resumable.

Questions on the same database have the same system turn and schema block; that prefix is run
through the model once for all of them. Within a database questions go by length, so little is
padded. Answers are written down as they come, in no order, to ``<out>.part``; when all are there
they are put in the dataset's order. A killed run goes on with the questions that are missing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.data.datasets import Dataset, Example
from distill_sql.errors import PredictionError
from distill_sql.files import check_output, parse_json, resume_lines, write_json_lines
from distill_sql.models.grammar import QueryGrammar, vocabulary
from distill_sql.models.protocol import ClosingFence, Student
from distill_sql.prompting.prompts import Mode, check_schema_tokens, extract_sql, prompt_messages
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import ChatTokenizer

#: Questions answered together.
BATCH = 32
#: The longest answer, in tokens.
MAX_TOKENS = 256


@dataclass(frozen=True)
class Answer:
    """One prediction as it is stored; ``latency_s`` is the batch's time over its questions."""

    question_id: int
    db_id: str
    pred_sql: str
    raw_text: str
    latency_s: float
    n_prompt_tokens: int
    n_output_tokens: int


@dataclass(frozen=True)
class _Asked:
    example: Example
    ids: tuple[int, ...]


def answers(
    student: Student,
    dataset: Dataset,
    examples: Iterable[Example],
    *,
    mode: Mode = "direct",
    style: Style = "full",
    batch: int = BATCH,
    max_tokens: int = MAX_TOKENS,
    grammar: bool = False,
    schema_tokens: int = 0,
) -> Iterator[list[Answer]]:
    """Answers to ``examples``, a batch at a time, in the order that is fastest to compute.

    Prompts are those of :func:`~distill_sql.prompting.prompts.prompt_messages`, by ``mode``,
    ``style`` and ``schema_tokens``, counted with the student's own tokenizer. By ``grammar`` an
    answer can only be a query on its database (:mod:`~distill_sql.models.grammar`).
    """
    tokenizer = student.tokenizer
    tokens = vocabulary(tokenizer) if grammar else None
    finished = ClosingFence(tokenizer)
    asked = [
        _Asked(
            example,
            prompt_ids(
                tokenizer, dataset, example, mode=mode, style=style, schema_tokens=schema_tokens
            ),
        )
        for example in examples
    ]
    asked.sort(key=lambda one: (one.example.db_id, len(one.ids), one.example.question_id))
    for db_id, group in groupby(asked, key=lambda one: one.example.db_id):
        members = list(group)
        queries = QueryGrammar(dataset.schema(db_id), tokens) if grammar else None
        for start in range(0, len(members), batch):
            together = members[start : start + batch]
            shared = shared_prefix([one.ids for one in together])
            began = time.monotonic()
            outputs = student.complete(
                together[0].ids[:shared],
                [one.ids[shared:] for one in together],
                max_tokens=max_tokens,
                finished=finished,
                writers=[queries.writer() for _ in together] if queries else None,
            )
            seconds = (time.monotonic() - began) / len(together)
            yield [
                _answer(one, output, tokenizer.backend.decode(output), seconds)
                for one, output in zip(together, outputs, strict=True)
            ]


def prompt_ids(
    tokenizer: ChatTokenizer,
    dataset: Dataset,
    example: Example,
    *,
    mode: Mode = "direct",
    style: Style = "full",
    schema_tokens: int = 0,
) -> tuple[int, ...]:
    """The token ids that a student is asked a question with."""
    messages = prompt_messages(
        dataset, example, mode=mode, style=style, schema_tokens=schema_tokens,
        count=tokenizer.count,
    )  # fmt: skip
    return tuple(tokenizer.encode(tokenizer.render(messages)))


def shared_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens all prompts share; each keeps one of its own at least."""
    # The least and the greatest in order share no more than any two of them do.
    low, high = min(prompts), max(prompts)
    common = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return min(common, min(map(len, prompts)) - 1)


def _answer(asked: _Asked, output: list[int], text: str, seconds: float) -> Answer:
    return Answer(
        asked.example.question_id,
        asked.example.db_id,
        extract_sql(text) or "",
        text,
        round(seconds, 4),
        len(asked.ids),
        len(output),
    )


def generate(
    student: Student,
    dataset: Dataset,
    out: Path,
    *,
    model: str,
    mode: Mode = "direct",
    style: Style = "full",
    batch: int = BATCH,
    max_tokens: int = MAX_TOKENS,
    grammar: bool = False,
    schema_tokens: int = 0,
    progress: bool = True,
) -> Path:
    """Write a prediction per example of ``dataset`` to ``out`` as JSON Lines, and return it.

    ``model`` says whose answers these are: a run goes on from what another left in ``<out>.part``
    only if model and settings are the same, and raises :class:`PredictionError` otherwise.
    """
    check_schema_tokens(schema_tokens)
    check_output(out, beside=True)
    part = out.with_name(f"{out.name}.part")
    settings = {"model": model, "mode": mode, "style": style, "max_tokens": max_tokens,
                "grammar": grammar, "schema_tokens": schema_tokens,
                "dataset": dataset.fingerprint}  # fmt: skip
    done = _read_part(part, settings)
    if not done:
        part.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    missing = [example for example in dataset if example.question_id not in done]
    with (
        part.open("a", encoding="utf-8") as file,
        tqdm(total=len(dataset), initial=len(done), unit="question", disable=not progress) as bar,
    ):
        bar.set_description(model)
        for together in answers(
            student,
            dataset,
            missing,
            mode=mode,
            style=style,
            batch=batch,
            max_tokens=max_tokens,
            grammar=grammar,
            schema_tokens=schema_tokens,
        ):
            for answer in together:
                done[answer.question_id] = asdict(answer)
                file.write(json.dumps(done[answer.question_id], ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            bar.update(len(together))
    write_json_lines(out, (done[example.question_id] for example in dataset))
    part.unlink()
    return out


def _read_part(part: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The answers that a killed run left; a line that cannot be read is asked for again."""
    lines = resume_lines(part)
    if not lines:
        return {}
    try:
        begun = parse_json(lines[0])
    except ValueError:
        begun = lines[0][:100]
    if begun != settings:
        raise PredictionError(
            f"{part} was begun with other settings: {begun}, and now {dict(settings)}. "
            "Delete it to begin again, or write to another file."
        )
    done = {}
    for line in lines[1:]:
        with suppress(ValueError, TypeError):
            answer = Answer(**parse_json(line))
            done[answer.question_id] = asdict(answer)
    return done

"""Predictions for a whole split: batched, prefixes shared, streamed to disk, resumable.

Prompts of questions on the same database begin alike, with the system turn and the schema block.
The model reads this prefix once per batch. The questions of a database are sorted by length, so
that batches need little padding. Answers that a batch still lacks when most are finished are
decoded together with the next batches: on a CPU a token takes about as long for one answer as for
ten, so a single long answer would otherwise hold up all others. Predictions are appended to
``<out>.part`` as they are computed; when all of them are there, they are written in the dataset's
order. A killed run resumes with the missing questions.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.predictions import Prediction
from distill_sql.errors import OutOfTime, PredictionError
from distill_sql.files import check_output, parse_json, resume_lines, write_json_lines
from distill_sql.models.grammar import QueryGrammar, vocabulary
from distill_sql.models.protocol import ClosingFence, Finished, JoiningStudent, Prompts, Student
from distill_sql.prompting.prompts import Mode, check_schema_tokens, extract_sql, prompt_messages
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from llguidance import LLTokenizer

#: Questions in a batch.
BATCH = 32
#: Tokens after which an answer is cut off, unless the caller sets another limit.
ANSWER_TOKENS = 256


@dataclass(frozen=True)
class _Question:
    """A question of the dataset with the token ids of its prompt."""

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
    max_tokens: int = ANSWER_TOKENS,
    grammar: bool = False,
    schema_tokens: int = 0,
) -> Iterator[list[Prediction]]:
    """Predictions for ``examples``, a few at a time, in the order that is fastest to compute.

    Prompts come from :func:`~distill_sql.prompting.prompts.prompt_messages` with ``mode``,
    ``style`` and ``schema_tokens``. Tokens are counted with the student's own tokenizer. With
    ``grammar``, decoding is constrained to queries on the question's database
    (:mod:`~distill_sql.models.grammar`). Latencies add up to the time of the run: predictions that
    are finished together share the time since the ones before them.
    """
    tokenizer = student.tokenizer
    tokens = vocabulary(tokenizer) if grammar else None
    questions = [
        _Question(
            example,
            prompt_ids(
                tokenizer, dataset, example, mode=mode, style=style, schema_tokens=schema_tokens
            ),
        )
        for example in examples
    ]
    questions.sort(key=lambda one: (one.example.db_id, len(one.ids), one.example.question_id))
    batches = [
        members[start : start + batch]
        for _, group in groupby(questions, key=lambda one: one.example.db_id)
        for members in [list(group)]
        for start in range(0, len(members), batch)
    ]
    began = time.monotonic()
    for over in _complete(
        student,
        _prompts(batches, dataset, tokens),
        max_tokens=max_tokens,
        finished=ClosingFence(tokenizer),
        rows=batch + batch // 2,
    ):
        now = time.monotonic()
        yield [
            _prediction(
                batches[one.batch][one.place],
                one.ids,
                tokenizer.backend.decode(one.ids),
                (now - began) / len(over),
            )
            for one in over
        ]
        began = now


def _prompts(
    batches: Iterable[Sequence[_Question]], dataset: Dataset, tokens: LLTokenizer | None
) -> Iterator[Prompts]:
    """The batches as a student takes them; with ``tokens``, each answer has a writer."""
    grammar: tuple[str, QueryGrammar] | None = None
    for together in batches:
        db_id = together[0].example.db_id
        if tokens is not None and (grammar is None or grammar[0] != db_id):
            grammar = db_id, QueryGrammar(dataset.schema(db_id), tokens)
        shared = shared_prefix([one.ids for one in together])
        yield Prompts(
            together[0].ids[:shared],
            [one.ids[shared:] for one in together],
            [grammar[1].writer() for _ in together] if grammar else None,
        )


def _complete(
    student: Student,
    batches: Iterable[Prompts],
    *,
    max_tokens: int,
    finished: ClosingFence,
    rows: int,
) -> Iterator[list[Finished]]:
    """The answers to all batches as they are finished, none of the lists empty."""
    if isinstance(student, JoiningStudent):
        every = student.complete_all(batches, max_tokens=max_tokens, finished=finished, rows=rows)
        yield from filter(None, every)
        return
    for number, prompts in enumerate(batches):
        outputs = student.complete(
            prompts.prefix,
            prompts.suffixes,
            max_tokens=max_tokens,
            finished=finished,
            writers=prompts.writers,
        )
        yield [Finished(number, place, output) for place, output in enumerate(outputs)]


def prompt_ids(
    tokenizer: ChatTokenizer,
    dataset: Dataset,
    example: Example,
    *,
    mode: Mode = "direct",
    style: Style = "full",
    schema_tokens: int = 0,
) -> tuple[int, ...]:
    """The token ids of the prompt for one question."""
    messages = prompt_messages(
        dataset, example, mode=mode, style=style, schema_tokens=schema_tokens,
        count=tokenizer.count,
    )  # fmt: skip
    return tuple(tokenizer.encode(tokenizer.render(messages)))


def shared_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """The length of the prefix that all prompts share, at most one token less than the shortest."""
    # If the lexicographically first and last prompt share a prefix, all prompts share it.
    low, high = min(prompts), max(prompts)
    common = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return min(common, min(map(len, prompts)) - 1)


def _prediction(question: _Question, output: list[int], text: str, seconds: float) -> Prediction:
    return Prediction(
        question.example.question_id,
        question.example.db_id,
        extract_sql(text) or "",
        raw_text=text,
        latency_s=round(seconds, 4),
        n_prompt_tokens=len(question.ids),
        n_output_tokens=len(output),
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
    max_tokens: int = ANSWER_TOKENS,
    grammar: bool = False,
    schema_tokens: int = 0,
    progress: bool = True,
    stop_at: float | None = None,
) -> Path:
    """Write one prediction per example of ``dataset`` to ``out`` as JSON Lines, and return ``out``.

    ``model`` names the student. A run resumes from a file ``<out>.part`` of the same model and
    settings; :class:`PredictionError` is raised if they differ. From ``stop_at`` on, a time of
    ``time.monotonic``, it writes the answers that are finished and raises :class:`OutOfTime`.
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
            for prediction in together:
                record = done[prediction.question_id] = prediction.record()
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            bar.update(len(together))
            if stop_at is not None and time.monotonic() >= stop_at and len(done) < len(dataset):
                raise OutOfTime(
                    f"The time limit was reached after {len(done)} of {len(dataset)} questions. "
                    "Their answers are kept; run the same command again to continue."
                )
    write_json_lines(out, (done[example.question_id] for example in dataset))
    part.unlink()
    return out


def _read_part(part: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The predictions of a killed run; a line that cannot be read is left out, to be redone."""
    lines = resume_lines(part)
    if not lines:
        return {}
    try:
        begun = parse_json(lines[0])
    except ValueError:
        begun = lines[0][:100]
    if begun != settings:
        raise PredictionError(
            f"{part} was begun with other settings: {begun}; they are {dict(settings)} now. "
            "Delete it to start again, or write to another file."
        )
    done = {}
    for line in lines[1:]:
        with suppress(ValueError, TypeError):
            prediction = Prediction(**parse_json(line))
            done[prediction.question_id] = prediction.record()
    return done

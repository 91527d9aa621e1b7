"""What ``students_benchmark generate`` measures: generation against two references.

:func:`against_transformers` compares batched generation with transformers' own ``generate``, one
prompt at a time: greedy, with the same prompts and the same end of an answer.
:func:`against_free` compares generation by the grammar with free generation.

Batches are faster the more questions share a database. :func:`spread` therefore keeps ten questions
on each database that it takes. A run over all of Spider dev has 52 on average.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.data.datasets import Dataset, Example
from distill_sql.errors import ParameterError
from distill_sql.models import torch_backend
from distill_sql.models.generation import ANSWER_TOKENS, answers, prompt_ids
from distill_sql.models.inference.torch_student import TorchStudent
from distill_sql.models.protocol import ClosingFence
from distill_sql.models.recipes import Recipe

if TYPE_CHECKING:
    import torch

#: The questions on each database of :func:`spread`.
EACH = 10


@dataclass(frozen=True)
class Answered:
    """The texts of all answers by question, their number of tokens, and the seconds they took."""

    texts: dict[int, str]
    tokens: int
    seconds: float

    def same_as(self, other: Answered) -> int:
        """The number of questions with the same answer."""
        return sum(other.texts[number] == text for number, text in self.texts.items())

    def figures(self, name: str = "") -> dict[str, float]:
        """Seconds in all, seconds a question and tokens a second, with a prefix for the names."""
        return {
            f"{name}seconds": self.seconds,
            f"{name}seconds_per_question": self.seconds / len(self.texts),
            f"{name}tokens": self.tokens,
            f"{name}tokens_per_second": self.tokens / self.seconds,
        }


def spread(dataset: Dataset, count: int) -> Dataset:
    """``count`` questions, ten on a database, on databases with few, some and many questions.

    Databases are taken at equal steps from all that have ten questions, ordered by the number of
    their questions; questions are taken at equal steps from those on a database. Raises
    :class:`ParameterError` if the dataset has not enough of them.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in dataset:
        groups[example.db_id].append(example)
    large = sorted((g for g in groups.values() if len(g) >= EACH), key=len)
    needed = -(-count // EACH)
    if not 1 <= needed <= len(large):
        raise ParameterError(
            f"{count} questions are asked for; expected 1 to {len(large) * EACH}: {EACH} on each "
            f"of the {len(large)} databases that have as many. Ask for fewer."
        )
    taken = [
        large[place][number]
        for place in _steps(len(large), needed)
        for number in _steps(len(large[place]), EACH)
    ]
    return dataset.with_examples(taken[:count])


def _steps(size: int, count: int) -> list[int]:
    """``count`` of the numbers below ``size`` at equal steps, from 0."""
    return [size * n // count for n in range(count)]


def against_transformers(
    folder: Path, recipe: Recipe, dataset: Dataset, *, max_tokens: int = ANSWER_TOKENS
) -> dict[str, float]:
    """The speed of batched generation and of transformers, and the number of equal answers."""
    student = _warm(torch_backend.load(folder, recipe), recipe, dataset)
    ours = _batched(student, recipe, dataset, max_tokens=max_tokens)
    plain = _one_at_a_time(folder, student, recipe, dataset, max_tokens=max_tokens)
    return {
        "questions": len(dataset),
        "same": ours.same_as(plain),
        **ours.figures(),
        **plain.figures("plain_"),
        "times_faster": plain.seconds / ours.seconds,
    }


def against_free(
    folder: Path, recipe: Recipe, dataset: Dataset, *, max_tokens: int = ANSWER_TOKENS
) -> dict[str, float]:
    """The speed of generation by the grammar and of free generation.

    Both run twice, in the order free, grammar, grammar, free, so that a machine that becomes slower
    or faster meanwhile favours neither. ``more_seconds`` and ``more_seconds_per_token`` are the
    shares by which the grammar is slower.
    """
    student = _warm(torch_backend.load(folder, recipe), recipe, dataset)
    runs = [
        _batched(student, recipe, dataset, max_tokens=max_tokens, grammar=grammar)
        for grammar in (False, True, True, False)
    ]
    free, bound = _mean(runs[0], runs[3]), _mean(runs[1], runs[2])
    return {
        "questions": len(dataset),
        "same": bound.same_as(free),
        **free.figures("free_"),
        **bound.figures(),
        "more_seconds": bound.seconds / free.seconds - 1,
        "more_seconds_per_token": bound.seconds / bound.tokens / (free.seconds / free.tokens) - 1,
    }


def _mean(first: Answered, second: Answered) -> Answered:
    """Two runs with the same answers as one, with the mean of their seconds."""
    return replace(first, seconds=(first.seconds + second.seconds) / 2)


def _warm(student: TorchStudent, recipe: Recipe, dataset: Dataset) -> TorchStudent:
    """The student after one short answer: the first products take longer."""
    _batched(student, recipe, dataset.limit(1), max_tokens=2)
    return student


def _batched(
    student: TorchStudent,
    recipe: Recipe,
    dataset: Dataset,
    *,
    max_tokens: int,
    grammar: bool = False,
) -> Answered:
    began = time.monotonic()
    batches = answers(
        student,
        dataset,
        dataset.examples,
        style=recipe.style,
        schema_tokens=recipe.schema_tokens,
        max_tokens=max_tokens,
        grammar=grammar,
    )
    found = [answer for batch in batches for answer in batch]
    return Answered(
        {answer.question_id: answer.raw_text or "" for answer in found},
        sum(answer.n_output_tokens or 0 for answer in found),
        time.monotonic() - began,
    )


def plain_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.to(torch_backend.device())


def _one_at_a_time(
    folder: Path, student: TorchStudent, recipe: Recipe, dataset: Dataset, *, max_tokens: int
) -> Answered:
    """The answers of transformers' ``generate``, which end where those of the student end."""
    import torch
    from transformers import StoppingCriteriaList

    tokenizer, plain = student.tokenizer, plain_model(folder, student.model.dtype)
    texts, tokens, finished = {}, 0, ClosingFence(tokenizer)
    began = time.monotonic()
    for example in dataset:
        ids = prompt_ids(
            tokenizer, dataset, example, style=recipe.style, schema_tokens=recipe.schema_tokens
        )
        output = plain.generate(
            torch.tensor([ids], device=plain.device),
            max_new_tokens=max_tokens,
            do_sample=False,
            repetition_penalty=1.0,
            pad_token_id=0,
            eos_token_id=sorted(student.ends),
            stopping_criteria=StoppingCriteriaList([_stop(finished, len(ids))]),
        )
        new = [token for token in output[0, len(ids) :].tolist() if token not in student.ends]
        texts[example.question_id], tokens = tokenizer.backend.decode(new), tokens + len(new)
    return Answered(texts, tokens, time.monotonic() - began)


def _stop(
    finished: ClosingFence, start: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Stops generation by the same rule as a student's, on the tokens from ``start``."""

    def stop(ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return ids.new_tensor([finished(row[start:].tolist()) for row in ids]).bool()

    return stop

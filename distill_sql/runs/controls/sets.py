"""The training sets of the controls, made from traces, gold queries and a teacher's samples.

A gain after training on a teacher's kept traces could come from any training on such questions.
Each control changes one thing about the training set: who wrote the answers, whether they were
checked, their mode, or which of the teacher's samples were drawn. Gold queries change two things:
they have no reasoning, so all are direct. Sets that are compared have the same size and the same
databases, so their students make the same number of updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_sql.data.datasets import Dataset, Example
from distill_sql.errors import TrainingError
from distill_sql.prompting.prompts import extract_sql, prompt_messages
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import ChatTokenizer, Message
from distill_sql.teacher import Sample, Settings, Store, requests_for
from distill_sql.teacher.traces import Sieve, Trace
from distill_sql.training.experiments import sample
from distill_sql.training.splits import training_set

#: Every training set and its content, in the words of the book.
CONTROLS: Mapping[str, str] = {
    "distilled": "the teacher's kept traces",
    "gold": "gold queries of the same questions, asked directly",
    "gold-any": "gold queries of any training questions, asked directly",
    "unfiltered": "the teacher's first answer to any question, right or wrong",
    "resampled": "kept traces of another draw of the teacher's samples",
    "both": "kept traces in both modes, as many as there are direct ones",
    "direct": "direct kept traces only",
}
#: The set that each control is compared with; it has the same size.
AGAINST: Mapping[str, str] = {
    "gold": "distilled",
    "gold-any": "distilled",
    "unfiltered": "distilled",
    "resampled": "distilled",
    "direct": "both",
}


class Draw(Store):
    """A store of answers that returns another draw: it skips the samples of ``number`` draws.

    The embedded teacher seeds each sample by its place in the request, so another draw is the later
    samples of a longer request (:func:`distill_sql.models.inference.engine.sampler`).
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path)
        self._number = number

    def samples(self, request: bytes, count: int) -> list[Sample | None]:
        """The ``count`` samples of this draw, with None for each missing one."""
        return super().samples(request, count * (self._number + 1))[count * self._number :]


def gold_traces(
    examples: Iterable[Example], dataset: Dataset, *, style: Style, schema_tokens: int = 0
) -> list[Trace]:
    """One trace per example, in direct mode, with the gold query as its completion."""
    return [
        _trace(
            example,
            prompt_messages(dataset, example, style=style, schema_tokens=schema_tokens),
            f"```sql\n{example.query}\n```",
            mode="direct",
            model="gold",
            schema_tokens=schema_tokens,
        )
        for example in examples
    ]


def unfiltered_traces(dataset: Dataset, settings: Settings, store: Store) -> list[Trace]:
    """One trace per question, from its first sample, right or wrong; empty samples are left out."""
    found = []
    for request in requests_for(dataset, settings):
        [first] = store.samples(request.key, 1)
        if first is not None and first.text.strip():
            found.append(
                _trace(
                    request.example,
                    request.messages,
                    first.text,
                    mode=request.mode,
                    model=settings.model,
                    schema_tokens=settings.schema_tokens,
                )
            )
    return found


def resampled(sieve: Sieve, draw: Store) -> list[Trace]:
    """The traces that a sieve keeps from a :class:`Draw`."""
    return [trace for _, judged in sieve.judge_all(draw) for trace in judged.kept]


def direct_only(traces: Iterable[Trace]) -> list[Trace]:
    """The traces in direct mode."""
    return [trace for trace in traces if trace.mode == "direct"]


def _trace(
    example: Example,
    messages: Iterable[Message],
    completion: str,
    *,
    mode: str,
    model: str,
    schema_tokens: int,
) -> Trace:
    """A trace that no sieve has judged, without a cost."""
    return Trace(
        example.question_id, example.db_id, example.question, example.query, mode,
        tuple(messages), completion, extract_sql(completion) or "", n_samples=1, n_passed=0,
        model=model, prompt_tokens=0, completion_tokens=0, cost=0, schema_tokens=schema_tokens,
    )  # fmt: skip


@dataclass(frozen=True)
class Sets:
    """The training traces of each control, and the validation traces that all share."""

    learned: Mapping[str, tuple[Trace, ...]]
    validation: tuple[Trace, ...]


def equal_sets(
    traces: Sequence[Trace],
    others: Mapping[str, Sequence[Trace]],
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int,
) -> Sets:
    """Make the sets of all controls, with the same size for sets that are compared.

    ``traces`` are the teacher's kept ones. Their split applies to all: no control learns from its
    validation databases. ``others`` are the traces of the other controls by name, except ``both``
    and ``direct``, which are made here; ``gold`` is cut to the questions of the kept traces. Near
    duplicates and traces longer than ``max_tokens`` are left out of each set. Raises
    :class:`TrainingError` if a set is empty.
    """
    prepared = training_set(traces, tokenizer, max_tokens=max_tokens)
    held = {trace.db_id for trace in prepared.validation}
    whole = {"distilled": prepared.train}
    answered = {trace.question_id for trace in prepared.train}
    for name, some in others.items():
        learned = [
            trace
            for trace in some
            if trace.db_id not in held and (name != "gold" or trace.question_id in answered)
        ]
        alone = training_set(learned, tokenizer, max_tokens=max_tokens, validation_share=0)
        whole[name] = alone.train
    for name, some in whole.items():
        if not some:
            raise TrainingError(
                f"The control {name} has an empty training set: none of its traces is on a "
                f"training database and within {max_tokens} tokens. Generate its traces, or leave "
                "it out with --only."
            )
    count = min(map(len, whole.values()))
    found = {name: tuple(sample(some, count)) for name, some in whole.items()}
    direct = direct_only(prepared.train)
    if 0 < len(direct) < len(prepared.train):
        found |= {"both": tuple(sample(prepared.train, len(direct))), "direct": tuple(direct)}
    return Sets(found, prepared.validation)

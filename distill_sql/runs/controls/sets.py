"""The training sets of the controls, from traces, gold queries and a teacher's samples.

A gain after training on a teacher's kept traces could come from any training on such questions.
Each control changes what is learned: who wrote the answers, whether they were checked, in which
mode they are, or which of the teacher's samples they happen to be. Gold queries change two things:
they come without reasoning, so all are direct. All that are compared are equally large, from the
same databases, so their students make the same number of updates.
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

#: Every training set, and what is in it.
CONTROLS: Mapping[str, str] = {
    "distilled": "the teacher's kept traces",
    "gold": "gold queries of the same questions, asked directly",
    "gold-any": "gold queries of any training questions, asked directly",
    "unfiltered": "the teacher's first answer to any question, right or wrong",
    "resampled": "kept traces of another draw of the teacher's samples",
    "both": "kept traces in both modes, as many as there are direct ones",
    "direct": "direct kept traces only",
}
#: Which set each control is compared with: one of as many traces.
AGAINST: Mapping[str, str] = {
    "gold": "distilled",
    "gold-any": "distilled",
    "unfiltered": "distilled",
    "resampled": "distilled",
    "direct": "both",
}


class Draw(Store):
    """A store of answers that shows another draw of each: the samples after those of ``number``
    draws.

    The embedded teacher draws a sample by its place in the request, so another draw is the later
    samples of a longer request (:func:`distill_sql.models.engine.sampler`).
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path)
        self._number = number

    def samples(self, request: bytes, count: int) -> list[Sample | None]:
        """The ``count`` samples of this draw, None for those that are missing."""
        return super().samples(request, count * (self._number + 1))[count * self._number :]


def gold_traces(
    examples: Iterable[Example], dataset: Dataset, *, style: Style, schema_tokens: int = 0
) -> list[Trace]:
    """A trace for each example whose completion is its gold query, asked directly."""
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
    """A trace for each question's first sample, whatever it says, unless it says nothing."""
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
    """The traces that a sieve keeps of a :class:`Draw`'s samples."""
    return [trace for _, judged in sieve.judge_all(draw) for trace in judged.kept]


def direct_only(traces: Iterable[Trace]) -> list[Trace]:
    """The traces that answer at once."""
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
    """A trace that no sieve has judged; nothing is said of its cost."""
    return Trace(
        example.question_id, example.db_id, example.question, example.query, mode,
        tuple(messages), completion, extract_sql(completion) or "", n_samples=1, n_passed=0,
        model=model, prompt_tokens=0, completion_tokens=0, cost=0, schema_tokens=schema_tokens,
    )  # fmt: skip


@dataclass(frozen=True)
class Sets:
    """What each control learns from, and the validation traces that all share."""

    learned: Mapping[str, tuple[Trace, ...]]
    validation: tuple[Trace, ...]


def equal_sets(
    traces: Sequence[Trace],
    others: Mapping[str, Sequence[Trace]],
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int,
) -> Sets:
    """The sets of all controls, those that are compared equally large.

    ``traces`` are the teacher's kept ones. Their split holds for all: what is on its validation
    databases is learned by none. ``others`` are the sets of controls by name, besides ``both`` and
    ``direct``, which are made here; ``gold`` keeps the questions that the traces are about. Near
    duplicates and what exceeds ``max_tokens`` are left out of each. Raises :class:`TrainingError`
    if a set is left empty.
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
                f"The control {name} has nothing to learn from: none of its traces is on a "
                f"training database and within {max_tokens} tokens. Make its traces, or leave it "
                "out."
            )
    count = min(map(len, whole.values()))
    found = {name: tuple(sample(some, count)) for name, some in whole.items()}
    direct = direct_only(prepared.train)
    if 0 < len(direct) < len(prepared.train):
        found |= {"both": tuple(sample(prepared.train, len(direct))), "direct": tuple(direct)}
    return Sets(found, prepared.validation)

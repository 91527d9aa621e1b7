"""The interface of a student, independent of the framework.

Two back ends implement :class:`Student`: :mod:`~distill_sql.models.torch_backend` (transformers,
peft, trl) and :mod:`~distill_sql.models.mlx_backend` (mlx-lm). What must not differ between them is
shared code: token ids, loss mask, order of the rows, learning-rate schedule, the end of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from distill_sql.prompting.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

Framework = Literal["torch", "mlx"]

#: Chooses the next token of one answer from the vector of logits, and keeps track of the answer.
Writer: TypeAlias = "Callable[[np.ndarray[Any, Any]], int]"

#: Opens and closes the code block of an answer's query.
FENCE = "```"


class Student(Protocol):
    """A loaded model with its tokenizer, ready to answer."""

    framework: Framework
    tokenizer: ChatTokenizer

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        writers: Sequence[Writer] | None = None,
    ) -> list[list[int]]:
        """Greedy continuations of ``prefix + suffix`` for every suffix, as token ids.

        ``prefix`` is computed once. A continuation ends before the model's end marker, after
        ``max_tokens``, or when ``finished`` is true of its tokens. ``writers``, one per suffix,
        replace greedy decoding.
        """
        ...


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts ``prefix + suffix``, with a writer for each suffix or none at all."""

    prefix: Sequence[int]
    suffixes: Sequence[Sequence[int]]
    writers: Sequence[Writer] | None = None


class Finished(NamedTuple):
    """A complete answer: the numbers of its batch and of its suffix, and its token ids."""

    batch: int
    place: int
    ids: list[int]


@runtime_checkable
class JoiningStudent(Student, Protocol):
    """A student that starts a batch while answers of earlier batches are still being decoded."""

    def complete_all(
        self,
        batches: Iterable[Prompts],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        rows: int,
    ) -> Iterator[list[Finished]]:
        """The answers of :meth:`Student.complete` for every batch, as they are finished.

        A batch is started when its prompts and the unfinished answers are at most ``rows``.
        """
        ...


class ClosingFence:
    """Whether an answer is finished: a code block was opened and closed.

    Only a token with a backtick can close one, so other tokens need no decoding.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._backend = tokenizer.backend
        self._ticks = {
            token
            for token in range(self._backend.get_vocab_size())
            if "`" in (self._backend.decode([token], skip_special_tokens=False))
        }

    def __call__(self, ids: Sequence[int]) -> bool:
        if not ids or ids[-1] not in self._ticks:
            return False
        return self._backend.decode(list(ids)).count(FENCE) >= 2

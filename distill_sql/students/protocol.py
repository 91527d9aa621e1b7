"""What a student is, whichever framework holds it.

Two back ends implement :class:`Student`: :mod:`~distill_sql.students.torch_backend` (transformers,
peft, trl) and :mod:`~distill_sql.students.mlx_backend` (mlx-lm). Everything that must not differ
between them stands outside: token ids, loss mask, order, schedule, where an answer stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from distill_sql.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

Framework = Literal["torch", "mlx"]

#: Chooses an answer's next token from the scores of all tokens, a vector, and remembers it.
Writer: TypeAlias = "Callable[[np.ndarray[Any, Any]], int]"

#: What opens and closes an answer's query.
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
        ``max_tokens``, or when ``finished`` says so of what it holds. ``writers`` choose the
        tokens, one writer per suffix; without them the likeliest are taken.
        """
        ...


@dataclass(frozen=True)
class Update:
    """One optimizer update: the mean loss over its learned tokens, and its learning rate."""

    number: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Validation:
    """The mean loss over the learned tokens of the validation rows, after ``update`` updates."""

    update: int
    loss: float


@dataclass(frozen=True)
class Trained:
    """What training left behind; ``tokens`` without padding, ``peak_memory`` in bytes.

    ``validation`` is empty where there were no validation rows. What measuring it took is not in
    ``seconds``.
    """

    adapter: Path
    updates: tuple[Update, ...]
    tokens: int
    learned_tokens: int
    too_long: int
    seconds: float
    peak_memory: int
    validation: tuple[Validation, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """Tokens read in a second, prompt and completion, padding not counted."""
        return self.tokens / self.seconds if self.seconds else 0.0


def measured_after(total: int) -> frozenset[int]:
    """The updates after which the validation loss of a run is measured: none, and each fifth.

    Each time takes about a fortieth of what pocket-l's training takes.

    >>> sorted(measured_after(25)), sorted(measured_after(3))
    ([0, 5, 10, 15, 20, 25], [0, 1, 2, 3])
    """
    return frozenset(round(total * part / 5) for part in range(6))


def learning_rate(update: int, *, peak: float, warm_up: int, total: int) -> float:
    """The rate of the update of this number, counted from 0: linear warm-up, then half a cosine.

    The rate would be 0 at update ``total``, so the last one has nearly none. Warm-up takes half of
    a run that is shorter than twice its length.

    >>> [round(learning_rate(n, peak=1, warm_up=2, total=6), 3) for n in range(7)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    warm_up = min(warm_up, total // 2)
    if update < warm_up:
        return peak * update / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warm_up) / max(total - warm_up, 1)))


class ClosingFence:
    """Says when an answer is over: a code block was opened and closed.

    Only a token that holds a backtick can close one, so only then is the text looked at.
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

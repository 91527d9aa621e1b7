"""The result of training, and the schedule that both back ends follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


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
    """The result of a run; ``tokens`` without padding, ``peak_memory`` in bytes.

    ``validation`` is empty without validation rows; ``seconds`` excludes the time that it took.
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
        """Tokens per second, of prompts and completions, without padding."""
        return self.tokens / self.seconds if self.seconds else 0.0


def measured_after(total: int) -> frozenset[int]:
    """The numbers of updates after which validation loss is measured: 0 and each fifth of a run.

    Each measurement takes about a fortieth of pocket-l's training time.

    >>> sorted(measured_after(25)), sorted(measured_after(3))
    ([0, 5, 10, 15, 20, 25], [0, 1, 2, 3])
    """
    return frozenset(round(total * part / 5) for part in range(6))


def learning_rate(update: int, *, peak: float, warm_up: int, total: int) -> float:
    """The learning rate of an update, counted from 0: linear warm-up, then half a cosine.

    The rate reaches 0 at update ``total``, one after the last. In a run shorter than twice the
    warm-up, warm-up takes half of the updates.

    >>> [round(learning_rate(n, peak=1, warm_up=2, total=6), 3) for n in range(7)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    warm_up = min(warm_up, total // 2)
    if update < warm_up:
        return peak * update / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warm_up) / max(total - warm_up, 1)))

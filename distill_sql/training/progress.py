"""A training run in progress, as both back ends record it: schedule, history, validation, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

from distill_sql.errors import OutOfTime
from distill_sql.models.recipes import Recipe
from distill_sql.training.outcome import (
    Trained,
    Update,
    Validation,
    learning_rate,
    measured_after,
)
from distill_sql.training.rows import Rows, TokenRow, updates

#: Computes the mean loss over the learned tokens of rows.
MeanLoss: TypeAlias = Callable[[Sequence[TokenRow]], float]


class Progress:
    """The history of a run, shown as a progress bar.

    A back end calls ``validate`` before the first update and after each update, and ``add`` with
    the result of each update. ``validation`` rows may be empty. From ``stop_at`` on, a time of
    ``time.monotonic``, the run saves a checkpoint after its current update and ends.
    """

    #: Updates between two checkpoints, and the seconds after which a slow run saves one earlier.
    checkpoint_every = 50
    checkpoint_seconds = 120.0

    def __init__(
        self,
        recipe: Recipe,
        rows: Rows,
        validation: Sequence[TokenRow] = (),
        *,
        shown: bool = True,
        stop_at: float | None = None,
    ) -> None:
        self.total = updates(recipe, rows)
        self.updates: list[Update] = []
        self.validation: list[Validation] = []
        self._warm_up, self._rows, self._held_out = recipe.warm_up, rows, validation
        self._seconds = self._validating = 0.0
        self._stop_at, self._saved = stop_at, time.monotonic()
        self._bar = tqdm(total=self.total, disable=not shown, desc=recipe.name)

    def learning_rate(self, update: int, *, peak: float) -> float:
        """The learning rate of the update with this number, counted from 0."""
        return learning_rate(update, peak=peak, warm_up=self._warm_up, total=self.total)

    def resume(self, updates: Iterable[Update], validation: Iterable[Validation]) -> None:
        """Continue from the history of a checkpoint."""
        self.updates, self.validation = list(updates), list(validation)
        self._bar.update(len(self.updates) - self._bar.n)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the training loop, without validation, and close the progress bar at its end.

        Raises :class:`OutOfTime` if the loop ended early because of the time limit.
        """
        began = time.monotonic()
        with self._bar:
            yield
            self._seconds = time.monotonic() - began - self._validating
        if self.out_of_time():
            raise OutOfTime(
                f"The time limit was reached after {len(self.updates)} of {self.total} updates. A "
                "checkpoint is saved; run the same command again to continue."
            )

    def add(self, update: Update) -> None:
        """Append an update to the history."""
        self.updates.append(update)
        self._bar.set_postfix(loss=f"{update.loss:.3f}", refresh=False)
        self._bar.update()

    def checkpoint_due(self) -> bool:
        """Whether a checkpoint is due after the last update."""
        return len(self.updates) % self.checkpoint_every == 0 or self.time_to_save()

    def time_to_save(self) -> bool:
        """Whether a checkpoint is due because the run ends or the last one is long ago."""
        now = time.monotonic()
        if not self.out_of_time() and now - self._saved < self.checkpoint_seconds:
            return False
        self._saved = now
        return True

    def out_of_time(self) -> bool:
        """Whether the run has to end before its last update."""
        late = self._stop_at is not None and time.monotonic() >= self._stop_at
        return late and len(self.updates) < self.total

    def validate(self, update: int, mean_loss: MeanLoss) -> Validation | None:
        """The validation loss after so many updates, if it is due and not known yet."""
        known = {one.update for one in self.validation}
        if not self._held_out or update not in measured_after(self.total) - known:
            return None
        began = time.monotonic()
        measured = Validation(update, mean_loss(self._held_out))
        self.validation.append(measured)
        self._validating += time.monotonic() - began
        return measured

    def trained(self, adapter: Path, *, peak_memory: int) -> Trained:
        """The result of the run, once it is over."""
        return Trained(
            adapter,
            tuple(self.updates),
            self._rows.tokens,
            self._rows.learned,
            self._rows.too_long,
            self._seconds,
            peak_memory,
            tuple(self.validation),
        )

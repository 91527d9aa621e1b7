"""The history of a run: validation when it is due, time without validation, resumption."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.models.recipes import recipe_for
from distill_sql.training.outcome import Update, Validation
from distill_sql.training.progress import Progress
from distill_sql.training.rows import Rows, TokenRow

#: Ten updates of two rows each.
RECIPE = replace(recipe_for("pocket-s"), batch=2, epochs=1, warm_up=2)
ROWS = Rows(tuple(TokenRow((1, 2, 3), 1) for _ in range(20)), too_long=4)


def run(progress: Progress, updates: range, calls: list[int]) -> None:
    """Carry out updates as a back end does."""

    def mean_loss(rows: Sequence[TokenRow]) -> float:
        calls.append(len(rows))
        return 0.5

    with progress.running():
        for number in updates:
            progress.validate(number, mean_loss)
            progress.add(Update(number + 1, 1.0, 0.1))
        progress.validate(updates.stop, mean_loss)


def test_the_history_is_that_of_ten_updates() -> None:
    progress, calls = Progress(RECIPE, ROWS, ROWS.rows[:3], shown=False), []
    run(progress, range(10), calls)
    trained = progress.trained(Path("adapter"), peak_memory=7)
    assert [one.number for one in trained.updates] == list(range(1, 11))
    assert [one.update for one in trained.validation] == [0, 2, 4, 6, 8, 10]
    assert calls == [3] * 6
    counts = trained.tokens, trained.learned_tokens, trained.too_long, trained.peak_memory
    assert counts == (60, 40, 4, 7)


def test_a_resumed_run_does_not_validate_again() -> None:
    progress, calls = Progress(RECIPE, ROWS, ROWS.rows[:3], shown=False), []
    before = [Update(number, 2.0, 0.1) for number in range(1, 5)]
    progress.resume(before, [Validation(0, 3.0), Validation(2, 2.5), Validation(4, 2.0)])
    run(progress, range(4, 10), calls)
    assert calls == [3] * 3
    assert [one.loss for one in progress.validation] == [3.0, 2.5, 2.0, 0.5, 0.5, 0.5]
    assert [one.loss for one in progress.updates] == [2.0] * 4 + [1.0] * 6


def test_nothing_is_validated_without_rows() -> None:
    progress, calls = Progress(RECIPE, ROWS, shown=False), []
    run(progress, range(10), calls)
    assert (calls, progress.validation) == ([], [])


def test_time_is_that_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of whole seconds: each reading is one second after the last."""
    readings = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(readings)))
    progress = Progress(RECIPE, ROWS, ROWS.rows[:1], shown=False)
    run(progress, range(10), [])
    # Read twice by each of six validations and twice by the run: 13 seconds, 6 of them validation.
    assert progress.trained(Path("adapter"), peak_memory=0).seconds == 7.0


def test_checkpoints_are_due_at_multiples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "checkpoint_every", 4)
    progress = Progress(RECIPE, ROWS, shown=False)
    due = []
    with progress.running():
        for number in range(1, 11):
            progress.add(Update(number, 1.0, 0.1))
            due += [number] if progress.checkpoint_due() else []
    assert due == [4, 8]


def test_a_slow_run_saves_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock's readings are one second apart, and a checkpoint is due after ten seconds."""
    readings = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(readings)))
    monkeypatch.setattr(Progress, "checkpoint_seconds", 10.0)
    progress = Progress(RECIPE, ROWS, shown=False)
    assert [progress.time_to_save() for _ in range(20)] == ([False] * 9 + [True]) * 2


def test_the_schedule_is_the_recipes() -> None:
    progress = Progress(RECIPE, ROWS, shown=False)
    rates = [progress.learning_rate(update, peak=2.0) for update in (0, 1, 2, 6)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0])

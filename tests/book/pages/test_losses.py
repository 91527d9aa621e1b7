from __future__ import annotations

from statistics import fmean

import pytest

from distill_sql.book.pages import losses
from distill_sql.data.datasets import load_dataset
from distill_sql.models.recipes import recipe_for
from distill_sql.training.outcome import Validation

from . import students

pytestmark = pytest.mark.filterwarnings("default")
FALLING = [2 - n / 20 for n in range(30)]


def test_the_rolling_mean_is_that_of_the_last_losses() -> None:
    found = losses.rolling(FALLING, 10)
    assert found == pytest.approx(
        [fmean(FALLING[max(0, n - 9) : n + 1]) for n in range(len(FALLING))]
    )


def test_the_first_of_equal_losses_is_the_least() -> None:
    measured = [Validation(0, 3.0), Validation(5, 1.0), Validation(9, 1.0)]
    assert losses.least(measured).update == 5


def test_speed_is_tokens_per_second_and_gibibytes() -> None:
    words = losses.speed(students.trained(FALLING))
    assert "30 updates over 1,000 tokens, 100 of them learned, in 10 s" in words
    assert "**100 tokens/s**, peak memory 2.0 GiB" in words


def test_one_run_is_drawn_with_its_mean_and_its_validation_loss() -> None:
    run = students.trained(FALLING, [(0, 3.0), (30, 1.5)])
    figure = losses.one_run(recipe_for("pocket-s"), run, students.material())
    assert figure.alt == (
        f"Training loss from 2.00 to {fmean(FALLING[-10:]):.2f}, validation loss from 3.00 to 1.50."
    )
    assert figure.caption.startswith("Loss of pocket-s over 1 epoch, seed 42.")
    assert "2 traces on 1 database held out from training." in figure.caption
    drawn = list(figure.chart.to_dict()["datasets"].values())
    assert sorted(map(len, drawn)) == [30, 32]
    bare = losses.one_run(recipe_for("pocket-s"), students.trained(FALLING), students.material())
    assert "validation" not in bare.alt


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (1.03, "more than 2 % above it: the student overfits"),
        (1.01, "no sign of overfitting"),
        (1.0, "no sign of overfitting"),
    ],
)
def test_overfitting_is_a_last_loss_above_the_minimum(last: float, said: str) -> None:
    run = students.trained(FALLING, [(0, 2.0), (10, 1.0), (30, last)])
    words = losses.validation_in_words(run, students.material())
    assert f"ends at **{last:.3f}**; its minimum is 1.000, after update 10." in words
    assert said in words


def test_without_measurements_nothing_is_said_of_validation() -> None:
    assert losses.validation_in_words(students.trained(FALLING), students.material()) == ""


def test_many_runs_are_drawn_by_size_and_seed() -> None:
    dev = load_dataset("pocket").limit(students.QUESTIONS)
    runs = [
        students.outcome(
            dev, recipe_for("pocket-s", seed=seed), "rrrrrr",
            run=students.trained(FALLING, [(0, 3.0), (20, 1.0), (30, 1.5)]),
        )
        for seed in (1, 2)
    ] + [students.outcome(dev, recipe_for("pocket-s-base"), "wwwwww")]  # fmt: skip
    given = students.material()
    figure = losses.many_runs(runs, ["pocket-s"], given)
    rows = [row for part in figure.chart.to_dict()["datasets"].values() for row in part]
    assert len(rows) == 2 * (30 + 3)
    smooth = [row["loss"] for row in rows if row["of"] == "training" and row["seed"] == 1]
    assert smooth[20] == pytest.approx(fmean(FALLING[6:21]))
    table = losses.validation_table(runs, given)
    assert table is not None
    assert [(row["model"], row["seed"], row["last"], row["least"]) for row in table.rows] == [
        ("pocket-s", 1, 1.5, 1.0), ("pocket-s", 2, 1.5, 1.0),
    ]  # fmt: skip
    assert losses.validation_table(runs[2:], given) is None

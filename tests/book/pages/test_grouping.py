from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from distill_sql.book.pages import grouping
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.runs.records import Run

from . import students

RECORDS = Path(__file__).parents[3] / "book" / "results" / "runs"


def run(dev: Dataset, arm: str, seed: int, letters: str) -> Run:
    manifest = {
        "plan": "grouping", "recipe": "pocket-l", "seed": seed,
        "inputs": {"recipe": {"grouping": arm}},
    }  # fmt: skip
    training = {"training": {"updates": 13}}
    return Run(Path(), manifest, students.report(dev, letters), training, None, None, True)


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(students.QUESTIONS)


@pytest.fixture(scope="module")
def runs(dev: Dataset) -> list[Run]:
    return [
        run(dev, "database", 1, "rrrrrw"), run(dev, "database", 2, "rrrrrr"),
        run(dev, "mixed", 1, "rrrwww"), run(dev, "mixed", 2, "rrrrww"),
    ]  # fmt: skip


def test_each_composition_has_its_mean_and_range(runs: list[Run]) -> None:
    table = grouping.table(runs)
    assert table is not None
    mixed, grouped = table.rows
    assert (mixed["an update has"], mixed["accuracy"]) == (
        "examples in random order", pytest.approx(7 / 12),
    )  # fmt: skip
    assert (grouped["accuracy"], grouped["seeds"], grouped["updates"]) == (
        pytest.approx(11 / 12), 2, 13,
    )  # fmt: skip
    assert mixed["range"] == "50.0% to 66.7%"


def test_the_difference_is_grouped_minus_mixed(runs: list[Run]) -> None:
    assert "changes accuracy by **+33.3 points**" in grouping.in_words(runs)
    assert grouping.COMMAND in grouping.in_words(runs)


def test_without_runs_nothing_is_shown(tmp_path: Path) -> None:
    assert grouping.read(tmp_path) == []
    assert (grouping.table([]), grouping.in_words([])) == (None, "")


def test_the_book_has_three_seeds_of_each_composition() -> None:
    runs = grouping.read(RECORDS)
    arms = {
        arm: [one for one in runs if one.manifest["inputs"]["recipe"]["grouping"] == arm]
        for arm in grouping.ARMS
    }
    assert {arm: sorted(one.seed for one in some) for arm, some in arms.items()} == {
        "mixed": [42, 43, 44], "database": [42, 43, 44],
    }  # fmt: skip
    assert all(one.same_data and not one.differences for one in runs)
    learned = {one.training["training"]["learned"] for one in runs if one.training}
    assert len(learned) == 1
    # The rows of the page are means of the counts at the time of recording.
    table = grouping.table(runs)
    assert table is not None
    for row, some in zip(table.rows, arms.values(), strict=True):
        shares = [one.manifest["exec"]["correct"] / 510 for one in some]
        assert row["accuracy"] == pytest.approx(fmean(shares))

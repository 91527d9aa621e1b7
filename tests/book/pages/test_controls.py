from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import controls
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.runs.controls.records import Recorded, comparisons
from distill_sql.scoring.gains import between

from . import students

RECORDS = Path(__file__).parents[3] / "book" / "results" / "controls"


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(students.QUESTIONS)


@pytest.fixture(scope="module")
def found(dev: Dataset) -> controls.Controls:
    """Two recipes, the smaller one last, and the controls of one."""
    manifest = {
        "traces": 100, "training": {"updates": 13}, "date": "2026-01-02T03:04",
        "git": {"commit": "abcdef" * 7}, "hardware": {"cpu": "a CPU", "cores": 2},
    }  # fmt: skip
    runs = [
        Recorded(
            Path(),
            manifest | {"control": control, "recipe": recipe, "seed": seed},
            students.report(dev, letters),
        )
        for recipe, control, seed, letters in (
            ("pocket-m", "distilled", 1, "rrrrrr"),
            ("pocket-s", "distilled", 1, "rrrrww"),
            ("pocket-s", "distilled", 2, "rrrrrr"),
            ("pocket-s", "gold", 1, "rrwwww"),
        )
    ]
    return controls.Controls(runs, {(r, c): gain for r, c, gain in comparisons(runs, dev)})


def test_a_row_has_the_mean_over_seeds_and_the_difference(found: controls.Controls) -> None:
    small, gold, medium = controls.table(found).rows
    assert [row["model"] for row in (small, gold, medium)] == ["pocket-s", "pocket-s", "pocket-m"]
    assert (small["seeds"], small["accuracy"]) == (2, pytest.approx(5 / 6))
    assert (small["range"], small["points"], small["interval"]) == ("66.7% to 100.0%", None, "")
    gain = found.gains["pocket-s", "gold"]
    assert (gold["compared with"], gold["points"]) == ("distilled", pytest.approx(-50))
    assert gold["interval"] == between(gain.strict.clustered_interval)
    assert gold["further columns forgiven"].startswith("-50.0 (")
    assert (gold["traces"], gold["updates"]) == (100, 13)


@pytest.mark.parametrize(
    ("interval", "clear"), [((-0.7, -0.1), True), ((0.1, 0.7), True), ((-0.7, 0.1), False)]
)
def test_a_difference_is_clear_if_its_interval_excludes_zero(
    found: controls.Controls, interval: tuple[float, float], clear: bool
) -> None:
    name, gain = ("pocket-s", "gold"), found.gains["pocket-s", "gold"]
    changed = replace(gain, strict=replace(gain.strict, clustered_interval=interval))
    told = controls.Controls(found.runs, {name: changed})
    assert set(told.clear()) == ({name} if clear else set())
    words = controls.in_words(told)
    if clear:
        assert "Of 1 differences, these have an interval over databases that excludes" in words
        assert "asked directly (pocket-s, -50.0 points)." in words
    else:
        assert words.startswith("Every interval over databases includes zero")
    assert "Recorded on 2026-01-02 at commit abcdefabcdef, on a CPU, 2 cores." in words


def test_records_are_read_for_pocket_alone(tmp_path: Path, toy_dataset: Path) -> None:
    assert controls.read("spider") is None
    assert controls.read("pocket", tmp_path) is None
    assert "`python -m distill_sql.runs.controls" in controls.none_recorded(load_dataset("pocket"))
    assert controls.none_recorded(load_dataset(toy_dataset)).endswith(".")


def test_recorded_runs_are_read_and_compared(tmp_path: Path) -> None:
    for name in ("pocket-s-distilled-seed42", "pocket-s-direct-seed42"):
        shutil.copytree(RECORDS / name, tmp_path / name)
    found = controls.read("pocket", tmp_path)
    assert found is not None
    assert list(found.by_name()) == [("pocket-s", "distilled"), ("pocket-s", "direct")]
    assert found.gains == {}  # direct traces are compared with both modes, which are not here
    for row, run in zip(controls.table(found).rows, found.runs, strict=True):
        assert row["accuracy"] == run.manifest["correct"] / run.manifest["questions"]

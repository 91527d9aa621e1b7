"""What the published files state, against our verdicts on two questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql import load_dataset
from distill_sql.book.pages import published_sources, replication
from distill_sql.book.pages.replication import Rescored
from distill_sql.book.shown import Table

#: The study's summary of the 7B: the first question is right, and the second was not run.
SUMMARY = {
    "failure_breakdown": {"ok": 1, "execution": 1},
    "by_difficulty": {"easy": {"n": 1.0}, "medium": {"n": 1.0}},
    "exact_match_accuracy": 0.4,
}


def rescored(toy_dataset: Path, folder: Path, *, results: bool) -> Rescored:
    """One model: its first answer is right, its second gives other rows."""
    folder.mkdir()
    lines = [
        {"question_id": 0, "pred_sql": "SELECT count(*) FROM customer",
         "difficulty": "easy", "exec_match": False},
        {"question_id": 1, "pred_sql": "SELECT 1", "difficulty": "medium", "exec_match": False},
    ]  # fmt: skip
    (folder / "distilled_7b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if results:
        (folder / "results.json").write_text(
            json.dumps({"distilled_7b": {"summary": SUMMARY}, "another": {}})
        )
    dataset = load_dataset(toy_dataset)
    files = replication.published_files(dataset, str(folder))
    scored = replication.rescore(dataset, files, neighbours=1)
    assert scored is not None
    return scored


@pytest.fixture
def scored(toy_dataset: Path, tmp_path: Path) -> Rescored:
    return rescored(toy_dataset, tmp_path / "with", results=True)


@pytest.fixture
def without_results(toy_dataset: Path, tmp_path: Path) -> Rescored:
    return rescored(toy_dataset, tmp_path / "without", results=False)


def test_failure_modes_are_set_beside_the_published_ones(scored: Rescored) -> None:
    table, text = published_sources.failure_modes(scored)
    assert isinstance(table, Table)
    assert table.rows == [
        {"model": "7B", "ok": "1 / 1", "wrong-result": "0 / 1", "execution": "1 / 0",
         "parse": "0 / 0", "empty": "0 / 0"}
    ]  # fmt: skip
    assert text == "The largest difference in any cell is **1**."


def test_stated_difficulty_is_crossed_with_the_official_hardness(scored: Rescored) -> None:
    table, text = published_sources.disagreements(scored)
    assert isinstance(table, Table)
    assert isinstance(text, str)
    cells = [list(row.values()) for row in table.rows]
    counts = {difficulty: tuple(of_level) for difficulty, *of_level in cells}
    assert counts == {
        "easy": (1, 0, 0, 0), "medium": (0, 0, 1, 0), "hard": (0,) * 4, "extra": (0,) * 4,
    }  # fmt: skip
    assert "official hardness for 1 of 2 questions" in text
    assert "1 of 2 verdicts differ; 1 of these are wrong in the files" in text
    assert "keyword difficulty (1, 1, not 1, 0, 1, 0)" in text
    assert "differ by at most 10.00%" in text  # published 0.4; ours is 1 of 2


def test_without_the_studys_results_the_rest_is_shown(without_results: Rescored) -> None:
    assert published_sources.failure_modes(without_results) == []
    text = published_sources.disagreements(without_results)[1]
    assert isinstance(text, str)
    assert "**Correctness.**" in text
    assert "**Exact set match**" not in text

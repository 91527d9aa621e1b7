"""What the recorded run of the two kinds of lessons says, on answers that are right by design."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_sql import Dataset, load_dataset
from distill_sql.book.pages import question_kinds
from distill_sql.book.pages.question_kinds import Group
from distill_sql.book.shown import Table
from distill_sql.runs.worth import KINDS
from distill_sql.scoring import Prediction, score

BENCHMARK, DRAWN = KINDS
RIGHT, FURTHER, WRONG = "SELECT name FROM customer", "SELECT name, id FROM customer", "SELECT 1"
MANIFEST = {
    "date": "2026-11-27T10:00:00+00:00",
    "git": {"commit": "0123456789abcdef"},
    "hardware": {"cpu": "Z80", "cores": 1},
}


@pytest.fixture
def shops(toy_dataset: Path, tmp_path: Path) -> Dataset:
    """Four questions with one gold query, two on each of two equal databases."""
    root = tmp_path / "shops"
    source = toy_dataset / "database" / "shop" / "shop.sqlite"
    for name in ("shop", "store"):
        (root / "database" / name).mkdir(parents=True)
        shutil.copy(source, root / "database" / name / f"{name}.sqlite")
    lines = [{"db_id": d, "question": "?", "query": RIGHT} for d in ("shop", "store") * 2]
    (root / "dev.json").write_text(json.dumps(lines))
    return load_dataset(root)


def group(base: str, trained: bool, dataset: Dataset, *runs: Sequence[str]) -> Group:
    reports = tuple(
        score(
            [Prediction(e.question_id, e.db_id, sql) for e, sql in zip(dataset, run, strict=True)],
            dataset,
        )
        for run in runs
    )
    return Group(base, trained, reports, dataset)


def test_a_row_has_the_mean_of_its_seeds_and_further_columns_forgiven(shops: Dataset) -> None:
    trained = group(
        DRAWN, True, shops, (RIGHT, RIGHT, FURTHER, WRONG), (RIGHT, WRONG, FURTHER, WRONG)
    )
    row = trained.row(2_500_000)
    assert row["lessons"] == KINDS[DRAWN]
    assert (row["tokens"], row["seeds"]) == (2.5, 2)
    assert row["accuracy"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert row["range"] == "25.0% to 50.0%"
    assert row["forgiven"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert group(DRAWN, False, shops, (RIGHT,) * 4).row(0)["range"] == ""


def test_gains_are_differences_of_means(shops: Dataset) -> None:
    groups = {
        (BENCHMARK, False): group(BENCHMARK, False, shops, (FURTHER, FURTHER, WRONG, WRONG)),
        (DRAWN, False): group(DRAWN, False, shops, (WRONG,) * 4),
        (BENCHMARK, True): group(BENCHMARK, True, shops, (RIGHT,) * 4, (RIGHT,) * 4),
        (DRAWN, True): group(DRAWN, True, shops, (RIGHT,) * 4, (RIGHT, RIGHT, RIGHT, WRONG)),
    }
    text = question_kinds.gains(groups)
    assert "are worth **+12.5 points**" in text  # 1 less the mean of 1 and 0.75
    benchmark, drawn = text.partition("the traces add")[2].split(" and ", 1)
    assert benchmark.strip().startswith("+50.0 points")
    assert benchmark.endswith(KINDS[BENCHMARK])
    assert drawn.startswith("+87.5 points")


def test_gains_that_may_be_zero_are_called_so(shops: Dataset) -> None:
    alike = {
        (base, trained): group(base, trained, shops, (RIGHT, WRONG, WRONG, RIGHT))
        for base in KINDS
        for trained in (False, True)
    }
    assert "do not show that traces teach either base more" in question_kinds.gains(alike)


def test_a_recorded_run_is_read_and_told(
    shops: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert question_kinds.question_kinds(tmp_path, shops) == [question_kinds.NOT_RECORDED]
    record = tmp_path / "record"
    for base in KINDS:
        for run in ("base", "seed42", "seed43"):
            (record / base / run).mkdir(parents=True)
            answers = [{"question_id": e.question_id, "pred_sql": RIGHT} for e in shops]
            (record / base / run / "predictions.json").write_text(json.dumps(answers))
            about = MANIFEST | {
                "questions": len(shops), "dataset": shops.description(),
            }  # fmt: skip
            (record / base / run / "manifest.json").write_text(json.dumps(about))
        (record / base / "pretraining.json").write_text('{"tokens": 9000000}')
    table, text = question_kinds.question_kinds(record, shops)
    assert isinstance(table, Table)
    assert [(row["model"], row["seeds"], row["tokens"]) for row in table.rows] == [
        ("base", 1, 9), ("base", 1, 9), ("trained on the traces", 2, 9),
        ("trained on the traces", 2, 9),
    ]  # fmt: skip
    assert isinstance(text, str)
    assert "**+0.0 points**" in text
    assert "2026-11-27, commit 0123456789ab, on Z80, 1 cores" in text

"""All verdicts on four files of 1,034 predictions equal those of the official evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.scoring import Rules, ScoreReport, read_predictions, score

NAMES = ["base_qwen_0p5b", "distilled_primary", "distilled_7b", "gpt_4o_mini_reference"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def official(data_dir: Path, name: str) -> list[dict[str, Any]]:
    lines = (data_dir / "official_verdicts" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def judged(dataset: Dataset, data_dir: Path, name: str, rules: Rules) -> ScoreReport:
    path = data_dir / "published_predictions" / f"{name}.jsonl"
    return score(read_predictions(path, dataset), dataset, rules)


def assert_equal(
    report: ScoreReport, official: list[dict[str, Any]], ours: str, theirs: str
) -> None:
    different = [
        (verdict.question_id, getattr(verdict, ours), found[theirs])
        for verdict, found in zip(report.verdicts, official, strict=True)
        if found[theirs] is not None and getattr(verdict, ours) != found[theirs]
    ]
    assert different == []


def test_execution_accuracy_exact_set_match_and_hardness(
    spider_dev: Dataset, data_dir: Path, name: str, official: list[dict[str, Any]]
) -> None:
    report = judged(spider_dev, data_dir, name, Rules())
    for metric in ("exec", "exact", "hardness"):
        assert_equal(report, official, metric, metric)
    assert report.accuracy(metric="exact").n == 1034


def test_with_distinct_kept(
    spider_dev: Dataset, data_dir: Path, name: str, official: list[dict[str, Any]]
) -> None:
    report = judged(spider_dev, data_dir, name, Rules(etype="exec", keep_distinct=True))
    assert_equal(report, official, "exec", "exec_keep_distinct")


@pytest.mark.slow
def test_with_gold_values_plugged_in(
    spider_dev: Dataset, data_dir: Path, name: str, official: list[dict[str, Any]]
) -> None:
    report = judged(spider_dev, data_dir, name, Rules(etype="exec", plug_value=True))
    assert_equal(report, official, "exec", "exec_plug_value")
    assert sum(found["exec_plug_value"] is None for found in official) <= 1

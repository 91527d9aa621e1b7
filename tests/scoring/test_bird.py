from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError, GoldQueryError
from distill_sql.scoring import Prediction
from distill_sql.scoring.bird import reward, score_bird, soft_f1
from distill_sql.scoring.mutants import mutants
from distill_sql.sql.sandbox import Row


@pytest.mark.parametrize(
    ("gold", "pred", "expected"),
    [
        ([], [], 1.0),
        ([(1,)], [], 0.0),
        ([], [(1,)], 0.0),
        ([(1, "a")], [("a", 1)], 1.0),  # columns may be in any order within a row
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], 0.0),  # rows may not
        ([(1,), (1,), (2,)], [(1,), (2,)], 1.0),  # duplicates do not count
        # 2 of 3 cells found, and one extra cell: P = R = 2/3
        ([(1, 2, 3)], [(1, 2, 4)], 2 / 3),
        # the first row right, one row missing: P = 1, R = 1/2
        ([(1,), (2,)], [(1,)], 2 / 3),
        # an extra column: 1 cell found, 1 extra cell: P = 1/2, R = 1
        ([(1,)], [(1, 9)], 2 / 3),
    ],
)
def test_soft_f1_by_hand(gold: Sequence[Row], pred: Sequence[Row], expected: float) -> None:
    assert soft_f1(gold, pred) == pytest.approx(expected)


def test_rewards_have_the_published_steps() -> None:
    ratios = [0, 0.2, 0.25, 0.49, 0.5, 0.99, 1, 1.99, 2, 100]
    assert [reward(r) for r in ratios] == [0, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1.25, 1.25]


@pytest.fixture(scope="module")
def superhero(data_dir: Path) -> Dataset:
    return load_dataset("bird", path=data_dir / "bird").only("superhero")


def test_gold_on_superhero(superhero: Dataset) -> None:
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in superhero]
    report = score_bird(gold, superhero, iterations=3)
    assert len(report.verdicts) == 129
    assert (report.ex, report.soft_f1) == (100, 100)
    assert report.r_ves is not None
    assert 70 < report.r_ves < 112


def test_broken_gold_on_superhero(superhero: Dataset) -> None:
    """Mistakes lower every metric, and soft F1 gives partial credit."""
    broken = [
        Prediction(e.question_id, e.db_id, next((m.sql for m in mutants(e.query)), ""))
        for e in superhero
    ]
    report = score_bird(broken, superhero, iterations=0)
    assert report.ex < 30
    assert report.ex < report.soft_f1 < 80
    assert report.r_ves is None


def test_a_slow_query_earns_less(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset).limit(1)
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "SELECT 3 FROM n WHERE i = 7"
    )
    report = score_bird([Prediction(0, "shop", slow)], shop, iterations=5)
    assert report.verdicts[0].exec
    assert report.verdicts[0].reward == 0.25
    assert score_bird([Prediction(0, "shop", "")], shop).verdicts[0].reward == 0


def test_the_command_scores_one_database(
    superhero: Dataset, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gold.sql"
    file.write_text("".join(" ".join(e.query.split()) + "\n" for e in superhero))
    command = ["score", str(file), "--dataset", "bird", "--path", str(data_dir / "bird")]
    assert main([*command, "--database", "superhero", "--etype", "exec", "--strict"]) == 0
    assert "100.0" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="Did you mean 'superhero'"):
        superhero.only("superhere")


def test_wide_rows_are_compared_quickly() -> None:
    gold = [tuple(range(2000))] * 10 + [tuple(range(n, n + 2000)) for n in range(50)]
    start = time.process_time()
    assert soft_f1(gold, [row[::-1] for row in gold]) == 1.0
    assert time.process_time() - start < 2


def test_failing_gold_queries_can_be_skipped(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)
    broken = replace(shop.examples[1], query="SELECT nowhere FROM customer")
    dataset = shop.with_examples([shop.examples[0], broken])
    answers = [Prediction(e.question_id, e.db_id, shop.examples[0].query) for e in dataset]
    with pytest.raises(GoldQueryError, match=r"question 1 .*--skip-failing-gold"):
        score_bird(answers, dataset, iterations=0)
    report = score_bird(answers, dataset, iterations=0, skip_failing_gold=True)
    assert [verdict.question_id for verdict in report.verdicts] == [0]
    assert report.ex == 100
    none = score_bird(
        answers[1:], dataset.with_examples([broken]), iterations=0, skip_failing_gold=True
    )
    assert math.isnan(none.ex)
    assert none.r_ves is None

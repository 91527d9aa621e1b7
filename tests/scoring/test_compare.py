from __future__ import annotations

import math
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset, load_dataset
from distill_sql.errors import PredictionError
from distill_sql.scoring import Prediction, score
from distill_sql.scoring.compare import Comparison, compare


def test_a_difference_by_hand() -> None:
    found = Comparison(100, 40, 55, only_a=5, only_b=20)
    assert found.difference == pytest.approx(0.15)
    # two-sided binomial: 2 * sum(C(25, k) for k <= 5) / 2**25
    assert found.p_value == pytest.approx(2 * sum(math.comb(25, k) for k in range(6)) / 2**25)
    low, high = found.interval
    # the normal approximation: sqrt(n01 + n10 - (n01 - n10)**2 / n) / n
    spread = 1.96 * math.sqrt(25 - 15**2 / 100) / 100
    assert low == pytest.approx(0.15 - spread, abs=0.011)
    assert high == pytest.approx(0.15 + spread, abs=0.011)
    assert "only A right 5, only B right 20" in str(found)


def test_no_difference_is_no_evidence() -> None:
    assert Comparison(10, 5, 5, 0, 0).p_value == 1
    assert Comparison(10, 5, 5, 0, 0).interval == (0, 0)
    assert Comparison(10, 5, 5, 2, 2).p_value == 1
    assert math.isnan(Comparison(0, 0, 0, 0, 0).difference)


def test_reports_are_paired_by_question(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)

    def report(dataset: Dataset, *queries: str) -> object:
        pairs = zip(dataset, queries, strict=True)
        return score([Prediction(e.question_id, e.db_id, sql) for e, sql in pairs], dataset)

    a = report(shop, "SELECT 3", "SELECT 1")
    b = report(shop, "SELECT 4", shop.examples[1].query)
    assert compare(a, b) == Comparison(2, 1, 1, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(PredictionError, match="2 and 1 verdicts"):
        compare(a, report(shop.limit(1), "SELECT 3"))  # type: ignore[arg-type]

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset
from distill_sql.scoring import Prediction, score
from distill_sql.scoring.execution import order_matters, prepare, prepare_prediction, rows_equal

Rows = Sequence[tuple[object, ...]]


@pytest.mark.parametrize(
    ("gold", "pred", "ordered", "equal"),
    [
        ([], [], False, True),
        ([(1,)], [], False, False),
        ([(1,), (2,)], [(2,), (1,)], False, True),
        ([(1,), (2,)], [(2,), (1,)], True, False),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, False),  # a multiset, not a set
        ([(1, "a")], [("a", 1)], False, True),
        ([(1, "a"), (2, "b")], [("a", 2), ("b", 1)], False, False),
        ([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], True, True),
        ([(1,)], [(1, 2)], False, False),
        ([(1,)], [(1.0,)], False, True),
        ([(1,)], [("1",)], False, False),
        ([(None,)], [(None,)], False, True),
        # columns with the same values: only the whole rows tell the orders apart
        ([(1, 2), (2, 1), (3, 3)], [(2, 1), (1, 2), (3, 3)], False, True),
        ([(1, 2, 3), (2, 3, 1)], [(2, 1, 3), (3, 2, 1)], False, True),
        ([(1, 2, 3), (2, 3, 1)], [(2, 1, 3), (3, 1, 2)], False, False),
    ],
)
def test_rows(gold: Rows, pred: Rows, ordered: bool, equal: bool) -> None:
    assert rows_equal(gold, pred, ordered=ordered) is equal


def test_wide_results_are_compared_quickly() -> None:
    gold = [tuple(range(12)) for _ in range(3)]
    assert rows_equal(gold, [row[::-1] for row in gold], ordered=False)
    same = [(0,) * 12] * 2
    assert rows_equal(same, list(same), ordered=False)


@pytest.mark.parametrize(
    ("sql", "prepared"),
    [
        ("SELECT a FROM t WHERE b > = 1 AND c ! = 2", "SELECT a FROM t WHERE b >= 1 AND c != 2"),
        ("SELECT DISTINCT a", "SELECT  a"),
        ("SELECT count(distinct a)", "SELECT count( a)"),
        ("SELECT 'a distinct b', \"distinct\", distinctly",
         "SELECT 'a distinct b', \"distinct\", distinctly"),
        ("SELECT 'it''s distinct' -- distinct", "SELECT 'it''s distinct' -- distinct"),
        ("SELECT year(curdate()) - age", "SELECT 2020- age"),
    ],
)  # fmt: skip
def test_preparing(sql: str, prepared: str) -> None:
    assert prepare(sql) == prepared


def test_distinct_can_be_kept() -> None:
    assert prepare("SELECT DISTINCT a", keep_distinct=True) == "SELECT DISTINCT a"


def test_the_evaluators_habits_with_predictions() -> None:
    assert prepare_prediction("SELECT 1\tconcert_singer") == "SELECT 1"
    assert prepare_prediction("") == prepare_prediction(" \n") == "SELECT 1"
    assert prepare_prediction("SELECT value, values_x") == "SELECT 1, 1s_x"
    strict = prepare_prediction("SELECT DISTINCT value", strict=True)
    assert strict == "SELECT DISTINCT value"


def test_order_is_looked_for_in_the_text() -> None:
    assert order_matters("SELECT a FROM t ORDER BY b")
    assert order_matters("SELECT a FROM (SELECT a FROM t order by b)")
    assert not order_matters("SELECT a FROM t ORDER  BY b")


@pytest.mark.parametrize(
    "name",
    ["base_qwen_0p5b", "distilled_primary", "distilled_7b", "gpt_4o_mini_reference"],
)
@pytest.mark.parametrize("keep_distinct", [False, True])
def test_every_verdict_is_the_official_one(
    spider_dev: Dataset, data_dir: Path, name: str, keep_distinct: bool
) -> None:
    predictions = [
        json.loads(line)
        for line in (data_dir / "published_predictions" / f"{name}.jsonl").read_text().splitlines()
    ]
    official = [
        json.loads(line)
        for line in (data_dir / "official_verdicts" / f"{name}.jsonl").read_text().splitlines()
    ]
    report = score(
        [Prediction(p["question_id"], p["db_id"], p["pred_sql"] or "") for p in predictions],
        spider_dev,
        keep_distinct=keep_distinct,
    )
    key = "exec_keep_distinct" if keep_distinct else "exec"
    assert [int(v.exec) for v in report.verdicts] == [verdict[key] for verdict in official]

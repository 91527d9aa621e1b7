from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.datasets import load_dataset
from distill_sql.scoring import Prediction, columns, score
from distill_sql.scoring.columns import MOST, but_for_columns, with_columns


def test_every_choice_of_columns_is_made_once_in_their_order() -> None:
    assert list(with_columns("SELECT a, max(b), c FROM t WHERE d > 1 ORDER BY c LIMIT 1", 2)) == [
        "SELECT a, MAX(b) FROM t WHERE d > 1 ORDER BY c LIMIT 1",
        "SELECT a, c FROM t WHERE d > 1 ORDER BY c LIMIT 1",
        "SELECT MAX(b), c FROM t WHERE d > 1 ORDER BY c LIMIT 1",
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "SELECT a, b FROM t UNION SELECT a, b FROM s",
        "SELEC a, b",
        "DELETE FROM t",
        "",
        "SELECT " + ", ".join(f"c{n}" for n in range(MOST + 1)) + " FROM t",
    ],
)
def test_a_query_without_such_a_choice_has_none(sql: str) -> None:
    assert not list(with_columns(sql, 1))


def test_an_answer_that_shows_more_is_told_from_a_wrong_one(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)
    first = shop.examples[0]
    more = first.query.replace("SELECT ", "SELECT 7, ", 1)

    def found(*queries: str) -> list[int]:
        predictions = [
            Prediction(example.question_id, example.db_id, sql)
            for example, sql in zip(shop, queries, strict=True)
        ]
        return but_for_columns(score(predictions, shop), shop)

    assert found(more, "SELECT 1, 2") == [first.question_id]
    assert found(first.query, "SELECT nothing, here") == []


def test_the_choices_of_one_answer_share_a_deadline(
    toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 70 ways to leave 4 of 8 columns out, and each may run until it is stopped."""
    shop = load_dataset(toy_dataset)
    gold = "SELECT 1, 2, 3, 4 FROM customer"
    dataset = shop.with_examples([replace(shop.examples[0], query=gold)])
    slow = (
        "SELECT 1, 2, 3, 4, 5, 6, 7, 8 WHERE (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        "SELECT i + 1 FROM n) SELECT max(i) FROM n)"
    )
    report = score([Prediction(0, "shop", "SELECT 1")], dataset)
    verdict = replace(report.verdicts[0], pred_sql=slow)
    monkeypatch.setattr(columns, "DEADLINE", 0.5)
    start = time.monotonic()
    assert but_for_columns(replace(report, verdicts=(verdict,)), dataset) == []
    assert time.monotonic() - start < 5

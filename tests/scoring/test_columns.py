from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.datasets import load_dataset
from distill_sql.scoring import Prediction, score
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

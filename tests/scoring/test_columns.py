from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.scoring import Prediction, Rules, columns, score
from distill_sql.scoring.columns import MOST_COLUMNS, but_for_columns, forgiven, with_columns
from distill_sql.scoring.comparison import compare


def test_every_selection_of_columns_is_made_once_in_order() -> None:
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
        "SELECT " + ", ".join(f"c{n}" for n in range(MOST_COLUMNS + 1)) + " FROM t",
    ],
)
def test_a_query_without_a_selection_yields_nothing(sql: str) -> None:
    assert not list(with_columns(sql, 1))


def test_an_answer_with_extra_columns_is_distinguished_from_a_wrong_one(toy_dataset: Path) -> None:
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


def test_the_selections_of_one_answer_share_a_deadline(
    toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 70 selections of 4 of 8 columns, and each may run until its timeout."""
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


def test_a_forgiving_report_counts_answers_with_extra_columns_as_right(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)
    answers = [e.query.replace("SELECT ", "SELECT 7, ", 1) for e in shop]
    answers[1] = "SELECT nothing"
    report = score(
        [Prediction(e.question_id, e.db_id, sql) for e, sql in zip(shop, answers, strict=True)],
        shop,
    )
    kinder = forgiven(report, shop)
    assert [verdict.exec for verdict in report.verdicts] == [False, False]
    assert [verdict.exec for verdict in kinder.verdicts] == [True, False]
    assert [verdict.exact for verdict in kinder.verdicts] == [v.exact for v in report.verdicts]
    assert compare(report, kinder).only_b == 1


def test_extra_columns_are_judged_by_the_reports_rules(toy_dataset: Path) -> None:
    """The lenient rules drop DISTINCT; the strict ones keep it, also with fewer columns."""
    shop = load_dataset(toy_dataset)
    gold = 'SELECT "home town" FROM customer'
    dataset = shop.with_examples([replace(shop.examples[0], query=gold)])
    answers = [Prediction(0, "shop", 'SELECT DISTINCT "home town", 7 FROM customer')]
    found = {
        strict: but_for_columns(score(answers, dataset, Rules(strict=strict)), dataset)
        for strict in (False, True)
    }
    assert found == {False: [0], True: []}


def test_columns_that_match_by_chance_are_found_with_neighbours(
    toy_dataset: Path, tmp_path: Path
) -> None:
    """The second column is the number of customers, three, on only one of the databases."""
    shop = load_dataset(toy_dataset)
    dataset = shop.limit(1)
    variant = tmp_path / "variant.sqlite"
    shutil.copy(dataset.database_path("shop"), variant)
    with closing(sqlite3.connect(variant)) as connection:
        connection.execute("DELETE FROM order_item")
        connection.execute("DELETE FROM orders")
        connection.execute("DELETE FROM customer WHERE id > 1")
        connection.commit()
    report = score([Prediction(0, "shop", "SELECT 7, 3")], dataset)
    assert but_for_columns(report, dataset) == [0]
    assert but_for_columns(report, dataset, neighbours={"shop": [variant]}) == []

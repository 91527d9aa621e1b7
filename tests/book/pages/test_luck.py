"""Broken queries that pass by luck, and right answers on empty results, counted by hand."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql import Dataset, load_dataset
from distill_sql.book.pages import luck
from distill_sql.book.pages.failure_answers import FLOOR, Scores
from distill_sql.book.pages.failure_rule import Broken
from distill_sql.book.pages.luck import Passing
from tests.book.pages.test_failures import RIGHT, WRONG, rows_of, scores_of


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    """One question: the names of customers with an id above 0, which is every customer."""
    dataset = load_dataset(toy_dataset)
    gold = "SELECT name FROM customer WHERE id > 0"
    return dataset.with_examples([replace(dataset.examples[0], query=gold)])


@pytest.fixture
def scores(shop: Dataset, tmp_path: Path) -> Scores:
    """Two neighbours: the first has the same rows, the second a customer with the id -1."""
    paths = [tmp_path / "shop_0.sqlite", tmp_path / "shop_1.sqlite"]
    for path in paths:
        shutil.copyfile(shop.database_path("shop"), path)
    with closing(sqlite3.connect(paths[1])) as connection:
        connection.execute("INSERT INTO customer VALUES (-1, 'Eve', 'Hull')")
        connection.commit()
    return replace(scores_of(shop), variants={"shop": paths}, neighbours=2)


def broken(shop: Dataset) -> list[Broken]:
    """Three broken queries: one that is wrong here, one on the second neighbour, one never."""
    (example,) = shop
    return [
        Broken(example, "other comparison", "SELECT name FROM customer WHERE id < 0"),
        Broken(example, "drop a condition", "SELECT name FROM customer"),
        Broken(example, "other value", "SELECT name FROM customer WHERE id > -0.5"),
    ]


def test_each_neighbour_can_only_take_queries_away(shop: Dataset, scores: Scores) -> None:
    found = luck.passing(broken(shop), scores, deadline=10)
    assert found.counts == (2, 2, 1)
    assert [each.kind for each in found.left] == ["other value"]
    assert found.shares == (2 / 3, 1 / 3)
    assert found.unmade == ()


def test_the_text_and_the_chart_have_the_counts(shop: Dataset) -> None:
    left = tuple(broken(shop)[2:])
    unmade, text, figure = luck.by_neighbours(Passing(3, (2, 2, 1), left, ()))
    assert unmade == ""
    assert isinstance(text, str)
    assert text.startswith("**2** of 3 broken queries (66.7%) give the gold rows")
    assert "2 neighbours of each database detect **1** of them (50%)." in text
    assert "among the 1 that still pass: *other value* (1)." in text
    assert [row["passing"] for row in rows_of(figure)] == [2, 2, 1]


def test_nothing_passes_or_nothing_is_broken(shop: Dataset, scores: Scores) -> None:
    found = luck.passing(broken(shop)[:1], scores, deadline=10)
    assert found.counts == (0, 0, 0)
    _, text, _ = luck.by_neighbours(found)
    assert text == "**0** of 1 broken queries (0.0%) give the gold rows on the original databases."
    none = luck.passing([], scores, deadline=10)
    assert none.counts == ()
    assert (
        luck.by_neighbours(none)[-1] == "There are no broken queries here, so this part is empty."
    )


def test_a_database_without_neighbours_is_named(scores: Scores) -> None:
    unmade = replace(scores, variants={"shop": ()})
    first, _ = luck.by_neighbours(luck.passing([], unmade, deadline=10))
    assert first == "**No neighbours could be made** of shop."
    assert luck.passing([], replace(unmade, neighbours=0), deadline=10).unmade == ()


def test_questions_that_none_or_all_answer_and_empty_gold_results(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)
    empty = replace(RIGHT, gold_is_empty=True)
    systems = {FLOOR: [RIGHT, RIGHT, RIGHT], "a": [RIGHT, WRONG, empty], "b": [RIGHT, WRONG, WRONG]}
    text = luck.shared_answers(scores_of(shop, **systems))
    assert text == (
        "Of 3 questions, **1** are answered correctly by none of 2 systems (the floor not "
        "counted), and **1** by all. Of the 3 correct answers, **1** are to questions whose gold "
        "query returns no rows. There any query that returns nothing counts as correct."
    )
    alone = luck.shared_answers(scores_of(shop, **{FLOOR: [RIGHT]}))
    assert alone.startswith(
        "Every answer is right. Of 1 questions, **0** are answered correctly by "
    )
    assert "not counted" not in alone
    assert luck.shared_answers(scores_of(shop)) == ""

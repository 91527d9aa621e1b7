from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.book import survey
from distill_sql.data.datasets import Dataset, Example, load_dataset


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def test_overview_and_databases(shop: Dataset) -> None:
    (record,) = survey.overview([shop])
    assert (record["questions"], record["databases"]) == (2, 1)
    assert (record["tables per database"], record["columns per database"]) == (3, 11)
    assert record["words per question"] == 5
    (database,) = survey.databases(shop)
    assert (database["tables"], database["rows"], database["foreign keys"]) == (3, 8, 2)
    assert database["empty tables"] == ""


def test_levels_add_up(shop: Dataset) -> None:
    shares = {r["hardness"]: r["share"] for r in survey.levels([shop])}
    assert shares == {"easy": 0.5, "medium": 0, "hard": 0.5, "extra": 0}


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT a FROM t", {"one table"}),
        ("SELECT count(*) FROM t JOIN u ON x = y WHERE a OR b", {"two tables", "aggregate",
                                                                 "WHERE", "OR"}),
        ("SELECT DISTINCT a FROM t WHERE b LIKE 'x' AND c BETWEEN 1 AND 2 AND d IS NULL",
         {"one table", "DISTINCT", "WHERE", "LIKE", "BETWEEN", "IS NULL"}),
        ("SELECT a FROM t GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3",
         {"one table", "GROUP BY", "HAVING", "aggregate", "ORDER BY", "LIMIT"}),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", {"two tables", "WHERE", "subquery"}),
        ("SELECT a FROM t UNION SELECT a FROM u", {"two tables", "set operation"}),
        ("SELECT a FROM t, u, v", {"three tables or more"}),
    ],
)  # fmt: skip
def test_constructs(shop: Dataset, sql: str, found: set[str]) -> None:
    from dataclasses import replace

    dataset = replace(shop, examples=(Example(0, "shop", "?", sql),))
    shares = {r["construct"]: r["share"] for r in survey.constructs([dataset])}
    assert {name for name, share in shares.items() if share} == found


def test_answers_have_the_outcome_and_the_rows_of_each_gold_query(shop: Dataset) -> None:
    first, second = survey.answers(shop)
    assert (first["outcome"], first["rows"]) == ("ok", 1)
    assert (second["outcome"], second["rows"]) == ("ok", 1)


def test_one_example_per_level(shop: Dataset, spider_dev: Dataset) -> None:
    assert [example.question_id for example in survey.one_per_level(shop)] == [0, 1]
    assert len(survey.one_per_level(spider_dev)) == 4


def test_gold_queries_that_cannot_be_parsed_are_counted(shop: Dataset) -> None:
    queries = ["SELECT CAST(id AS UNSIGNED BIG INT) FROM customer", "SELECT id FROM customer;;",
               "SELECT YEAR(CURDATE()) - id FROM customer WHERE id > = 2"]  # fmt: skip
    dataset = shop.with_examples(
        Example(number, "shop", "?", query) for number, query in enumerate(queries)
    )
    levels = {r["hardness"]: r["questions"] for r in survey.levels([dataset])}
    assert levels == {"easy": 2, "medium": 0, "hard": 0, "extra": 0, survey.UNPARSED: 1}
    shares = {r["construct"]: r["share"] for r in survey.constructs([dataset])}
    assert shares["one table"] == pytest.approx(2 / 3)
    assert [e.question_id for e in survey.one_per_level(dataset)] == [2]
    assert [(r["outcome"], r["rows"]) for r in survey.answers(dataset)] == [
        ("ok", 3), ("ok", 3), ("ok", 2),
    ]  # fmt: skip


def test_missing_databases_are_named(spider_dir: Path, shop: Dataset) -> None:
    assert survey.left_out(shop) == ""
    train = load_dataset("spider", split="train", path=spider_dir)
    asked = sum(e.db_id in ("baseball_1", "soccer_1") for e in train)
    assert survey.left_out(shop, train) == (
        "2 of the 146 databases of spider's train split are not in this copy (`soccer_1`, "
        f"`baseball_1`), so {asked} of its 8,659 questions are left out of this page."
    )


def test_questions_are_counted_by_source(shop: Dataset) -> None:
    first, second = survey.by_source(shop, {0: "handwritten", 1: "generated"})
    assert (first["source"], first["questions"], first["words per query"]) == ("generated", 1, 26)
    assert (second["source"], second["questions"], second["words per query"]) == (
        "handwritten", 1, 4,
    )  # fmt: skip

from __future__ import annotations

import time

import pytest

from distill_sql.datasets import Dataset
from distill_sql.failures import CAUSES, facets, primary_cause

GOLD = (
    "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.id = T2.singer_id "
    "WHERE T2.year > 2014 ORDER BY T1.age DESC LIMIT 1"
)


@pytest.mark.parametrize(
    ("pred", "gold", "cause"),
    [
        ("SELEC name", GOLD, "unparsable"),
        ("", GOLD, "unparsable"),
        ("DELETE FROM singer", GOLD, "unparsable"),
        ("SELECT name FROM a UNION SELECT name FROM b", "SELECT name FROM a", "set operation"),
        ("SELECT a FROM t INTERSECT SELECT a FROM t WHERE b",
         "SELECT a FROM t EXCEPT SELECT a FROM t WHERE b", "set operation"),
        ("SELECT name FROM singer", GOLD, "missing join"),
        (GOLD, "SELECT name FROM singer WHERE year > 2014", "spurious join"),
        ("SELECT name FROM band", "SELECT name FROM singer", "wrong table"),
        ("SELECT a FROM t WHERE b > 1", "SELECT a FROM t WHERE b > (SELECT avg(b) FROM t)",
         "nesting"),
        ("SELECT max(a) FROM t", "SELECT min(a) FROM t", "aggregate"),
        ("SELECT a, count(*) FROM t GROUP BY b", "SELECT a, count(*) FROM t GROUP BY a",
         "grouping"),
        ("SELECT a FROM t GROUP BY a HAVING count(*) > 1",
         "SELECT a FROM t GROUP BY a HAVING count(*) > 2", "grouping"),
        ("SELECT a FROM t WHERE b < 3", "SELECT a FROM t WHERE b > 3", "filter"),
        ("SELECT a FROM t WHERE c = 3", "SELECT a FROM t WHERE b = 3", "filter"),
        ("SELECT a FROM t", "SELECT a FROM t WHERE b = 3", "filter"),
        ("SELECT a FROM t WHERE b = 1 OR c = 2", "SELECT a FROM t WHERE b = 1 AND c = 2", "filter"),
        ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'y'", "value"),
        ("SELECT a FROM t ORDER BY b", "SELECT a FROM t ORDER BY b DESC", "ordering"),
        ("SELECT a FROM t ORDER BY b LIMIT 2", "SELECT a FROM t ORDER BY b LIMIT 3", "ordering"),
        ("SELECT b FROM t", "SELECT a FROM t", "wrong column"),
        ("SELECT DISTINCT a FROM t", "SELECT a FROM t", "distinct"),
        ("SELECT count(DISTINCT a) FROM t", "SELECT count(a) FROM t", "distinct"),
        ("SELECT a + b FROM t", "SELECT a - b FROM t", "other"),
    ],
)  # fmt: skip
def test_one_case_per_cause(pred: str, gold: str, cause: str) -> None:
    assert cause in CAUSES
    assert primary_cause(pred, gold) == cause


def test_case_aliases_and_quotes_make_no_difference() -> None:
    other = (
        'select s."NAME" from SINGER s join Concert c on s.ID = c.Singer_Id '
        "where c.Year > 2014 order by s.Age desc limit 1"
    )
    assert facets(other) == facets(GOLD)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("no such column: T1.nam", "wrong column"),
        ("ambiguous column name: id", "wrong column"),
        ("no such table: singers", "wrong table"),
    ],
)
def test_the_databases_own_word_settles_it(error: str, cause: str) -> None:
    assert primary_cause("SELECT nam FROM singers", GOLD, error=error) == cause


def test_every_gold_query_of_spider_dev_is_taken_apart(spider_dev: Dataset) -> None:
    parts = [facets(example.query) for example in spider_dev]
    assert None not in parts
    assert all(part.tables for part in parts if part)


def test_a_gold_query_that_does_not_parse_leaves_other() -> None:
    assert primary_cause("SELECT a FROM t", "SELECT a FROM t WHERE if > 2") == "other"
    assert primary_cause("SELEC", "SELECT a FROM t WHERE if > 2") == "unparsable"


def test_what_follows_the_first_statement_is_not_compared() -> None:
    assert (
        facets("SELECT a FROM t; -- note")
        == facets("SELECT a FROM t;;")
        == facets("SELECT a FROM t")
    )


@pytest.mark.parametrize("text", ["1 AND ", "1 OR ", "1+", "a.", "b IS NOT NULL AND "])
def test_a_long_text_is_compared_quickly_or_not_at_all(text: str) -> None:
    start = time.process_time()
    for length in (5_000, 90_000):
        pred = "SELECT a FROM t WHERE " + text * (length // len(text)) + "1"
        assert primary_cause(pred, "SELECT a FROM t") in ("unparsable", "filter", "value")
    assert time.process_time() - start < 2

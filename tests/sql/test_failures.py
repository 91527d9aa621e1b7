from __future__ import annotations

import time

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.sql.failures import CAUSES, STEPS, deciding_step, facets, primary_cause

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
    ("pred", "error", "cause"),
    [
        (GOLD.replace("name", "nam", 1), "no such column: T1.nam", "wrong column"),
        (GOLD.replace("T1.name", "id", 1), "ambiguous column name: id", "wrong column"),
        (GOLD.replace("singer AS", "singers AS"), "no such table: singers", "wrong table"),
        # The column exists, in a table that the query does not read: tables come first.
        ("SELECT name FROM singer WHERE year > 2014", "no such column: year", "missing join"),
        ("SELECT name FROM band", "no such column: name", "wrong table"),
        # The column comes before the aggregate, which differs too.
        (GOLD.replace("T1.name", "count(T1.nam)"), "no such column: T1.nam", "wrong column"),
    ],
)
def test_an_unknown_column_is_asked_about_after_the_tables(
    pred: str, error: str, cause: str
) -> None:
    assert primary_cause(pred, GOLD, error=error) == cause


def test_each_step_decides_where_it_is_the_first_difference() -> None:
    pairs = {
        "Does it select all aggregate functions of the gold query, each as often?": (
            "SELECT name FROM t", "SELECT count(*) FROM t"),
        "Does it select no further aggregate functions?": (
            "SELECT name, count(*) FROM t", "SELECT name FROM t"),
        "Does it read all tables of the gold query, or others in their place?": (
            "SELECT a FROM t", "SELECT a FROM t JOIN u"),
        "If it reads all of them, does it read no further tables?": (
            "SELECT a FROM t JOIN u", "SELECT a FROM t"),
        "Does it read exactly the gold query's tables?": (
            "SELECT a FROM t JOIN v", "SELECT a FROM t JOIN u"),
        "Does the gold query parse?": ("SELECT a FROM t", "SELECT a FROM t WHERE if > 2"),
        STEPS[-1].question: ("SELECT a + b FROM t", "SELECT a - b FROM t"),
    }  # fmt: skip
    for question, (pred, gold) in pairs.items():
        assert deciding_step(pred, gold).question == question
    assert len({step.question for step in STEPS}) == len(STEPS)
    assert set(CAUSES) == {step.cause for step in STEPS}
    assert CAUSES[-1] == "other"


def test_a_further_aggregate_is_asked_about_late() -> None:
    gold = "SELECT town FROM venue WHERE seats > 710 GROUP BY town"
    shown = "SELECT town, count(*) FROM venue {} GROUP BY town"
    assert primary_cause(shown.format(""), gold) == "filter"
    assert primary_cause(shown.format("WHERE seats > 710"), gold) == "aggregate"


def test_ordering_by_an_alias_equals_ordering_by_its_expression() -> None:
    gold = "SELECT a FROM t GROUP BY a ORDER BY count(*) DESC LIMIT 1"
    assert (
        primary_cause("SELECT a, count(*) AS n FROM t GROUP BY a ORDER BY n DESC LIMIT 1", gold)
        == "aggregate"
    )
    assert facets("SELECT a FROM t ORDER BY b ASC") == facets("SELECT a FROM t ORDER BY b")


@pytest.mark.parametrize(
    "condition", ['b = "Ann"', 'b IN ("Ann")', 'b LIKE "Ann"', 'b BETWEEN "Ann" AND "Bob"']
)
def test_a_string_in_double_quotes_is_a_value(condition: str) -> None:
    gold = f"SELECT a FROM t WHERE {condition}"
    assert facets(gold) == facets(gold.replace('"', "'"))
    assert primary_cause(gold.replace('"Ann"', "'Eve'"), gold) == "value"
    assert primary_cause(gold.replace('"Ann"', "'ann'"), gold) == "value"  # = is case-sensitive


def test_a_column_in_double_quotes_is_a_column() -> None:
    gold = 'SELECT a FROM t WHERE "home town" = 3'
    assert primary_cause('SELECT a FROM t WHERE "home" = 3', gold) == "filter"


def test_every_gold_query_of_spider_dev_has_facets(spider_dev: Dataset) -> None:
    parts = [facets(example.query) for example in spider_dev]
    assert None not in parts
    assert all(part.tables for part in parts if part)


def test_the_cause_is_other_if_the_gold_query_does_not_parse() -> None:
    assert primary_cause("SELECT a FROM t", "SELECT a FROM t WHERE if > 2") == "other"
    assert primary_cause("SELEC", "SELECT a FROM t WHERE if > 2") == "unparsable"


def test_text_after_the_first_statement_is_not_compared() -> None:
    assert (
        facets("SELECT a FROM t; -- note")
        == facets("SELECT a FROM t;;")
        == facets("SELECT a FROM t")
    )


@pytest.mark.parametrize("text", ["1 AND ", "1 OR ", "1+", "a.", "b IS NOT NULL AND "])
def test_a_long_query_is_compared_quickly_or_not_at_all(text: str) -> None:
    start = time.process_time()
    for length in (5_000, 90_000):
        pred = "SELECT a FROM t WHERE " + text * (length // len(text)) + "1"
        assert primary_cause(pred, "SELECT a FROM t") in ("unparsable", "filter", "value")
    assert time.process_time() - start < 2

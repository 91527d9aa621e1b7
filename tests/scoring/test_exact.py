"""The rules of exact set match; test_parity checks that its verdicts are the official ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.schema import Schema
from distill_sql.scoring.exact import (
    COMPONENTS,
    component_scores,
    exact_set_match,
    foreign_key_map,
    partial_match,
)
from distill_sql.scoring.spider_parser import parse_query
from distill_sql.scoring.spider_query import SpiderSqlError
from distill_sql.scoring.spider_tokens import tokenize


@pytest.fixture(scope="module")
def schema(toy_dataset: Path) -> Schema:
    return load_dataset(toy_dataset).schema("shop")


GOLD = "SELECT name FROM customer WHERE id > 1 AND name = 'Ann' ORDER BY name LIMIT 1"
JOIN = (
    "SELECT T1.name FROM customer AS T1 JOIN orders AS T2 ON T1.id = T2.customer_id "
    "WHERE T2.id = 1 GROUP BY T1.id HAVING count(*) > 1"
)


@pytest.mark.parametrize(
    ("gold", "pred", "match"),
    [
        (GOLD, GOLD, True),
        # values are not compared; conditions are compared as a set
        (GOLD, GOLD.replace("id > 1 AND name = 'Ann'", "name = 'Bo' AND id > 7"), True),
        # AND and OR differ; the direction and LIMIT are compared
        (GOLD, GOLD.replace("AND", "OR"), False),
        (GOLD, GOLD.replace("LIMIT", "DESC LIMIT"), False),
        (GOLD, GOLD.replace(" LIMIT 1", ""), False),
        # DISTINCT is not compared; aggregates are
        ("SELECT name FROM customer", "SELECT DISTINCT name FROM customer", True),
        ("SELECT max(id) FROM customer", "SELECT min(id) FROM customer", False),
        ("SELECT id, name FROM customer", "SELECT name, id FROM customer", True),
        # the names of aliases do not matter, linked columns are one, ON is not compared
        (JOIN, JOIN.replace("T1", "a").replace("T2", "b"), True),
        (JOIN, JOIN.replace("GROUP BY T1.id", "GROUP BY T2.customer_id"), True),
        (JOIN, JOIN.replace("ON T1.id = T2.customer_id", "ON T1.id = T2.id"), True),
        (JOIN, JOIN.replace("HAVING count(*) > 1", ""), False),
        # set operations are compared
        ("SELECT id FROM customer UNION SELECT id FROM orders",
         "SELECT id FROM customer UNION SELECT id FROM orders", True),
        ("SELECT id FROM customer UNION SELECT id FROM orders",
         "SELECT id FROM customer EXCEPT SELECT id FROM orders", False),
        # nested queries are compared, without their values
        ("SELECT id FROM orders WHERE customer_id IN (SELECT id FROM customer WHERE name = 'x')",
         "SELECT id FROM orders WHERE customer_id IN (SELECT id FROM customer WHERE name = 'y')",
         True),
        ("SELECT id FROM orders WHERE customer_id IN (SELECT id FROM customer)",
         "SELECT id FROM orders WHERE customer_id NOT IN (SELECT id FROM customer)", False),
        # a prediction that Spider's parser rejects matches nothing
        ("SELECT name FROM customer", "SELECT name AS n FROM customer", False),
        ("SELECT name FROM customer", "SELECT nothing FROM customer", False),
        ("SELECT name FROM customer", "", False),
    ],
)  # fmt: skip
def test_rules(schema: Schema, gold: str, pred: str, match: bool) -> None:
    assert exact_set_match(pred, gold, schema) is match


def test_a_gold_query_outside_the_grammar_has_no_verdict(schema: Schema) -> None:
    with pytest.raises(SpiderSqlError, match="by execution"):
        exact_set_match("SELECT 1", "SELECT CASE WHEN 1 THEN 2 END FROM customer", schema)


def test_component_scores_show_the_wrong_component(schema: Schema) -> None:
    scores = component_scores(GOLD.replace("id > 1", "id < 1"), GOLD, schema)
    assert set(scores) == set(COMPONENTS)
    assert [name for name in COMPONENTS if not scores[name].correct] == ["where"]
    assert (scores["where"].gold_total, scores["where"].pred_total) == (2, 2)


def test_partial_match_counts_only_pairs_that_have_the_component(schema: Schema) -> None:
    plain = "SELECT name FROM customer"
    ordered = f"{plain} ORDER BY name"
    found = partial_match(
        component_scores(pred, gold, schema)
        for pred, gold in [(ordered, ordered), (plain, ordered), (plain, plain)]
    )
    accuracy, recall, f1 = found["order"]
    assert (accuracy, recall) == (1, 0.5)
    assert f1 == pytest.approx(2 / 3)
    assert found["group"] == (0, 0, 1)  # no query has it: as the official report prints it


def test_linked_columns_have_one_representative(schema: Schema) -> None:
    keys = foreign_key_map(schema)
    assert keys["orders.customer_id"] == keys["customer.id"] == "customer.id"


def test_all_spider_gold_queries_parse_and_match_themselves(spider_dev: Dataset) -> None:
    for example in spider_dev:
        assert exact_set_match(example.query, example.query, spider_dev.schema(example.db_id)) or (
            "value" in example.query  # the evaluator rewrites it in predictions
        )


def test_tokens_keep_the_evaluators_quirks() -> None:
    assert tokenize("SELECT count(*) FROM t WHERE a>=1")[-2:] == [">", "=1"]
    with pytest.raises(SpiderSqlError, match="3 quotes"):
        tokenize("SELECT 'it's'")


WORDS = (
    "select from where group by having order limit union intersect except ( ) , . * = != > < >= "
    "in not like between and or join on as customer orders t1 id name t1.id 'x' 1 count max "
    "distinct asc desc ; value"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=25))
def test_any_text_has_a_verdict(schema: Schema, words: list[str]) -> None:
    text = " ".join(["select", *words])
    try:
        parse_query(text, schema)
        parses = "value" not in text
    except SpiderSqlError:
        parses = False
    assert exact_set_match(text, "SELECT name FROM customer", schema) in (True, False)
    if parses:
        assert exact_set_match(text, text, schema)

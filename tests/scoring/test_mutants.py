from __future__ import annotations

import time

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.data.schema import Column, Schema, Table
from distill_sql.scoring.mutants import KINDS, MOST, mutants
from distill_sql.sql.failures import CAUSES, primary_cause

SCHEMA = Schema(
    "d",
    (
        Table("t", (Column("a"), Column("b"), Column("c"))),
        Table("u", (Column("x"),)),
    ),
)


@pytest.mark.parametrize(
    ("sql", "kind", "mutant"),
    [
        ("SELECT a FROM t WHERE b = 1", "drop a condition", "SELECT a FROM t"),
        ("SELECT a FROM t WHERE b = 1 AND c = 2", "drop a condition",
         "SELECT a FROM t WHERE b = 1"),
        ("SELECT a FROM t WHERE b > 1", "other comparison", "SELECT a FROM t WHERE b < 1"),
        ("SELECT a FROM t WHERE b = 'x'", "other value", "SELECT a FROM t WHERE b = 'xx'"),
        ("SELECT max(a) FROM t", "other aggregate", "SELECT MIN(a) FROM t"),
        ("SELECT a FROM t GROUP BY a HAVING count(*) > 1", "drop HAVING",
         "SELECT a FROM t GROUP BY a"),
        ("SELECT a FROM t ORDER BY b", "other direction", "SELECT a FROM t ORDER BY b DESC"),
        ("SELECT a FROM t ORDER BY b LIMIT 1", "drop LIMIT", "SELECT a FROM t ORDER BY b"),
        ("SELECT a FROM t", "other column", "SELECT b FROM t"),
        ("SELECT count(*) FROM t", "other table", "SELECT COUNT(*) FROM u"),
        ("SELECT DISTINCT a FROM t", "drop DISTINCT", "SELECT a FROM t"),
        ("SELECT count(DISTINCT a) FROM t", "drop DISTINCT", "SELECT COUNT(a) FROM t"),
        ("SELECT a FROM t UNION SELECT x FROM u", "other set operation",
         "SELECT a FROM t INTERSECT SELECT x FROM u"),
        ("SELECT a FROM t UNION SELECT x FROM u", "half a set operation", "SELECT a FROM t"),
    ],
)  # fmt: skip
def test_one_mutant_per_kind(sql: str, kind: str, mutant: str) -> None:
    assert (kind, mutant) in [(m.kind, m.sql) for m in mutants(sql, SCHEMA)]


def test_each_kind_imitates_a_known_cause() -> None:
    assert set(KINDS.values()) <= set(CAUSES)


def test_mutants_differ_from_their_query_and_from_each_other(spider_dev: Dataset) -> None:
    for example in spider_dev.examples[::25]:
        texts = [m.sql for m in mutants(example.query, spider_dev.schema(example.db_id))]
        assert len(set(texts)) == len(texts)


def test_the_rule_names_nearly_every_known_mistake(spider_dev: Dataset) -> None:
    pairs = [
        (KINDS[mutant.kind], primary_cause(mutant.sql, example.query))
        for example in spider_dev.examples[::5]
        for mutant in mutants(example.query, spider_dev.schema(example.db_id))
    ]
    assert len(pairs) > 500
    assert sum(expected == named for expected, named in pairs) / len(pairs) > 0.9


def test_join_conditions_are_not_broken() -> None:
    sql = "SELECT T1.a FROM t AS T1 JOIN u AS T2 ON T1.a = T2.x"
    assert all("T1.a = T2.x" in mutant.sql for mutant in mutants(sql, SCHEMA))


@pytest.mark.parametrize(
    "sql", ["", "SELECT a FROM t WHERE if > 2", "VALUES (1)", "SELECT " + "- " * 450 + "1"]
)
def test_a_query_that_cannot_be_parsed_has_no_mutants(sql: str) -> None:
    assert mutants(sql, SCHEMA) == []


def test_a_query_with_a_hundred_conditions_takes_seconds() -> None:
    start = time.process_time()
    found = {}
    for count in (50, 120):
        conditions = " AND ".join(f"b <> {number}" for number in range(count))
        found[count] = mutants(f"SELECT a FROM t WHERE {conditions}", SCHEMA)
        per_kind = [m.kind for m in found[count]]
        assert all(per_kind.count(kind) <= MOST for kind in set(per_kind))
    assert time.process_time() - start < 5
    assert len(found[120]) == len(found[50]) > MOST

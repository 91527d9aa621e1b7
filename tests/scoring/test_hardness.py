from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.scoring import hardness


@pytest.mark.parametrize(
    ("sql", "level"),
    [
        ("SELECT a FROM t", "easy"),
        ("SELECT a FROM t WHERE b = 1", "easy"),
        ("SELECT count(*), a FROM t GROUP BY a", "medium"),
        ("SELECT a FROM t WHERE b = 1 AND c = 2", "medium"),
        ("SELECT T1.a FROM t AS T1 JOIN u AS T2 ON T1.id = T2.id WHERE T2.b = 1", "medium"),
        ("SELECT a FROM t WHERE b LIKE 'x'", "medium"),  # LIKE is a separate component
        ("SELECT a FROM t WHERE b NOT LIKE 'x' AND c NOT LIKE 'y' OR d = 1", "extra"),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", "hard"),
        ("SELECT a FROM t UNION SELECT a FROM u", "hard"),
        ("SELECT a FROM t WHERE b > (SELECT avg(b) FROM t) ORDER BY c LIMIT 1", "extra"),
        ("SELECT T1.a FROM t AS T1 JOIN u AS T2 ON T1.id = T2.id GROUP BY T1.a "
         "ORDER BY count(*) DESC LIMIT 1", "extra"),
        # a join and WHERE are components, DISTINCT is not
        ("SELECT DISTINCT T1.a, T1.b FROM t AS T1 JOIN u AS T2 ON T1.id = T2.id WHERE c = 1",
         "medium"),
    ],
)  # fmt: skip
def test_levels_by_hand(sql: str, level: str) -> None:
    assert hardness(sql) == level


def test_spider_dev_is_248_446_174_166(spider_dev: Dataset) -> None:
    counts = Counter(hardness(example.query) for example in spider_dev)
    assert counts == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}


def test_every_level_is_the_official_one(spider_dev: Dataset, data_dir: Path) -> None:
    for file in (data_dir / "official_verdicts").glob("*.jsonl"):
        official = [json.loads(line)["hardness"] for line in file.read_text().splitlines()]
        assert [hardness(example.query) for example in spider_dev] == official


@pytest.mark.parametrize(
    ("sql", "level"),
    [
        ("SELECT a FROM t WHERE b > = 1", "easy"),
        ("SELECT a FROM t; -- note", "easy"),
        ("SELECT a FROM t;;", "easy"),
        ("SELECT a FROM t WHERE " + " AND ".join(["b = 1"] * 900), "medium"),
        ("SELECT a FROM t WHERE if > 2", None),
        ("SELECT CAST(a AS UNSIGNED BIG INT) FROM t", None),
        ("VALUES (1)", None),
        ("DELETE FROM t", None),
        ("", None),
        ("SELECT " + "(" * 5000, None),
        ("SELECT a FROM t WHERE b = '" + "x" * 100_000 + "'", None),
    ],
)
def test_what_cannot_be_parsed_has_no_level(sql: str, level: str | None) -> None:
    assert hardness(sql) == level

"""The requirements of the pocket benchmark, checked on the built data."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from distill_sql.book.survey import CONSTRUCTS, constructs
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.pocket import build, materialized
from distill_sql.pocket.domains import load_domain, load_domains
from distill_sql.pocket.patterns import PATTERNS
from distill_sql.scoring import hardness
from distill_sql.scoring.mutants import mutants
from distill_sql.sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def splits() -> dict[str, Dataset]:
    return {split: load_dataset("pocket", split=split) for split in ("train", "validation", "dev")}


@pytest.fixture(scope="module")
def records() -> dict[str, list[dict[str, str]]]:
    return {
        split: json.loads((materialized() / f"{split}.json").read_text())
        for split in ("train", "validation", "dev")
    }


def test_sizes(splits: dict[str, Dataset]) -> None:
    databases = {split: len(dataset.db_ids) for split, dataset in splits.items()}
    assert databases == {"train": 18, "validation": 2, "dev": 6}
    assert len(splits["train"]) >= 2400
    assert len(splits["dev"]) >= 400
    for dataset in splits.values():
        for db_id in dataset.db_ids:
            schema = dataset.schema(db_id)
            assert 2 <= len(schema.tables) <= 6
            assert schema.foreign_keys
            with closing(sqlite3.connect(dataset.database_path(db_id))) as connection:
                for table in schema.tables:
                    assert table.primary_key
                    (rows,) = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()
                    assert 20 <= rows <= 300, (db_id, table.name)


def test_tables_json_agrees_with_the_databases(splits: dict[str, Dataset]) -> None:
    for dataset in splits.values():
        for db_id in dataset.db_ids:
            live, stated = schema_from_sqlite(dataset.database_path(db_id)), dataset.schema(db_id)
            assert live.foreign_keys == stated.foreign_keys
            for table in live.tables:
                other = stated.table(table.name)
                assert table.primary_key == other.primary_key
                assert [(c.name, c.type) for c in table.columns] == [
                    (c.name, c.type) for c in other.columns
                ]


def test_references_hold_and_some_values_are_missing(splits: dict[str, Dataset]) -> None:
    missing = 0
    for dataset in splits.values():
        for db_id in dataset.db_ids:
            with closing(sqlite3.connect(dataset.database_path(db_id))) as connection:
                assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
                for table in dataset.schema(db_id).tables:
                    for column in table.columns:
                        query = f"SELECT count(*) FROM {table.name} WHERE {column.name} IS NULL"
                        missing += connection.execute(query).fetchone()[0]
    assert missing > 500


def test_every_gold_query_runs_and_nearly_all_return_rows(splits: dict[str, Dataset]) -> None:
    with Sandbox() as sandbox:
        for dataset in splits.values():
            results = [sandbox.run(dataset.database_path(e.db_id), e.query) for e in dataset]
            assert all(result.ok for result in results)
            assert sum(bool(result.rows) for result in results) / len(results) >= 0.95


def test_no_dev_question_occurs_in_train(splits: dict[str, Dataset]) -> None:
    words = {
        split: {re.sub(r"\W+", " ", e.question.lower()) for e in dataset}
        for split, dataset in splits.items()
    }
    assert not words["dev"] & (words["train"] | words["validation"])
    assert not words["validation"] & words["train"]
    assert len(words["dev"]) == len(splits["dev"])


def test_no_two_databases_share_their_schema(splits: dict[str, Dataset]) -> None:
    seen: dict[frozenset[str], str] = {}
    for dataset in splits.values():
        for db_id in dataset.db_ids:
            columns = frozenset(
                f"{table.name}.{column.name}"
                for table in dataset.schema(db_id).tables
                for column in table.columns
            )
            for other, name in seen.items():
                assert len(columns & other) / len(columns | other) < 0.25, (db_id, name)
            seen[columns] = db_id


@pytest.mark.parametrize("split", ["train", "validation", "dev"])
def test_hardness_is_spiders_mix(splits: dict[str, Dataset], split: str) -> None:
    counts = Counter(hardness(example.query) for example in splits[split])
    for level, share in {"easy": 0.24, "medium": 0.43, "hard": 0.17, "extra": 0.16}.items():
        assert abs(counts[level] / len(splits[split]) - share) < 0.05


def test_every_sql_construct_occurs(splits: dict[str, Dataset]) -> None:
    for record in constructs([splits["train"], splits["dev"]]):
        assert record["share"] > 0, record
    assert len(CONSTRUCTS) >= 14
    kinds = Counter(
        type(node).__name__
        for example in splits["dev"]
        for node in sqlglot.parse_one(example.query, read="sqlite").find_all(
            exp.Union, exp.Intersect, exp.Except, exp.In
        )
    )
    assert set(kinds) == {"Union", "Intersect", "Except", "In"}


def test_phrasings_vary_and_dev_has_its_own() -> None:
    for pattern in PATTERNS:
        assert len(set(pattern.train)) >= 4, pattern.name
        assert len(set(pattern.held_out)) >= 3, pattern.name
        assert not set(pattern.train) & set(pattern.held_out), pattern.name
    openings = [{p.split("{")[0] for p in pattern.held_out} for pattern in PATTERNS]
    assert len(set().union(*openings)) > 40


def test_a_quarter_of_dev_is_hand_written(records: dict[str, list[dict[str, str]]]) -> None:
    sources = Counter(record["source"] for record in records["dev"])
    assert sources["handwritten"] >= 120
    assert {r["source"] for r in records["train"]} == {"generated"}


def test_questions_are_well_formed_sentences(records: dict[str, list[dict[str, str]]]) -> None:
    for split in records.values():
        for record in split:
            question = record["question"]
            assert question[0].isupper() or question[0].isdigit(), question
            assert question[-1] in ".?", question
            assert "  " not in question, question
            assert "{" not in question, question
            assert not re.search(r"\ba [aeio]", question), question


def test_a_plausible_wrong_query_returns_other_rows(splits: dict[str, Dataset]) -> None:
    dev = splits["dev"]
    with Sandbox() as sandbox:
        for example in dev:
            path = dev.database_path(example.db_id)
            gold = Counter(sandbox.run(path, example.query).rows)
            wrong = mutants(example.query, dev.schema(example.db_id))
            assert any(
                Counter(result.rows) != gold or _ordered(example.query)
                for result in (sandbox.run(path, mutant.sql) for mutant in wrong)
                if result.ok
            ), example


def _ordered(query: str) -> bool:
    return "ORDER BY" in query and "LIMIT" not in query


def test_superlatives_are_not_tied(splits: dict[str, Dataset]) -> None:
    dev = splits["dev"]
    for example in dev:
        if not example.query.endswith("LIMIT 1"):
            continue
        tree = sqlglot.parse_one(example.query, read="sqlite")
        measure = tree.find(exp.Ordered).this.copy()
        tree.set("expressions", [measure])
        tree.set("limit", exp.Limit(expression=exp.Literal.number(2)))
        with closing(sqlite3.connect(dev.database_path(example.db_id))) as connection:
            leaders = connection.execute(tree.sql("sqlite")).fetchall()
        assert len(set(leaders)) == len(leaders), example


def test_two_builds_are_identical(tmp_path: Path) -> None:
    first, second = materialized(), build(tmp_path / "again")
    for name in ("train.json", "validation.json", "dev.json", "tables.json"):
        assert _digest(first / name) == _digest(second / name)
    for path in sorted((first / "database").rglob("*.sqlite")):
        assert _dump(path) == _dump(second / path.relative_to(first))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_there_are_twenty_six_different_domains() -> None:
    domains = load_domains()
    assert len(domains) == 26
    assert len({domain.about for domain in domains}) == 26


GOOD = """
db_id = "x"
split = "train"
about = "x"
[table.a]
one = ["a"]
many = ["as"]
rows = 20
[table.a.column]
id = { type = "integer", key = true }
name = { type = "text", role = "label", says = ["name"], make = "person" }
"""


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        ('split = "train"', 'split = "test"', "split 'test' is none of train, validation, dev"),
        ('many = ["as"]', 'many = ["as", "b"]', "one and many differ in length"),
        ("key = true", "role = 'measure'", "no primary key"),
        ('type = "text"', 'type = "string"', "type 'string' is none of"),
        ('make = "person"', 'references = "b.id"', "not a key of an earlier table"),
        ('make = "person"', 'values = ["A", "B"]', "2 labels for 20 rows"),
        ('says = ["name"], ', "", "a role, but no names in says"),
        ('make = "person"', 'shape = "person"', "TypeError"),
        ("rows = 20", "", "KeyError: 'rows'"),
        ("[table.a]", "[table.a", "TOMLDecodeError"),
    ],
)
def test_the_error_of_a_broken_domain_names_the_file_and_the_problem(
    tmp_path: Path, found: str, written: str, message: str
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    load_domain(path)
    assert found in GOOD
    path.write_text(GOOD.replace(found, written))
    from distill_sql.errors import DatasetError

    with pytest.raises(DatasetError, match=r"x\.toml") as error:
        load_domain(path)
    assert message in str(error.value)

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset, load_dataset
from distill_sql.errors import ParameterError
from distill_sql.linking import STRATEGIES, Linker, gold_tables, recall_curve, words
from distill_sql.schema import Schema, Table, schema_from_sqlite
from distill_sql.tokenizer import load_tokenizer


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def shop(toy_dataset: Path) -> Linker:
    path = toy_dataset / "database/shop/shop.sqlite"
    return Linker(schema_from_sqlite(path), path, count_words)


def test_bm25_by_hand(tmp_path: Path) -> None:
    """Two tables, one shared word and one of its own, worked out with Robertson's formula."""
    path = tmp_path / "two.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE cat (age INT); CREATE TABLE dog (age INT, owner INT)"
        )
    linker = Linker(schema_from_sqlite(path), path, count_words)
    # documents: [cat, age], [dog, age, owner]; k1 = 1.5, b = 0.75, mean length 2.5
    idf = {"cat": math.log(3 / 1), "age": math.log(3 / 2)}

    def weight(length: int) -> float:
        return 2.5 / (1.5 * (0.25 + 0.75 * length / 2.5) + 1)

    scores = linker.scores("The age of the cats?")
    assert scores["cat"] == pytest.approx((idf["cat"] + idf["age"]) * weight(2))
    assert scores["dog"] == pytest.approx(idf["age"] * weight(3))


def test_words_split_identifiers_and_cut_plurals() -> None:
    assert words("StudentIDs of Pet_Owners") == [
        "studentid", "student", "id", "of", "pet_owner", "pet", "owner",
    ]  # fmt: skip
    assert words("cities class") == ["city", "class"]


def test_a_schema_that_fits_is_shown_whole(shop: Linker) -> None:
    linked = shop.link("Anything", budget=10_000)
    assert linked.dropped == {}
    assert linked.rows_per_table == 3
    assert set(linked.kept.values()) == {"the whole schema fits"}


def test_rows_are_shortened_before_a_table_is_dropped(shop: Linker) -> None:
    whole = shop.link("Anything", budget=10_000)
    shorter = shop.link("Anything", budget=whole.n_tokens - 1)
    assert shorter.dropped == {}
    assert shorter.rows_per_table < whole.rows_per_table
    assert shorter.n_tokens < whole.n_tokens


def test_a_bridge_comes_along_so_that_the_kept_tables_join(shop: Linker) -> None:
    # 'Ada' is a value of customer, 'lamp' one of order_item; orders joins them and is not named
    question = "Did Ada buy a lamp?"
    assert shop.scores(question)["orders"] == 0
    kept = shop._choose(question, 10_000, "closure")
    assert kept["orders"].startswith("joins ")
    plain = shop._choose(question, 10_000, "bm25")
    assert plain["orders"].startswith("rank 3")


def test_block_is_within_budget_and_counted_right(spider_dev: Dataset, qwen_dir: Path) -> None:
    count = load_tokenizer(qwen_dir).count
    db_id = "student_transcripts_tracking"
    linker = Linker(spider_dev.schema(db_id), spider_dev.database_path(db_id), count)
    for budget in (150, 250, 500, 700, 1000, 1500):
        linked = linker.link("Which courses does each degree program have?", budget=budget)
        assert linked.n_tokens <= budget
        assert linked.n_tokens == count(linked.block + "\n")
        assert "Degree_Programs" in linked.kept
        present = {table.name for table in linked.schema.tables}
        assert present == set(linked.kept)
        assert set(linked.kept) | set(linked.dropped) == {t.name for t in linker.schema.tables}
        for key in linked.schema.foreign_keys:
            assert {key.table, key.ref_table} <= present
        for gone in linked.dropped:
            assert f"REFERENCES {gone} " not in linked.block


def test_the_best_table_is_kept_whatever_the_budget(shop: Linker) -> None:
    linked = shop.link("Which customer lives in York?", budget=1)
    assert list(linked.kept) == ["customer"]
    assert linked.dropped == {"orders": "no room left", "order_item": "no room left"}
    assert linked.kept["customer"].startswith("rank 1, score ")


def test_question_without_known_words_and_schema_without_words(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript('CREATE TABLE "$" ("%" INT); CREATE TABLE "!" ("?" INT);')
    linker = Linker(schema_from_sqlite(path), path, count_words)
    assert linker.rank("How many?") == [("$", 0.0), ("!", 0.0)]
    assert list(linker.link("", budget=1).kept) == ["$"]


def test_budget_must_be_positive(shop: Linker) -> None:
    with pytest.raises(ParameterError, match="budget is 0; expected a positive number"):
        shop.link("x", budget=0)


def test_gold_tables_spells_them_as_the_schema_does() -> None:
    schema = Schema("d", (Table("Singer", ()), Table("concert", ())))
    query = "SELECT 1 FROM singer AS T1 JOIN CONCERT WHERE x IN (SELECT y FROM stadium)"
    assert gold_tables(query, schema) == {"Singer", "concert"}


def test_recall_on_spider_dev_beats_both_baselines(spider_dev: Dataset, qwen_dir: Path) -> None:
    budgets = (150, 250, 350, 500, 1000, 1500)
    curve = recall_curve(spider_dev, load_tokenizer(qwen_dir).count, budgets=budgets)
    recall = {(r["budget"], r["strategy"]): r["recall"] for r in curve}
    for budget in budgets:
        ours, *baselines = (recall[budget, strategy] for strategy in STRATEGIES)
        assert ours >= max(baselines), budget
    assert recall[1500, "closure"] >= 0.99
    assert recall[250, "closure"] > recall[250, "schema-order"] + 0.1


def test_recall_curve_by_hand(toy_dataset: Path) -> None:
    """Two questions: one needs one table, the other all three."""
    dataset = load_dataset(toy_dataset)
    curve = recall_curve(dataset, count_words, budgets=[1, 10_000], strategies=["schema-order"])
    assert [(r["budget"], r["recall"], r["pruned"], r["tables"]) for r in curve] == [
        (1, 0.5, 1, 1),
        (10_000, 1, 0, 3),
    ]


def test_a_gold_query_that_cannot_be_parsed_does_not_count_for_recall(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    odd = replace(dataset.examples[0], query="SELECT CAST(id AS UNSIGNED BIG INT) FROM customer")
    assert gold_tables(odd.query, dataset.schema("shop")) == frozenset()
    curves = [
        recall_curve(dataset.with_examples(examples), count_words, budgets=[1])
        for examples in ([dataset.examples[1]], [odd, dataset.examples[1]], [odd])
    ]
    recalls = [[record["recall"] for record in curve] for curve in curves]
    assert recalls[0] == recalls[1] == [0, 0, 0]
    assert all(math.isnan(recall) for recall in recalls[2])

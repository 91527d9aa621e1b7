from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.schema import Schema
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.errors import ParameterError
from distill_sql.prompting.linking import Linker, linker_for
from distill_sql.prompting.rendering import COMPACT_ROWS, render_compact, sample_rows
from distill_sql.prompting.tokenizer import load_tokenizer


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def shop(toy_dataset: Path) -> Linker:
    path = toy_dataset / "database/shop/shop.sqlite"
    return Linker(schema_from_sqlite(path), path, count_words)


@pytest.fixture
def shop_dataset(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def test_bm25_by_hand(tmp_path: Path) -> None:
    """Two tables with one shared word and one distinct word; scores by Robertson's formula."""
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


def test_a_bridge_table_is_kept_so_that_the_kept_tables_join(shop: Linker) -> None:
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


def test_function_words_choose_no_table(tmp_path: Path) -> None:
    """Many titles contain "the"; it must not count."""
    path = tmp_path / "films.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE film (title TEXT); INSERT INTO film VALUES ('The Night of the Has');"
            "CREATE TABLE director (age INT); CREATE TABLE prize (year INT);"
        )
    schema = schema_from_sqlite(path)
    question = "What is the age of the director who has most?"
    linker = Linker(schema, path, count_words)
    assert linker.scores(question)["film"] == 0
    assert Linker(schema, path, count_words, ignored=()).scores(question)["film"] > 0
    assert list(linker.link(question, budget=1).kept) == ["director"]


def test_a_synonym_names_its_table(tmp_path: Path) -> None:
    path = tmp_path / "two.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE pet (age INT); CREATE TABLE owner (age INT);")
    pet, owner = schema_from_sqlite(path).tables
    schema = Schema("two", (pet, replace(owner, synonyms=("keeper",))))
    assert Linker(schema, path, count_words).rank("Which keepers?")[0][0] == "owner"


def test_a_compact_block_is_that_of_the_restricted_schema(
    shop_dataset: Dataset, qwen_dir: Path
) -> None:
    count = load_tokenizer(qwen_dir).count
    schema, path = shop_dataset.schema("shop"), shop_dataset.database_path("shop")
    rows = sample_rows(path, schema.tables, COMPACT_ROWS)
    linker = Linker(schema, path, count, style="compact")
    whole = linker.link("Anything", budget=10_000)
    assert whole.block == render_compact(schema, rows)
    assert whole.n_tokens == count(whole.block + "\n")
    cut = linker.link("Which customer ordered a lamp?", budget=whole.n_tokens - 1)
    assert cut.dropped
    assert cut.block == render_compact(schema.restrict(set(cut.kept)), rows)
    assert cut.n_tokens == count(cut.block + "\n") < whole.n_tokens
    only = linker.link("Which customer lives in York?", budget=1)
    assert only.block == 'customer: id, name, "home town"\n'


def test_blocks_are_within_budget_in_both_styles(spider_dev: Dataset, qwen_dir: Path) -> None:
    count = load_tokenizer(qwen_dir).count
    db_id = "student_transcripts_tracking"
    schema, path = spider_dev.schema(db_id), spider_dev.database_path(db_id)
    sizes = {}
    for style in ("full", "compact"):
        linker = linker_for(schema, path, count, style)
        assert linker is linker_for(schema, path, count, style)  # one per database
        for budget in (100, 200, 300, 400):
            linked = linker.link("Which courses does each degree program have?", budget=budget)
            assert linked.n_tokens <= budget
            assert linked.n_tokens == count(linked.block + "\n")
            assert linked.block.startswith("CREATE TABLE") == (style == "full")
            sizes[style, budget] = len(linked.kept)
    assert sizes["compact", 400] > sizes["full", 400]


def test_a_database_without_tables_has_an_empty_block(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW v AS SELECT 1")
    for style in ("full", "compact"):
        linked = Linker(Schema("none", ()), path, count_words, style=style).link("?", budget=1)
        assert (linked.block, linked.n_tokens) == ("", 0)

"""The data chapter's tables, charts and texts, on a dataset small enough to count by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql import Dataset, Example, load_dataset
from distill_sql.book.pages import data
from distill_sql.book.shown import Figure


@pytest.fixture
def dev(toy_dataset: Path) -> Dataset:
    """Two questions on one database; the first is easy, the second hard."""
    shop = load_dataset(toy_dataset)
    sources = ("generated", "handwritten")
    return shop.with_examples(
        replace(e, source=source) for e, source in zip(shop, sources, strict=True)
    )


@pytest.fixture
def train(dev: Dataset) -> Dataset:
    """One question, whose gold query has the skeleton of dev's first."""
    example = Example(0, "shop", "How many orders?", "SELECT count(*) FROM orders")
    return replace(dev.with_examples([example]), split="train")


def test_the_overlap_counts_databases_and_skeletons(dev: Dataset, train: Dataset) -> None:
    text = data.overlap(dev, train)
    assert "**1** of the 1 dev databases also occur in train" in text
    assert "**50.0%** of the dev questions" in text
    assert data.seen_forms(dev, train) == {0}
    assert "no training questions of" in data.overlap(dev, None)


def test_questions_of_each_source_have_a_share_of_seen_skeletons(
    dev: Dataset, train: Dataset
) -> None:
    rows = data.by_source(dev, train).rows
    assert [(row["source"], row["questions"], row["seen"]) for row in rows] == [
        ("generated", 1, 1), ("handwritten", 1, 0),
    ]  # fmt: skip


def test_the_overview_names_all_splits(dev: Dataset, train: Dataset) -> None:
    table = data.overview([train, dev])
    assert [row["questions"] for row in table.rows] == [1, 2]
    assert "train and dev" in table.caption


def test_charts_of_levels_and_constructs_say_their_shares(dev: Dataset, train: Dataset) -> None:
    levels = data.levels([train, dev])
    assert "train easy 100%" in levels.alt
    assert "dev easy 50%; dev medium 0%; dev hard 50%; dev extra 0%" in levels.alt
    assert "train (1) and dev (2)" in levels.caption
    constructs = data.constructs([train, dev])
    # Each of dev's four constructs is in one of its two queries: they keep their usual order.
    assert constructs.alt.endswith("in dev are one table, three tables or more, aggregate, WHERE")
    for figure in (levels, constructs):
        assert figure.chart.to_dict()


def test_an_example_has_its_level_its_hint_and_its_query(dev: Dataset) -> None:
    easy, hard = data.examples(dev)
    assert easy == (
        "**Easy**, database `shop`: How many customers are there?\n"
        "```sql\nSELECT count(*) FROM customer\n```"
    )
    assert hard.startswith("**Hard**")
    hinted = dev.with_examples([replace(dev.examples[0], evidence="All of them.")])
    assert "\n\nHint: All of them.\n```sql" in data.examples(hinted)[0]


def test_databases_are_counted(dev: Dataset) -> None:
    table = data.databases(dev)
    assert [row["rows"] for row in table.rows] == [8]
    assert "split (1)" in table.caption


def test_gold_results_count_what_runs_and_what_is_empty(dev: Dataset) -> None:
    answers = [
        {"outcome": "ok", "rows": 3},
        {"outcome": "ok", "rows": 0},
        {"outcome": "error", "rows": 0},
        {"outcome": "ok", "rows": 1},
    ]
    text, note, figure = data.gold_results(dev, answers)
    assert text == (
        "Of 4 gold queries of dev, **3 run** and **2 return no rows** (50.0%)."
    )  # fmt: skip
    assert note == ""
    assert isinstance(figure, Figure)


def test_rows_of_a_result_fall_into_bins(dev: Dataset) -> None:
    rows = [0, 1, 2, 5, 6, 20, 21, 100, 101, 5000]
    figure = data.result_sizes(dev, [{"rows": n} for n in rows])
    assert figure.alt.endswith(
        "none rows 1, 1 rows 1, 2-5 rows 2, 6-20 rows 2, 21-100 rows 2, more rows 2"
    )


@pytest.mark.parametrize(("rows", "told"), [(0, True), (1, False)])
def test_a_copy_of_spider_without_the_rankings_is_told(
    tmp_path: Path, rows: int, told: bool
) -> None:
    database = tmp_path / "database" / "wta_1" / "wta_1.sqlite"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript("CREATE TABLE players (id); INSERT INTO players VALUES (1);")
        connection.execute("CREATE TABLE rankings (id)")
        connection.executemany("INSERT INTO rankings VALUES (?)", [(n,) for n in range(rows)])
    (tmp_path / "dev.json").write_text(
        '[{"db_id": "wta_1", "question": "?", "query": "SELECT id FROM rankings"},'
        '{"db_id": "wta_1", "question": "?", "query": "SELECT id FROM players"}]'
    )
    note = data.empty_rankings(load_dataset(tmp_path))
    assert note.startswith("1 of the gold queries read `rankings`") is told
    assert (note == "") is not told

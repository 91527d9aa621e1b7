"""Table recall as chapter 3 shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.book.pages import linking as page
from distill_sql.book.pages.linking import Pair, Setting
from distill_sql.data.datasets import load_dataset
from distill_sql.prompting.linking import Strategy
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.prompting.recall import Recall, recall_curve


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def shop(toy_dataset: Path) -> Setting:
    """Two questions: one reads one table, the other all three."""
    return Setting(load_dataset(toy_dataset), count_words, "full", (10_000, 1))


def at(strategy: Strategy, budget: int, recall: float, pruned: float = 0.5) -> Recall:
    return Recall(strategy, budget, recall=recall, possible=0.9, pruned=pruned, kept=2.0)


CURVE = [
    at("closure", 100, 0.5), at("closure", 200, 0.9, 0.0), at("closure", 300, 0.9, 0.0),
    at("bm25", 100, 0.8), at("bm25", 200, 0.4), at("bm25", 300, 0.9),
    at("schema-order", 100, 0.1), at("schema-order", 200, 0.2), at("schema-order", 300, 0.3),
]  # fmt: skip


def test_a_setting_measures_its_own_questions(shop: Setting) -> None:
    assert shop.smallest == 1
    assert [(one.strategy, one.budget, one.recall) for one in shop.curve("closure")] == [
        ("closure", 1, 0.5), ("closure", 10_000, 1),
    ]  # fmt: skip
    assert [one.strategy for one in shop.curve()] == [
        "closure", "closure", "bm25", "bm25", "schema-order", "schema-order",
    ]  # fmt: skip
    assert shop.at(10_000).recall == 1
    assert not shop.has_synonyms


def test_words_that_are_ignored_are_passed_on() -> None:
    pocket = load_dataset("pocket").limit(60)
    setting = Setting(pocket, tokenizer_for(pocket).count, "compact", (150,))
    assert setting.has_synonyms
    without, every = setting.curve("bm25"), setting.curve("bm25", ignored=())
    assert without == recall_curve(
        pocket, setting.count, budgets=[150], strategies=["bm25"], style="compact"
    )
    assert without[0].recall > every[0].recall


def test_the_curve_has_a_line_per_order(shop: Setting) -> None:
    figure = page.curve_figure(shop, CURVE)
    assert figure.alt.startswith(
        "Lines of table recall against token budget for three orders: ours at 100 tokens 50.0%; "
    )
    assert "BM25 alone at 200 tokens 40.0%" in figure.alt
    assert "Share of 2 dev questions" in figure.caption
    specification = figure.chart.to_dict()
    [rows] = specification["datasets"].values()
    assert {row["order"] for row in rows} == {"ours", "BM25 alone", "schema order"}
    assert len(rows) == 9


def test_the_table_has_a_row_per_budget(shop: Setting) -> None:
    table = page.curve_table(shop, CURVE)
    assert table.rows[0] == {
        "budget": 100, "ours": 0.5, "BM25 alone": 0.8, "schema order": 0.1, "possible": 0.9,
        "pruned": 0.5, "tables": 2.0,
    }  # fmt: skip
    assert [row["budget"] for row in table.rows] == [100, 200, 300]


def test_the_note_on_the_curve_by_hand(shop: Setting) -> None:
    """Of 2 questions, -0.3 is -1 and +0.5 is +1; 0.9 - 0.5 are 40 points."""
    note = page.curve_note(shop, CURVE)
    assert note.startswith("From 200 tokens on, no dev question of ")
    assert "at most **40.0 points** below the upper bound" in note
    assert "for -1 to +1 questions of 2" in note
    pruned = [one for one in CURVE if one.budget == 100]
    assert page.curve_note(shop, pruned).startswith("Our order is at most")


def test_what_a_budget_changes_in_the_prompts(shop: Setting) -> None:
    assert "10,000 tokens, 0 of 2 dev prompts differ" in page.budget_note(shop, shop.at(10_000))
    note = page.budget_note(shop, shop.at(1))
    assert "2 of 2 dev prompts differ" in note
    assert "100.0% lose a table, and recall is **50.00%**" in note


def test_questions_that_read_one_table_and_several_are_told_apart(shop: Setting) -> None:
    pairs = page.pairs_by_tables(shop)
    assert [(p.kind, p.questions, p.ours.budget, p.ours.recall) for p in pairs] == [
        ("one table", 1, 1, 1), ("one table", 1, 10_000, 1),
        ("several tables", 1, 1, 0), ("several tables", 1, 10_000, 1),
    ]  # fmt: skip
    rows = page.pairs_table(shop, pairs).rows
    assert rows[2] == {
        "kind": "several tables", "n": 1, "budget": 1, "closure": 0, "bm25": 0, "possible": 0,
    }  # fmt: skip
    first = shop.data.limit(1)
    alone = page.pairs_by_tables(Setting(first, count_words, "full", (1, 2, 3, 4)))
    assert [(p.kind, p.ours.budget) for p in alone] == [("one table", n) for n in (1, 2, 3)]


def test_the_range_of_the_differences() -> None:
    pairs = [
        Pair("one table", 5, at("closure", 100, 0.5), at("bm25", 100, 0.75)),
        Pair("one table", 5, at("closure", 200, 0.5), at("bm25", 200, 0.25)),
        Pair("several tables", 5, at("closure", 100, 0.5), at("bm25", 100, 0.5)),
    ]
    assert page.pairs_note(pairs) == (
        "Ours minus BM25 alone is -25.0 to +25.0 points where the query reads one table; "
        "+0.0 to +0.0 points where the query reads several tables."
    )

"""What chapter 3 says of function words, of lost tables and of mentions."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.book.pages import linking_losses as page
from distill_sql.book.pages.linking import Setting
from distill_sql.book.shown import Table
from distill_sql.data.datasets import Example, load_dataset
from distill_sql.prompting.mentions import coverage
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.prompting.recall import LostTable, Match, recall_curve


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def shop(toy_dataset: Path) -> Setting:
    return Setting(load_dataset(toy_dataset), count_words, "full", (1, 10_000))


@pytest.fixture(scope="module")
def pocket() -> Setting:
    data = load_dataset("pocket").limit(40)
    return Setting(data, tokenizer_for(data).count, "compact", (100, 2_000))


def test_recall_with_and_without_function_words(pocket: Setting) -> None:
    columns = page.recall_by_words(pocket)
    assert list(columns) == [
        "ours", "BM25 alone", "ours, all words", "BM25 alone, all words", "ours, no synonyms",
    ]  # fmt: skip
    assert all(list(one) == [100] for one in columns.values()), "all reach 100 % at 2,000 tokens"
    [every] = recall_curve(
        pocket.data, pocket.count, budgets=[100], strategies=["closure"], style="compact",
        ignored=(),
    )  # fmt: skip
    [bare] = recall_curve(
        pocket.data.without_synonyms(), pocket.count, budgets=[100], strategies=["closure"],
        style="compact",
    )  # fmt: skip
    assert columns["ours, all words"][100] == every.recall
    assert columns["ours, no synonyms"][100] == bare.recall
    table = page.words_table(pocket, columns)
    assert table.rows == [{"budget": 100} | {name: one[100] for name, one in columns.items()}]
    assert "the last column is ours where the schema lists no synonyms" in table.caption


def test_what_ignoring_function_words_changes() -> None:
    columns = {"ours": {100: 0.5, 200: 0.75}, "ours, all words": {100: 0.75, 200: 0.5}}
    assert "by -25.0 to +25.0 points" in page.words_note(columns)
    assert page.words_note({"ours": {}, "ours, all words": {}}) == ""


def test_the_decision_on_one_question(shop: Setting) -> None:
    example, linked = page.most_pruned(shop)
    assert example == shop.data.examples[0]
    assert len(linked.dropped) == 2
    text, table = page.decision(shop, example, linked)
    assert isinstance(text, str)
    assert text.startswith("> How many customers are there?\n\nDatabase `shop`, ")
    assert text.endswith(" of 1 tokens.")
    assert isinstance(table, Table)
    assert [(row["table"], row["decision"], row["in the gold query"]) for row in table.rows] == [
        ("customer", "kept", "yes"), ("orders", "dropped", "no"), ("order_item", "dropped", "no"),
    ]  # fmt: skip


def lost(number: int, match: Match, *, avoidable: bool = False) -> LostTable:
    example = Example(number, "shop", f"Question {number}?", "SELECT 1")
    return LostTable(example, f"t{number}", avoidable, match)


def test_how_many_losses_have_a_word_and_how_many_the_budget_forces(shop: Setting) -> None:
    found = [
        lost(1, "name"), lost(1, "nothing"), lost(2, "name", avoidable=True), lost(3, "value"),
    ]  # fmt: skip
    note = page.lost_note(shop, found)
    assert "Of the 4 tables that are lost at 1 tokens, **75% share a word" in note
    assert "50% the table's name, 25% a value only, 25% no word at all." in note
    assert "2 of the 3 questions that lose a table need more tables than fit" in note
    assert page.lost_note(shop, []) == ""


def test_avoidable_losses_come_first(shop: Setting) -> None:
    table = page.losses_table(shop, [lost(1, "column"), lost(2, "name", avoidable=True)])
    assert [(row["lost"], row["avoidable"]) for row in table.rows] == [("t2", "yes"), ("t1", "no")]
    assert table.rows[1]["found in the question"] == "a column's name only"
    assert table.filters == ["database", "found in the question", "avoidable"]
    [none] = page.losses_table(shop, []).rows
    assert none["database"] == "none"


def test_the_lost_tables_are_those_of_the_smallest_budget(shop: Setting) -> None:
    """The question asks for a lamp, a value of order_item, which is kept."""
    assert [one.table for one in page.lost_at_smallest(shop)] == ["customer", "orders"]


def test_mentions_by_source(pocket: Setting, shop: Setting) -> None:
    example = pocket.data.examples[0]
    table = page.mentions_table(pocket, example)
    sources = {e.source for e in pocket.data}
    assert {row["questions"] for row in table.rows} == sources
    source = table.rows[0]["questions"]
    some = pocket.data.with_examples(e for e in pocket.data if e.source == source)
    assert table.rows[0]["with synonyms"] == coverage(some)[0]["recall"]
    assert table.rows[0]["own words"] == coverage(some, synonyms=False)[0]["recall"]
    assert "the schema's own words and with synonyms. Precision" in table.caption
    plain = page.mentions_table(shop, shop.data.examples[0])
    assert "the schema's own words. Precision" in plain.caption
    assert plain.caption.endswith("How many customers [customer] are there?")
    assert {row["questions"] for row in plain.rows} == {"all"}
    assert "with synonyms" not in plain.rows[0]

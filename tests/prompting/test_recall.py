from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.data.schema import Schema, Table
from distill_sql.prompting.linking import STRATEGIES, Linker
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.prompting.recall import gold_tables, lost_tables, recall_curve
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.prompting.words import FUNCTION_WORDS


def count_words(text: str) -> int:
    return len(text.split())


def test_gold_tables_spells_them_as_the_schema_does() -> None:
    schema = Schema("d", (Table("Singer", ()), Table("concert", ())))
    query = "SELECT 1 FROM singer AS T1 JOIN CONCERT WHERE x IN (SELECT y FROM stadium)"
    assert gold_tables(query, schema) == {"Singer", "concert"}


def test_recall_on_spider_dev_beats_both_baselines(spider_dev: Dataset, qwen_dir: Path) -> None:
    budgets = (150, 250, 350, 500, 1000, 1500)
    curve = recall_curve(spider_dev, load_tokenizer(qwen_dir).count, budgets=budgets)
    recall = {(r.budget, r.strategy): r.recall for r in curve}
    for budget in budgets:
        ours, *baselines = (recall[budget, strategy] for strategy in STRATEGIES)
        assert ours >= max(baselines), budget
    assert recall[1500, "closure"] >= 0.99
    assert recall[250, "closure"] > recall[250, "schema-order"] + 0.1


def test_recall_curve_by_hand(toy_dataset: Path) -> None:
    """Two questions: one needs one table, the other all three."""
    dataset = load_dataset(toy_dataset)
    curve = recall_curve(dataset, count_words, budgets=[1, 10_000], strategies=["schema-order"])
    assert [(r.budget, r.recall, r.pruned, r.kept) for r in curve] == [
        (1, 0.5, 1, 1),
        (10_000, 1, 0, 3),
    ]


def test_what_recall_is_possible(toy_dataset: Path) -> None:
    """The best choice keeps the gold tables and no others; one table is kept in any case."""
    dataset = load_dataset(toy_dataset)
    schema, path = dataset.schema("shop"), dataset.database_path("shop")
    linker = Linker(schema, path, count_words)
    three = gold_tables(dataset.examples[1].query, schema)
    need = next(budget for budget in range(1, 1000) if linker.fits(three, budget))
    assert need == linker.link("", budget=need).n_tokens  # the whole schema without rows
    curve = recall_curve(dataset, count_words, budgets=[need - 1, need], strategies=["closure"])
    assert [one.possible for one in curve] == [0.5, 1]
    [avoidable] = {one.avoidable for one in lost_tables(dataset, count_words, budget=need - 1)}
    assert avoidable is False


def test_recall_is_at_most_what_is_possible() -> None:
    dev = load_dataset("pocket")
    count = tokenizer_for(dev).count
    curve = recall_curve(dev, count, budgets=[100, 150, 200], style="compact")
    assert all(one.recall <= one.possible <= 1 for one in curve)
    for budget in (100, 200):
        lost = {
            one.example.question_id: one.avoidable
            for one in lost_tables(dev, count, budget=budget, style="compact")
        }
        ours = next(r for r in curve if r.budget == budget)
        avoidable = (ours.possible - ours.recall) * len(dev)
        assert sum(lost.values()) == round(avoidable)
        assert len(lost) == round((1 - ours.recall) * len(dev))


def test_a_gold_query_that_cannot_be_parsed_does_not_count_for_recall(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    odd = replace(dataset.examples[0], query="SELECT CAST(id AS UNSIGNED BIG INT) FROM customer")
    assert gold_tables(odd.query, dataset.schema("shop")) == frozenset()
    curves = [
        recall_curve(dataset.with_examples(examples), count_words, budgets=[1])
        for examples in ([dataset.examples[1]], [odd, dataset.examples[1]], [odd])
    ]
    recalls = [[one.recall for one in curve] for curve in curves]
    assert recalls[0] == recalls[1] == [0, 0, 0]
    assert all(math.isnan(recall) for recall in recalls[2])


def test_ignoring_function_words_raises_recall() -> None:
    """The list was chosen on training questions; here it helps on dev questions."""
    dev = load_dataset("pocket").without_synonyms()
    count = tokenizer_for(dev).count
    recall = {
        (one.strategy, one.budget, bool(ignored)): one.recall
        for ignored in ((), FUNCTION_WORDS)
        for one in recall_curve(
            dev, count, budgets=[150, 250], strategies=["closure", "bm25"], ignored=ignored
        )
    }
    for strategy in ("closure", "bm25"):
        for budget in (150, 250):
            assert recall[strategy, budget, True] > recall[strategy, budget, False] + 0.08


def test_where_a_lost_table_shares_a_word_with_the_question(toy_dataset: Path) -> None:
    dataset = load_dataset(toy_dataset)
    query = dataset.examples[1].query  # reads all three tables
    asked = {
        "What is his name?": {"orders": "nothing", "order_item": "nothing"},
        "Which customer called Ada, of the home town Leeds, has a price?": {
            "orders": "column", "order_item": "column",
        },
        "Which customer called Ada, of the home town Leeds, bought a lamp?": {
            "orders": "column", "order_item": "value",
        },
        "Which customer called Ada, of the home town Leeds, has an item?": {
            "orders": "column", "order_item": "name",
        },
    }  # fmt: skip
    for question, matches in asked.items():
        [example] = dataset.with_examples([Example(0, "shop", question, query)])
        lost = lost_tables(dataset.with_examples([example]), count_words, budget=1)
        assert {one.table: one.match for one in lost} == matches
        assert all(one.example == example for one in lost)
    assert lost_tables(dataset, count_words, budget=10_000) == []

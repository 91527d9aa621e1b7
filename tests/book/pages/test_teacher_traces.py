"""What chapter 2 says of the answers that were kept, on a few questions judged by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import teacher_traces as page
from distill_sql.book.shown import Table
from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.teacher.traces import Judged, Trace

EASY = "SELECT name FROM customer"
HARD = (
    "SELECT name FROM customer WHERE id IN (SELECT customer_id FROM orders) "
    "AND id NOT IN (SELECT customer_id FROM orders WHERE paid = 0)"
)


@pytest.fixture
def questions(toy_dataset: Path) -> Dataset:
    queries = (EASY, EASY, HARD)
    examples = [Example(n, "shop", f"Question {n}?", sql) for n, sql in enumerate(queries)]
    return load_dataset(toy_dataset).with_examples(examples)


def judge(number: int, reasons: Sequence[str], **changes: object) -> Judged:
    """The verdict on a question's samples; of those that are right one is kept."""
    trace = Trace(
        number, "shop", f"Question {number}?", EASY, "direct", (), f"```sql\n{EASY}\n```", EASY, 2,
        1, "m", 0, 0, 0,
    )  # fmt: skip
    texts = tuple(f"text {place}" for place in range(len(reasons)))
    one = Judged(
        number, "shop", "direct", texts, texts, tuple(reasons), len(reasons), 0, 0, 0,
        (trace,) if "" in reasons else (),
    )  # fmt: skip
    return replace(one, **changes)  # type: ignore[arg-type]


@pytest.fixture
def judged() -> list[Judged]:
    return [
        judge(0, ["", "not the best"]),
        judge(1, ["wrong rows", ""], agreement=1, mode="reasoning"),
        judge(2, ["wrong rows", "lucky"], agreement=1, db_id="other"),
    ]


def test_outcomes_are_counted_by_sample(judged: list[Judged]) -> None:
    figure = page.outcomes_figure(judged)
    assert figure.caption.startswith("Outcomes of the 6 samples: kept: it was kept; not the best:")
    assert figure.alt.endswith("kept 2, not the best 1, lucky 1, wrong rows 2")


def test_shares_by_hardness_and_by_mode(judged: list[Judged], questions: Dataset) -> None:
    table = page.shares_table(judged, questions)
    rows = [
        (row["by"], row["group"], row["questions"], row["kept"], row["passed"], row["agreement"])
        for row in table.rows
    ]
    assert rows == [
        ("hardness", "easy", 2, 1, 0.75, 0.75),
        ("hardness", "extra", 1, 0, 0, 0.5),
        ("mode", "direct", 2, 0.5, 0.5, 0.75),
        ("mode", "reasoning", 1, 1, 0.5, 0.5),
    ]


def test_a_query_without_a_level_counts_in_its_mode_alone(questions: Dataset) -> None:
    odd = questions.with_examples([replace(questions.examples[0], query="SELECT (")])
    table = page.shares_table([judge(0, [""])], odd)
    assert [(row["by"], row["group"]) for row in table.rows] == [("mode", "direct")]


def test_how_much_databases_differ(judged: list[Judged]) -> None:
    note = page.databases_note(judged)
    assert "on 2 databases; 1 of them have no trace" in note
    assert "ranges from 0% to 100%" in note


def test_what_training_takes_and_what_leaks(judged: list[Judged], questions: Dataset) -> None:
    """The traces of both questions have the same query, which one dev question has, too."""
    dev = questions.with_examples([Example(7, "shop", "Another?", EASY.lower())])
    tokenizer = tokenizer_for(load_dataset("pocket"))
    note = page.training_note(judged, tokenizer, dev, dataset="pocket")
    assert "Of 2 traces, 0 are near duplicates" in note
    assert "0 exceed the 512 tokens" in note
    assert "2 are for training and 0, on other databases, for validation" in note
    assert "**2** share a question or a query" in note
    twice = [judged[0], judged[0]]
    assert "Of 2 traces, 1 are near" in page.training_note(twice, tokenizer, dev, dataset="pocket")


def test_one_question_of_each_kind(judged: list[Judged], questions: Dataset) -> None:
    tables = page.examples(judged, questions)
    assert [table.caption for table in tables if isinstance(table, Table)] == [
        f"All right (direct), database shop: Question 0? Gold: {EASY}",
        f"One right (reasoning), database shop: Question 1? Gold: {EASY}",
        f"None right (direct), database other: Question 2? Gold: {HARD}",
    ]
    first = tables[0]
    assert isinstance(first, Table)
    assert first.rows[0] == {"sample": 1, "what came back": "text 0", "verdict": "kept"}
    assert first.rows[1]["verdict"] == "not the best"


def test_a_missing_kind_is_named(questions: Dataset) -> None:
    three = judge(0, ["", "not the best", "empty"])  # two of three are right: none of the kinds
    assert page.examples([three], questions) == [
        "*No question of this build is an example of: all right, one right, none right.*"
    ]
    single = page.examples([judge(0, [""])], questions)
    assert single[-1] == "*No question of this build is an example of: one right, none right.*"

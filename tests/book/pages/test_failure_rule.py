"""The rule against labels and against broken queries, on sets small enough to count by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distill_sql import Dataset, load_dataset
from distill_sql.book.pages import failure_rule
from distill_sql.book.pages.failure_answers import FLOOR
from distill_sql.book.shown import Figure, Table
from distill_sql.scoring.labels import HELD_OUT, TUNING, Labelled
from distill_sql.sql.failures import STEPS
from tests.book.pages.test_failures import JOIN, RIGHT, UNKNOWN, WRONG, rows_of, scores_of

ONE = Labelled("pocket", "dev", 0, "db", "m", TUNING, "SELECT a FROM t", "SELECT b FROM t", "",
               "wrong column", "wrong column")  # fmt: skip
#: The rule names "wrong column" for all of them.
ERRORS = [
    ONE,
    replace(ONE, half=HELD_OUT, second="filter"),
    replace(ONE, dataset="spider", half=HELD_OUT, label="nesting", second="nesting"),
    replace(ONE, dataset="spider"),
]


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps(asdict(error)) + "\n" for error in ERRORS]
    (tmp_path / "labels.jsonl").write_text("".join(lines))
    parts = ("all", TUNING, HELD_OUT, "pocket", "spider")
    about = {
        "labelled_by": "two readers, blind",
        "rule_before": {"agreement": {part: [1, 4] for part in parts}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(about))
    return tmp_path


def test_each_wrong_answer_of_a_model_is_decided_by_one_step(shop: Dataset) -> None:
    scores = scores_of(
        shop, **{FLOOR: [WRONG, WRONG], "bad": [WRONG, JOIN], "good": [RIGHT, UNKNOWN]}
    )
    table = failure_rule.steps(scores)
    decided = {row["question"]: row["decides"] for row in table.rows if row["decides"]}
    assert decided == {STEPS[4].question: 1, STEPS[6].question: 1, STEPS[8].question: 1}
    assert [STEPS[n].cause for n in (4, 6, 8)] == ["spurious join", "wrong column", "aggregate"]
    assert "of the 3 wrong predictions" in table.caption
    assert "Systems: bad; good." in table.caption
    without = failure_rule.steps(scores_of(shop))
    assert len(without.rows) == len(STEPS)
    assert "decides" not in without.rows[0]


def test_the_agreement_is_counted_for_each_part(folder: Path) -> None:
    text, table, figure = failure_rule.agreement(failure_rule.labelled(folder))
    assert isinstance(table, Table)
    rows = {row["labels"]: (row["errors"], row["now"], row["readers"]) for row in table.rows}
    assert rows == {
        "all": (4, 0.75, 0.75), TUNING: (2, 1, 1), HELD_OUT: (2, 0.5, 0.5),
        "on pocket": (2, 1, 0.5), "on spider": (2, 0.5, 1),
    }  # fmt: skip
    assert {row["before"] for row in table.rows} == {0.25}
    assert isinstance(text, str)
    assert "4 wrong predictions of 2 models were labelled by reading**, by two readers," in text
    assert "first reader on **1 of 2 (50%)**; before, it agreed on 25%" in text
    assert "second reader on 2 of 4 (50%)" in text
    assert "**100% of the pocket errors and 50% of the Spider errors**" in text
    assert "where they disagree, the rule most often names wrong column (1)." in text
    cells = {(row["label"], row["named"]): row["errors"] for row in rows_of(figure)}
    assert cells == {("wrong column", "wrong column"): 3, ("nesting", "wrong column"): 1}
    assert isinstance(figure, Figure)
    assert figure.alt.endswith("Off it: nesting named wrong column 1")


def test_the_books_labels_are_found() -> None:
    found = failure_rule.labelled()
    assert len(found.errors) == 138
    for part, errors in found.parts.items():
        assert found.before[part.removeprefix("on ")][1] == len(errors)


def test_causes_named_for_broken_queries_are_compared_with_the_intended_ones(
    shop: Dataset,
) -> None:
    example = replace(
        shop.examples[0],
        query="SELECT id FROM customer WHERE id IN (SELECT customer_id FROM orders WHERE paid = 1)",
    )
    broken = failure_rule.broken_queries(shop.with_examples([example]))
    dropped = [each.named for each in broken if each.kind == "drop a condition"]
    assert dropped == ["missing join", "filter"]  # the outer condition took the subquery with it
    assert sum(not each.agrees for each in broken) == 1
    text, figure = failure_rule.causes_of_broken(broken)
    assert isinstance(text, str)
    assert f"for **{1 - 1 / len(broken):.1%}** of {len(broken)} broken queries" in text
    assert "of the 1 others: *drop a condition* named missing join (1)." in text
    rows = rows_of(figure)
    shares = {(row["mistake"], row["named"]): row["share"] for row in rows}
    assert shares["drop a condition", "missing join"] == 0.5
    assert shares["other value", "value"] == 1


def test_a_query_that_cannot_be_broken_shows_a_text(shop: Dataset) -> None:
    example = replace(shop.examples[0], query="SELECT 1")
    broken = failure_rule.broken_queries(shop.with_examples([example]))
    assert broken == []
    (text,) = failure_rule.causes_of_broken(broken)
    assert isinstance(text, str)
    assert "No gold query here can be broken" in text

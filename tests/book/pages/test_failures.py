"""The failure chapter's tables and charts of systems, from verdicts that are written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql import Dataset, load_dataset
from distill_sql.book.charts import specify
from distill_sql.book.pages import failures
from distill_sql.book.pages.failure_answers import Scores
from distill_sql.book.shown import Figure, Table
from distill_sql.scoring import Rules, ScoreReport, Verdict
from distill_sql.scoring.predictions import Prediction
from distill_sql.scoring.report import score

GOLD = "SELECT count(*) FROM customer"
RIGHT = Verdict(0, "shop", "easy", GOLD, GOLD, exec=True, failure_mode="ok")
OTHER_ORDER = replace(RIGHT, failure_mode="wrong-result")
WRONG = replace(
    RIGHT, pred_sql="SELECT name FROM customer", exec=False, failure_mode="wrong-result"
)
UNKNOWN = replace(
    RIGHT, pred_sql="SELECT nam FROM customer", exec=False, failure_mode="execution",
    error="no such column: nam",
)  # fmt: skip
JOIN = replace(WRONG, pred_sql="SELECT count(*) FROM customer JOIN orders")


def scores_of(dataset: Dataset, **verdicts: list[Verdict]) -> Scores:
    """Scores of systems with these verdicts, one per question of the dataset."""
    reports = {
        name: ScoreReport(tuple(replace(v, question_id=n) for n, v in enumerate(each)))
        for name, each in verdicts.items()
    }
    return Scores(
        data=dataset, neighbours=1, variants={}, answers={}, reports=reports, strict=reports,
        wide=reports, no_synonyms={},
    )  # fmt: skip


def rows_of(figure: object) -> list[dict[str, Any]]:
    """The records that a figure is drawn from."""
    assert isinstance(figure, Figure)
    (rows,) = specify(figure.chart)["datasets"].values()
    return list(rows)


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture
def scores(shop: Dataset) -> Scores:
    return scores_of(shop, bad=[WRONG, JOIN], good=[OTHER_ORDER, UNKNOWN])


@pytest.fixture
def nothing(shop: Dataset) -> Scores:
    return scores_of(shop)


def test_the_accuracies_have_intervals_over_databases_where_there_are_several(
    scores: Scores,
) -> None:
    table = failures.accuracies(scores)
    assert isinstance(table, Table)
    assert [(row["model"], row["accuracy"]) for row in table.rows] == [("bad", 0), ("good", 0.5)]
    assert {row["databases"] for row in table.rows} == {None}
    assert "none, with one database" in table.caption
    away = replace(scores.data.schema("shop"), db_id="away")
    moved = [scores.data.examples[0], replace(scores.data.examples[1], db_id="away")]
    data = replace(
        scores.data, examples=tuple(moved), schemas={**scores.data.schemas, "away": away}
    )
    split = scores_of(data, good=[RIGHT, replace(UNKNOWN, db_id="away")])
    two = failures.accuracies(split)
    assert isinstance(two, Table)
    assert two.rows[0]["databases"] is not None


def test_what_has_no_answers_shows_nothing(nothing: Scores) -> None:
    assert failures.accuracies(nothing) == (
        "There are no answers to analyse, so the rest of the page is empty."
    )
    assert failures.by_source(nothing) is None
    assert failures.bird_metrics(nothing, timings=0, deadline=1) is None
    assert failures.by_hardness(nothing) is None
    assert failures.endings(nothing) == []
    assert failures.causes(nothing) is None
    assert failures.all_wrong(nothing) is None


def test_only_pocket_knows_its_sources_and_only_bird_has_its_metrics(scores: Scores) -> None:
    assert failures.by_source(scores) is None
    assert failures.bird_metrics(scores, timings=0, deadline=1) is None


def test_on_pocket_accuracies_are_split_by_source() -> None:
    whole = load_dataset("pocket")
    one = {example.source: example for example in whole}
    data = whole.with_examples([one["generated"], one["handwritten"]])
    first, second = data

    def report(right: Mapping[str, str]) -> ScoreReport:
        answers = [Prediction(e.question_id, e.db_id, right.get(e.source, "")) for e in data]
        return score(answers, data, Rules())

    reports = {"one": report({"generated": first.query})}
    both = {"one": report({"generated": first.query, "handwritten": second.query})}
    scores = replace(
        scores_of(data), data=data, reports=reports, wide=reports, strict=reports, no_synonyms=both
    )
    table = failures.by_source(scores)
    assert table is not None
    shares = {
        row["group"]: (row["one database"], row["no synonyms in the schema"]) for row in table.rows
    }
    assert shares == {"all": (0.5, 1), "handwritten": (0, 1), "generated": (1, 1)}
    without = failures.by_source(replace(scores, no_synonyms={}))
    assert without is not None
    assert "no synonyms in the schema" not in without.formats


def test_bird_metrics_of_gold_queries_are_full_marks(shop: Dataset) -> None:
    data = replace(shop, name="bird")
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in data]
    empty = [replace(each, pred_sql="") for each in gold]
    scores = replace(
        scores_of(data, bad=[WRONG, WRONG], gold=[RIGHT, RIGHT]),
        answers={"gold": gold, "bad": empty},
    )
    table = failures.bird_metrics(scores, timings=0, deadline=10)
    assert table is not None
    assert [(row["model"], row["EX"], row["soft F1"], row["R-VES"]) for row in table.rows] == [
        ("bad", 0, 0, None), ("gold", 100, 100, None),
    ]  # fmt: skip


def test_hardness_is_drawn_for_levels_that_occur(shop: Dataset) -> None:
    hard = replace(UNKNOWN, hardness="hard")
    rows = rows_of(failures.by_hardness(scores_of(shop, good=[RIGHT, hard])))
    assert [(row["hardness"], row["accuracy"]) for row in rows] == [("easy", 1), ("hard", 0)]
    assert rows[0]["low"] < 1 == rows[0]["high"]
    none = replace(RIGHT, hardness=None)
    assert failures.by_hardness(scores_of(shop, good=[none, none])) is None


def test_endings_are_counted_and_compared_with_the_score(scores: Scores) -> None:
    figure, text = failures.endings(scores)
    counts = {(row["model"], row["mode"]): row["predictions"] for row in rows_of(figure)}
    assert counts == {
        ("bad", "wrong-result"): 2, ("good", "wrong-result"): 1, ("good", "execution"): 1,
    }  # fmt: skip
    assert text == "So **1** of 1 correct answers do not end as *ok*."


def test_causes_are_shares_of_each_systems_wrong_answers(scores: Scores) -> None:
    rows = rows_of(failures.causes(scores))
    assert [(row["model"], row["cause"], row["predictions"], row["share"]) for row in rows] == [
        ("bad", "aggregate", 1, 0.5), ("bad", "spurious join", 1, 0.5),
        ("good", "wrong column", 1, 1),
    ]  # fmt: skip


def test_every_wrong_answer_is_in_the_table(scores: Scores) -> None:
    table = failures.all_wrong(scores)
    assert table is not None
    assert [(row["model"], row["cause"], row["error"]) for row in table.rows] == [
        ("bad", "aggregate", ""), ("bad", "spurious join", ""),
        ("good", "wrong column", "no such column: nam"),
    ]  # fmt: skip
    assert table.rows[2]["question"] == scores.data.examples[1].question
    assert table.columns is not None
    assert set(table.columns) == set(table.rows[0])

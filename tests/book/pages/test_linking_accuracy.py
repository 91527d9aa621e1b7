"""What linking does to accuracy, on reports that are written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import linking_accuracy as page
from distill_sql.book.pages.linking_accuracy import Cut
from distill_sql.book.pages.linking_students import Answers, Plan
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.recipes import recipe_for
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.prompting.recall import lost_tables, recall_curve
from distill_sql.scoring import ScoreReport, Verdict
from distill_sql.scoring.comparison import Comparison, compare
from distill_sql.training.experiments import Experiment, Outcome
from distill_sql.training.splits import TrainingSet

RECIPE = recipe_for("pocket-s", seed=7)
BUDGET = 100


@pytest.fixture(scope="module")
def dev() -> Dataset:
    """Questions on two databases, some of which lose a gold table at 100 tokens."""
    data = load_dataset("pocket")
    first, second = data.db_ids[:2]
    chosen = [*data.only(first).examples[::10], *data.only(second).examples[::10]]
    return data.with_examples(chosen)


@pytest.fixture(scope="module")
def missing(dev: Dataset) -> set[int]:
    lost = lost_tables(dev, tokenizer_for(dev).count, budget=BUDGET, style="compact")
    found = {one.example.question_id for one in lost}
    assert 2 <= len(found) <= len(dev) - 2
    return found


def report(dev: Dataset, wrong: set[int]) -> ScoreReport:
    return ScoreReport(
        tuple(
            Verdict(e.question_id, e.db_id, "easy", e.query, "", exec=e.question_id not in wrong)
            for e in dev
        )
    )


def answers(dev: Dataset, missing: set[int], *, synonyms: bool = True) -> Answers:
    """Whole schemas answer all but the last question; at the budget, those that lack no table.

    Without synonyms the whole schema answers nothing. Taught at the budget, two questions are
    answered wrongly.
    """
    last = {dev.examples[-1].question_id}
    ids = [e.question_id for e in dev]
    taught = Experiment(replace(RECIPE, schema_tokens=BUDGET))
    whole, cut = Experiment(RECIPE), Experiment(RECIPE, schema_tokens=BUDGET)
    reports = [
        (whole, last), (cut, missing), (replace(whole, synonyms=False), set(ids)),
        (replace(cut, synonyms=False), missing), (taught, set(ids[:2])),
    ]  # fmt: skip
    outcomes = [
        Outcome(one, None, Path("p.jsonl"), report(dev, wrong))
        for one, wrong in reports
        if one.synonyms or synonyms
    ]
    plan = Plan(
        RECIPE, tokenizer_for(dev).count, TrainingSet((), (), 0, 0), dev, (BUDGET,),
        tuple(one.experiment for one in outcomes),
    )  # fmt: skip
    return Answers(plan, tuple(outcomes))


def test_accuracy_by_what_was_taught_and_asked(dev: Dataset, missing: set[int]) -> None:
    found = answers(dev, missing)
    table = page.accuracy_table(found)
    whole, cut, taught = table.rows
    [recall] = recall_curve(
        dev, found.plan.count, budgets=[BUDGET], strategies=["closure"], style="compact"
    )
    n = len(dev)
    assert [(row["taught"], row["asked"]) for row in table.rows] == [
        ("whole schema", "whole schema"), ("whole schema", "100 tokens"),
        ("100 tokens", "100 tokens"),
    ]  # fmt: skip
    assert [row["recall"] for row in table.rows] == [1.0, recall.recall, recall.recall]
    assert recall.recall == pytest.approx(1 - len(missing) / n)
    rights = [n - 1, n - len(missing), n - 2]
    assert [row["right"] for row in table.rows] == [right / n for right in rights]
    pair = compare(found.outcomes[0].report, found.outcomes[1].report)
    low, high = pair.clustered_interval
    assert whole["difference"] == ""
    assert cut["difference"] == f"{pair.difference:+.1%} ({low:+.1%} to {high:+.1%})"
    assert (whole["no synonyms"], whole["its difference"]) == (0, "")
    assert cut["no synonyms"] == (n - len(missing)) / n
    assert cut["its difference"].startswith(f"{1 - len(missing) / n:+.1%} (")
    assert (taught["no synonyms"], taught["its difference"]) == (None, None)
    assert f"on {n} dev questions of pocket" in table.caption
    assert "95 % intervals over 2 databases" in table.caption


def test_questions_written_by_hand_have_a_column(dev: Dataset, missing: set[int]) -> None:
    by_hand = {e.question_id for e in dev if e.source == "handwritten"}
    assert by_hand
    row = page.accuracy_table(answers(dev, missing)).rows[1]
    assert row["by hand"] == len(by_hand - missing) / len(by_hand)
    generated = dev.with_examples(e for e in dev if e.source != "handwritten")
    table = page.accuracy_table(answers(generated, missing))
    assert isinstance(table.columns, dict)
    assert "by hand" not in table.columns
    assert "by hand" not in table.formats


def test_columns_without_a_value_are_left_out(dev: Dataset, missing: set[int]) -> None:
    table = page.accuracy_table(answers(dev, missing, synonyms=False))
    assert isinstance(table.columns, dict)
    assert not {"no synonyms", "its difference"} & table.columns.keys()


def test_what_each_mistake_costs(dev: Dataset, missing: set[int]) -> None:
    """Only the first student counts, not the one that was taught at the budget."""
    found = answers(dev, missing)
    [cut] = page.cuts(found)
    last_lacks = dev.examples[-1].question_id in missing
    others = len(dev) - len(missing)
    assert (cut.budget, cut.lacking, cut.right, cut.others) == (BUDGET, len(missing), 0, others)
    assert cut.right_whole == len(missing) - last_lacks
    assert cut.difference is not None
    assert cut.difference.difference == pytest.approx((not last_lacks) / others)
    assert cut.bare is not None
    assert (cut.bare.n, cut.bare.difference) == (others, 1)
    [row] = page.cuts_table(found, [cut]).rows
    assert row["right, whole"] == cut.right_whole
    assert row["no synonyms"].startswith("+100.0% (")
    assert "gains at 100 tokens, with intervals above 0" in page.cuts_note([cut])


def test_a_question_that_loses_nothing_is_an_other_one(dev: Dataset, missing: set[int]) -> None:
    all_lack = dev.with_examples(e for e in dev if e.question_id in missing)
    found = answers(all_lack, missing)
    [cut] = page.cuts(found)
    assert (cut.others, cut.difference, cut.bare) == (0, None, None)
    [row] = page.cuts_table(found, [cut]).rows
    assert (row["difference"], row["no synonyms"]) == ("", "")
    assert page.cuts_note([cut]) == ""


def test_an_interval_that_reaches_0_is_no_gain() -> None:
    unclear = Comparison(10, 5, 6, 0, 1, databases=((5, 1), (5, 0)))
    assert unclear.clustered_interval[0] < 0
    assert page.cuts_note([Cut(100, 1, 0, 1, 9, unclear, unclear)]) == ""


def test_columns_of_the_mistakes_without_synonyms(dev: Dataset, missing: set[int]) -> None:
    found = answers(dev, missing, synonyms=False)
    [cut] = page.cuts(found)
    assert cut.bare is None
    table = page.cuts_table(found, [cut])
    assert isinstance(table.columns, dict)
    assert "no synonyms" not in table.columns


def test_the_conclusion(dev: Dataset, missing: set[int]) -> None:
    found = answers(dev, missing)
    pair = compare(found.outcomes[1].report, found.outcomes[-1].report)
    text = page.conclusion(found)
    assert f"changes accuracy at 100 tokens by {pair.difference * 100:+.1f} points (" in text
    assert "The most correct answers come with the whole schema." in text
    better = replace(found.outcomes[1], report=report(dev, set()))
    other = Answers(found.plan, (found.outcomes[0], better, found.outcomes[-1]))
    assert "answers come when asked with 100 tokens." in page.conclusion(other)
    untaught = replace(found.plan, taught=())
    assert page.conclusion(Answers(untaught, found.outcomes)).startswith("The most correct")

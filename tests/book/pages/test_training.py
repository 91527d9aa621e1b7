from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import training
from distill_sql.book.pages.ladder import BARE
from distill_sql.book.pages.training import BASE, DIRECT, DISTILLED

from . import students

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    return students.training_run(tmp_path_factory.mktemp("students"))


def test_the_plan_trains_one_student_and_asks_it_in_several_ways(tmp_path: Path) -> None:
    given = students.material()
    found = training.plan(students.setup(tmp_path), "pocket-s", given)
    assert [(one.recipe.name, one.way, len(one.traces), len(one.validation)) for one in found] == [
        ("pocket-s-base", "", 0, 0),
        ("pocket-s", "", 4, 2),
        ("pocket-s-direct", "", 4, 0),
        ("pocket-s-base", "no-synonyms", 0, 0),
        ("pocket-s", "no-synonyms", 4, 2),
        ("pocket-s", "grammar", 4, 2),
    ]
    other = replace(students.setup(tmp_path), dataset="spider")
    assert [(one.recipe.name, one.way) for one in training.plan(other, "1.5b", given)] == [
        ("1.5b-base", ""), ("1.5b", ""), ("1.5b", "grammar"),
    ]  # fmt: skip


def test_without_traces_nothing_is_trained(tmp_path: Path) -> None:
    assert training.train(students.setup(tmp_path), "pocket-s") is None


def test_outcomes_are_sorted_by_how_students_are_asked(run: training.Run) -> None:
    assert list(run.usual) == [BASE, DISTILLED, DIRECT]
    assert list(run.bare) == [BASE, DISTILLED]
    assert run.grammar.report.accuracy().correct == 5
    assert run.gain.strict.difference == pytest.approx(2 / 6)


def test_accuracy_and_forgiven_columns_of_every_student(run: training.Run) -> None:
    table = training.accuracy_table(run)
    assert [(row["student"], row["right"]) for row in table.rows] == [
        (name, letters.count("r") / 6) for name, letters in students.LETTERS.items()
    ]
    # SELECT 0 has no column to leave out.
    assert [row["kinder"] for row in table.rows] == [row["right"] for row in table.rows]
    assert "of pocket-s on 6 dev questions of pocket about" in table.caption
    assert training.gain_by_group(run).startswith("The change with further columns forgiven, by")


def test_pretraining_is_named_where_most_of_the_gain_is_form(run: training.Run) -> None:
    assert "pretrained" not in training.gain_by_group(run)  # no part of this gain is form
    form = replace(run.gain, kinder=replace(run.gain.kinder, runs_b=run.gain.kinder.runs_a))
    changed = replace(run)
    changed.__dict__["gain"] = form
    assert "pretrained" in training.gain_by_group(changed)


def test_conditions_and_synonyms(run: training.Run) -> None:
    found = training.under_conditions(run, neighbours=1)
    table = training.conditions_table(run, found)
    assert set(table.formats) == set(found.names)
    assert table.caption.startswith("Execution accuracy by source of the question, seed 42")
    assert "pocket's most similar training question" in table.caption
    assert BARE not in found.models[DIRECT]
    # Four of six with synonyms, one of six without.
    assert "accuracy is **+50.0 points** higher" in training.effect_of_synonyms(found)
    assert "forgiven is **+33.3 points**" in training.gain_on_neighbours(found)


def test_hardness_is_drawn_where_there_are_questions(run: training.Run) -> None:
    figure = training.hardness_chart(run)
    [rows] = figure.chart.to_dict()["datasets"].values()
    levels = {v.hardness for v in run.reports[BASE].verdicts}
    assert {row["questions"] for row in rows} == levels
    for row in rows:
        part = run.reports[row["student"]].accuracy(row["questions"])
        assert (row["accuracy"], row["low"], row["high"]) == (part.share, *part.interval)


def test_direct_traces_alone_are_compared_with_all(run: training.Run) -> None:
    words = training.without_reasoning(run)
    assert "changes accuracy by **-16.7 points**" in words  # four of six, and three
    assert "5 updates instead of 6" in words
    assert training.without_reasoning(replace(run, usual={BASE: run.usual[BASE]})) == ""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distill_sql.book.tables import table_html
from distill_sql.data.datasets import load_dataset
from distill_sql.errors import DatasetError
from distill_sql.scoring import ScoreReport, Verdict, hardness
from distill_sql.scoring.breakdown import (
    SEEN,
    UNSEEN,
    breakdown,
    group_by,
    parts,
    side_by_side,
)
from distill_sql.scoring.clusters import student_t

GROUPS = {0: "b", 1: "b", 2: "a", 3: "a"}


def report(answers: str) -> ScoreReport:
    """A report with one letter per question, r for right; the first two questions share a database,
    and so do the last two."""
    return ScoreReport(
        tuple(
            Verdict(number, "xy"[number // 2], "easy", "", "", exec=letter == "r")
            for number, letter in enumerate(answers)
        )
    )


def test_accuracy_by_group_by_hand() -> None:
    found = breakdown({"m": report("rrrw")}, GROUPS)
    assert [(r["model"], r["group"], r["questions"], r["correct"], r["share"]) for r in found] == [
        ("m", "all", 4, 3, 0.75), ("m", "b", 2, 2, 1.0), ("m", "a", 2, 1, 0.5),
    ]  # fmt: skip
    every, b, _ = found
    assert (every["databases"], b["databases"]) == (2, 1)
    assert math.isnan(b["low_databases"])
    # The databases' accuracies are 1 and 1/2. The variance of the mean 3/4 is 1/16, so there are 3
    # effective questions, with one degree of freedom.
    t = student_t(1)
    middle, spread = 3 / 4 + t * t / 6, t * math.sqrt(1 / 16 + t * t / 36)
    assert every["low_databases"] == pytest.approx((middle - spread) / (1 + t * t / 3))
    assert every["high_databases"] == pytest.approx((middle + spread) / (1 + t * t / 3))
    # Wilson's interval of 3 in 4, by hand.
    assert (round(every["low"], 3), round(every["high"], 3)) == (0.301, 0.954)


def test_questions_outside_the_groups_do_not_count() -> None:
    every, group = breakdown({"m": report("rrrw")}, {0: "b", 3: "b"})
    assert (every["questions"], every["share"]) == (group["questions"], group["share"]) == (2, 0.5)


def test_records_are_rows_of_a_table() -> None:
    shown = table_html(breakdown({"m": report("rrrw")}, GROUPS), caption="c")
    assert shown.count("<tr>") == 4  # the head is one


def test_conditions_are_columns_and_several_runs_are_averaged() -> None:
    found = side_by_side(
        {
            "m": {"as it is": [report("rrrw"), report("wrrw")], "no synonyms": report("wwww")},
            "floor": {"as it is": report("rwww")},
        },
        GROUPS,
    )
    assert found == [
        {"model": "m", "group": "all", "questions": 4, "as it is": 0.625, "no synonyms": 0.0},
        {"model": "m", "group": "b", "questions": 2, "as it is": 0.75, "no synonyms": 0.0},
        {"model": "m", "group": "a", "questions": 2, "as it is": 0.5, "no synonyms": 0.0},
        {"model": "floor", "group": "all", "questions": 4, "as it is": 0.25, "no synonyms": None},
        {"model": "floor", "group": "b", "questions": 2, "as it is": 0.5, "no synonyms": None},
        {"model": "floor", "group": "a", "questions": 2, "as it is": 0.0, "no synonyms": None},
    ]


def test_a_group_without_questions_has_no_accuracy() -> None:
    empty = report("rr")
    assert breakdown({"m": empty}, GROUPS)[2]["questions"] == 0
    assert side_by_side({"m": {"c": empty}}, GROUPS)[2]["c"] is None


def test_parts_are_a_partition() -> None:
    every, *rest = parts(report("rrrw"), GROUPS)
    assert every[0] == "all"
    ids = [verdict.question_id for _, part in rest for verdict in part.verdicts]
    assert sorted(ids) == [verdict.question_id for verdict in every[1].verdicts] == [0, 1, 2, 3]


def test_groups_of_pockets_questions() -> None:
    dev, train = load_dataset("pocket"), load_dataset("pocket", split="train")
    found = group_by("source", dev)
    assert found == {e.question_id: e.source for e in dev}
    assert list(dict.fromkeys(found.values())) == ["handwritten", "generated"]
    assert group_by("database", dev) == {e.question_id: e.db_id for e in dev}
    levels = group_by("hardness", dev)
    assert list(dict.fromkeys(levels.values())) == ["easy", "medium", "hard", "extra"]
    assert all(levels[e.question_id] == hardness(e.query) for e in dev)
    forms = group_by("skeleton", dev, train)
    known = {e.query for e in train}
    assert set(forms.values()) == {SEEN, UNSEEN}
    assert {forms[e.question_id] for e in dev if e.query in known} <= {SEEN}
    some = dev.only(dev.db_ids[0])
    assert group_by("source", some) == {e.question_id: found[e.question_id] for e in some}


def test_a_missing_source_or_training_split_is_an_error(toy_dataset: Path) -> None:
    with pytest.raises(DatasetError, match='one has no "source"'):
        group_by("source", load_dataset(toy_dataset))
    with pytest.raises(ValueError, match="give train"):
        group_by("skeleton", load_dataset(toy_dataset))

"""The labelled failures: what they contain, and that the rule agrees with them as the book says."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError
from distill_sql.scoring import Judge, Rules
from distill_sql.scoring.labels import (
    HELD_OUT,
    TUNING,
    Agreement,
    Labelled,
    agreement,
    between_readers,
    confusion,
    read_labels,
    with_second,
)
from distill_sql.sql.failures import CAUSES

FOLDER = Path(__file__).parents[2] / "book" / "results" / "failure_labels"
LABELS = read_labels(FOLDER / "labels.jsonl")
ONE = Labelled("d", "dev", 0, "db", "m", TUNING, "SELECT a FROM t", "SELECT b FROM t", "",
               "wrong column", "wrong column")  # fmt: skip


def test_the_set_is_large_enough_and_no_cause_dominates() -> None:
    assert len(LABELS) >= 120
    assert len({(each.dataset, each.model) for each in LABELS}) == 14
    assert Counter(each.dataset for each in LABELS) == {"pocket": 90, "spider": 48}
    assert max(Counter(each.label for each in LABELS).values()) < len(LABELS) / 4
    assert len({each.label for each in LABELS}) >= 12


def test_the_rule_agrees_with_the_labels() -> None:
    for half in (TUNING, HELD_OUT):
        found = agreement(each for each in LABELS if each.half == half)
        assert found.share > 0.83, half
        assert found.kappa > 0.80, half
    assert agreement(each for each in LABELS if each.dataset == "pocket").share > 0.93
    assert agreement(each for each in LABELS if each.dataset == "spider").share > 0.65


def test_two_readers_agree_better_than_the_rule_does() -> None:
    readers = between_readers(LABELS)
    assert readers.n == len(LABELS)
    assert readers.share > 0.93
    assert readers.kappa > 0.92
    # The second reader did not know the rule.
    assert with_second(LABELS) == agreement(replace(each, label=each.second) for each in LABELS)
    assert 0.85 < with_second(LABELS).share < readers.share


def test_the_confusion_matrix_has_every_error_once() -> None:
    cells = {(cell["label"], cell["named"]): cell["errors"] for cell in confusion(LABELS)}
    assert sum(cells.values()) == len(LABELS)
    right = sum(count for (label, named), count in cells.items() if label == named)
    assert right == agreement(LABELS).agreed


def test_the_halves_share_no_question() -> None:
    assert all((each.question_id % 2 == 0) == (each.half == TUNING) for each in LABELS)


def test_pocket_labels_are_of_wrong_answers_to_its_questions() -> None:
    _check(load_dataset("pocket"), [each for each in LABELS if each.dataset == "pocket"])


def test_spider_labels_are_of_wrong_answers_to_its_questions(spider_dev: Dataset) -> None:
    _check(spider_dev, [each for each in LABELS if each.dataset == "spider"])


def _check(dataset: Dataset, labels: list[Labelled]) -> None:
    examples = {example.question_id: example for example in dataset}
    for each in labels:
        assert examples[each.question_id].query == each.gold_sql
        assert examples[each.question_id].db_id == each.db_id
    with Judge(dataset, Rules(etype="exec")) as judge:
        pairs = [(examples[each.question_id], each.pred_sql) for each in labels]
        found = list(judge.verdicts(pairs))
    assert not any(verdict.exec for verdict in found)
    assert [verdict.error for verdict in found] == [each.error for each in labels]


def test_the_manifest_and_the_licence_are_beside_the_labels() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert "language-model" in manifest["labelled_by"]
    assert "blind" in manifest["labelled_by"]
    before = manifest["rule_before"]["agreement"]
    assert before["all"] == [sum(n) for n in zip(before["tuning"], before["held out"], strict=True)]
    assert before["all"][1] == len(LABELS)
    assert "CC BY-SA 4.0" in (FOLDER / "README.md").read_text()


def test_agreement_by_hand() -> None:
    """3 of 4 agree, by chance (3 * 2 + 1 * 2) / 16 would: kappa is (3/4 - 1/2) / (1 - 1/2)."""
    aggregate = replace(ONE, pred_sql="SELECT count(a) FROM t")
    four = [ONE, ONE, aggregate, replace(aggregate, label="aggregate")]
    assert [each.named for each in four] == ["wrong column", "wrong column"] + ["aggregate"] * 2
    assert agreement(four) == Agreement(4, 3, 0.5)
    assert confusion(four)[1:] == [
        {"label": "wrong column", "named": "aggregate", "errors": 1, "share": 1 / 3},
        {"label": "wrong column", "named": "wrong column", "errors": 2, "share": 2 / 3},
    ]
    assert between_readers([replace(one, second=one.named) for one in four]) == agreement(four)
    low, high = agreement(four).interval  # Wilson's interval for 3 of 4, from a table
    assert (round(low, 3), round(high, 3)) == (0.301, 0.954)
    assert math.isnan(agreement([ONE]).kappa)
    assert math.isnan(agreement([]).share)
    assert all(map(math.isnan, agreement([]).interval))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (asdict(ONE) | {"label": "typo"}, "line 2: found the label 'typo'"),
        (asdict(ONE) | {"second": "typo"}, "line 2: found the label 'typo'"),
        ({"label": CAUSES[0]}, "line 2: found no dataset, split"),
        ([], "line 2: found no dataset, split"),
    ],
)
def test_a_line_without_a_valid_label_is_named(tmp_path: Path, line: object, expected: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{json.dumps(asdict(ONE))}\n{json.dumps(line)}\n")
    with pytest.raises(DatasetError, match=expected):
        read_labels(path)

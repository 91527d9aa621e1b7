"""The recorded comparison of the two kinds of lessons, scored again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import DatasetError
from distill_sql.runs.worth import KINDS, PRETRAINING, recorded

FOLDER = Path(__file__).parents[2] / "book" / "results" / "pretraining"


def test_the_recorded_predictions_score_as_recorded() -> None:
    found = recorded(FOLDER, load_dataset("pocket"))
    assert {one.model for one in found} == set(KINDS)
    for name in KINDS:
        seeds = [one.seed for one in found if one.model == name]
        assert None in seeds
        assert len(seeds) >= 4
    for one in found:
        right = one.report.accuracy()
        assert (right.n, right.correct) == (one.manifest["questions"], one.manifest["correct"])


def test_the_two_models_differ_only_in_their_lessons() -> None:
    one, other = (json.loads((FOLDER / name / PRETRAINING).read_text()) for name in KINDS)
    assert one["tokens"] == pytest.approx(other["tokens"], rel=0.001)
    assert {one["shape"].pop("kind"), other["shape"].pop("kind")} == {"benchmark", "drawn"}
    assert one["shape"] == other["shape"]
    assert one["batch"] == other["batch"]


def test_a_record_on_other_questions_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "s-drawn" / "base"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text('{"dataset": {"name": "pocket", "examples": 3}}')
    message = r"on 3 questions of pocket; expected 510 of pocket.*distill_sql\.runs\.worth"
    with pytest.raises(DatasetError, match=message):
        recorded(tmp_path, load_dataset("pocket"))
    assert recorded(tmp_path / "nowhere", load_dataset("pocket")) == []

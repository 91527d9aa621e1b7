"""Records of controls: written, read, and scored again, those of the book included."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError
from distill_sql.files import read_json
from distill_sql.models.recipes import Recipe
from distill_sql.runs.controls import __main__ as command
from distill_sql.runs.controls.records import comparisons, recorded, write_record
from distill_sql.runs.controls.sets import AGAINST, CONTROLS
from distill_sql.runs.records import PREDICTIONS
from distill_sql.teacher.traces import Trace
from distill_sql.training import experiments
from distill_sql.training.experiments import Experiment, run_experiments

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

RESULTS = Path(__file__).resolve().parents[3] / "book" / "results" / "controls"


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(6)


def test_records_are_scored_again_and_compared_over_seeds(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiments, "DEV_ANSWER_TOKENS", 4)
    assert recorded(tmp_path / "out", dev) == []
    for control, some in (("distilled", traces[:8]), ("gold", traces[8:16])):
        plan = [Experiment(replace(recipe, seed=seed), tuple(some)) for seed in (1, 2)]
        done = run_experiments(plan, dev, tmp_path / "work", framework="torch", processes=1)
        for outcome in done:
            place = write_record(outcome, control, tmp_path / "out")
    assert {path.name for path in place.iterdir()} == {"predictions.json", "losses.json",
                                                       "manifest.json"}  # fmt: skip
    found = recorded(tmp_path / "out", dev)
    assert [(one.control, one.seed) for one in found] == [
        ("distilled", 1), ("distilled", 2), ("gold", 1), ("gold", 2),
    ]  # fmt: skip
    for one in found:
        assert one.report.accuracy().correct == one.manifest["correct"]
        assert (one.manifest["traces"], one.manifest["questions"]) == (8, 6)
        assert one.manifest["hardware"]["cores"] > 0
    answers = json.loads((place / PREDICTIONS).read_text())
    assert [answer["question_id"] for answer in answers] == [e.question_id for e in dev]
    assert {"question_id", "pred_sql"} == answers[0].keys()
    [(name, control, gain)] = comparisons(found, dev)
    assert (name, control, gain.strict.n, gain.kinder.n) == ("pocket-s", "gold", 6, 6)
    assert (len(gain.strict.runs_a), len(gain.strict.runs_b)) == (2, 2)
    with pytest.raises(DatasetError, match="on 6 questions of pocket; expected 3 of pocket"):
        recorded(tmp_path / "out", dev.limit(3))


def test_the_command_trains_records_and_resumes(
    recipe: Recipe,
    traces: list[Trace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(experiments, "DEV_ANSWER_TOKENS", 4)
    monkeypatch.setattr(command, "recipe_for", lambda name, **_: replace(recipe, name=name))
    monkeypatch.setattr(command, "read_traces", lambda _: traces[:16])
    arguments = [
        "--out", str(tmp_path / "out"), "--students", str(tmp_path / "work"), "--recipes",
        "pocket-s", "--seeds", "1", "--questions", "3", "--processes", "1",
    ]  # fmt: skip
    assert command.main([*arguments, "--only", "distilled", "gold", "direct", "both"]) == 0
    assert capsys.readouterr().out.count("out/pocket-s-") == 4
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("adapter_model.*")}
    assert len(stamps) == 4
    assert command.main([*arguments, "--only", "distilled", "gold", "direct", "both"]) == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("adapter_model.*")}
    nowhere = ["--answers", str(tmp_path / "none.sqlite"), "--only", "unfiltered"]
    assert command.main([*arguments, *nowhere]) == 2
    assert "No answers of the teacher at" in capsys.readouterr().err


def test_the_books_recorded_controls_score_as_recorded() -> None:
    if not RESULTS.is_dir():
        pytest.skip(
            f"no controls are recorded: there is no {RESULTS.relative_to(RESULTS.parents[3])}"
        )
    dev = load_dataset("pocket")
    found = recorded(RESULTS, dev)
    assert found
    for one in found:
        right = one.report.accuracy()
        assert (right.n, right.correct) == (one.manifest["questions"], one.manifest["correct"])
        assert one.control in CONTROLS
        updates = read_json(one.folder / "losses.json")["updates"]
        assert len(updates) == one.manifest["training"]["updates"]
    # The book's sentence on a control needs three seeds or more, and equal numbers of updates.
    for name in {one.recipe for one in found}:
        ours = [one for one in found if one.recipe == name]
        for control in {one.control for one in ours}:
            assert len([one for one in ours if one.control == control]) >= 3, (name, control)
    for name, control, gain in comparisons(found, dev):
        counts = {
            one.manifest["training"]["updates"]
            for one in found
            if one.recipe == name and one.control in (control, AGAINST[control])
        }
        assert len(counts) == 1, (name, control, gain)

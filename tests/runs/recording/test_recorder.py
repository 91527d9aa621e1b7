"""A plan is executed piece by piece; stopped and killed work continues, finished work stays."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import OutOfTime, ParameterError, TrainingError
from distill_sql.files import read_json
from distill_sql.runs.recording import recorder as module
from distill_sql.runs.recording.plan import Plan
from distill_sql.runs.records import MANIFEST, evaluations_in

from .conftest import Recorded

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def copied(recorded: Recorded, tmp_path: Path) -> Recorded:
    """The recorded results and their state, in folders that a test may change."""
    for name in ("state", "results"):
        shutil.copytree(getattr(recorded, name), tmp_path / name)
    return replace(recorded, state=tmp_path / "state", results=tmp_path / "results")


def test_every_piece_has_its_record(recorded: Recorded) -> None:
    assert {one.status for one in recorded.recorder().states()} == {"done"}
    folder = recorded.results / "distilled" / "42"
    training, losses = read_json(folder / MANIFEST), read_json(folder / "losses.json")
    assert (training["plan"], training["student"], training["seed"]) == (
        "pocket-tiny", "distilled", 42,
    )  # fmt: skip
    assert training["traces"]["traces"] == 200
    assert training["inputs"]["training"]["traces"] == training["traces"]["sha256"]
    assert training["training"]["learned"] == 16
    assert training["training"]["updates"] == len(losses["updates"]) == 2
    assert training["training"]["tokens_per_second"] > 0
    assert 2**26 < training["training"]["peak_memory"] < 2**35
    about = read_json(folder / f"pocket-dev.{MANIFEST}")
    dev = load_dataset("pocket").limit(12)
    assert about["dataset"] == dev.description()
    assert about["adapter"] == training["adapter"]
    assert about["exec"]["questions"] == 12
    assert about["neighbours"]["count"] == 1
    assert about["generation"]["tokens_per_second"] > 0
    assert about["git"].keys() == {"commit", "dirty"}
    text = (folder / "pocket-dev.json").read_text()
    answers = json.loads(text)
    assert [set(one) for one in answers] == [{"question_id", "pred_sql", "raw_text"}] * 12
    assert len(text.splitlines()) == 12 + 2
    grammar = read_json(folder / f"pocket-dev-grammar.{MANIFEST}")
    assert grammar["asked"]["grammar"]
    assert grammar["neighbours"] is None


def test_records_have_no_text_of_the_dataset_and_no_folder(recorded: Recorded) -> None:
    asked = load_dataset("pocket").examples[0]
    for path in recorded.results.rglob("*.json"):
        text = path.read_text()
        assert asked.question not in text
        assert "CREATE TABLE" not in text
        assert str(recorded.state.parent) not in text
        assert str(Path(recorded.plan.traces).parent) not in text


def test_students_of_a_comparison_make_equal_updates(recorded: Recorded) -> None:
    found = [read_json(recorded.results / name / "42" / MANIFEST) for name in ("distilled", "gold")]
    assert [one["learns"] for one in found] == ["traces", "gold"]
    assert len({one["training"]["updates"] for one in found}) == 1
    assert len({one["training"]["learned"] for one in found}) == 1


def test_what_is_done_is_not_computed_again(
    copied: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.results.rglob("*.*")}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    for name in ("train_experiment", "run_experiment", "keep_adapter"):
        monkeypatch.setattr(module, name, never)
    copied.recorder(keep="distilled").run()
    assert before == {path: path.stat().st_mtime_ns for path in copied.results.rglob("*.*")}


def test_work_that_runs_out_of_time_continues(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every session ends after its first update or batch; the end is that of one session."""
    folders = replace(recorded, state=tmp_path / "state", results=tmp_path / "results")
    only, sessions = ["distilled/42/pocket-dev"], 0
    stops = []

    def stop_within(self: object, **_: object) -> None:
        """In place of the check before a piece: no time is left once the piece has begun."""

    monkeypatch.setattr(module.Recorder, "_check_time", stop_within)
    while True:
        sessions += 1
        try:
            folders.recorder(stop_at=0.0).run(only)
        except OutOfTime as error:
            stops.append(str(error))
            status = {one.piece.name: one.status for one in folders.recorder().states(only)}
            assert "begun" in status.values()
            continue
        break
    assert stops[0].startswith("The time limit was reached after 1 of 2 updates")
    assert sessions == len(stops) + 1
    one, whole = (
        read_json(folder.results / "distilled" / "42" / MANIFEST) for folder in (folders, recorded)
    )
    assert one["sessions"] == 2
    assert one["training"]["updates"] == whole["training"]["updates"]
    names = ("losses.json", "pocket-dev.json")
    for name in names:
        first, second = (
            read_json(folder.results / "distilled" / "42" / name) for folder in (folders, recorded)
        )
        if name == "losses.json":
            first, second = (
                [update["loss"] for update in one["updates"]] for one in (first, second)
            )
            assert first == pytest.approx(second, rel=1e-4)
        else:
            assert first == second


def test_nothing_begins_after_the_time_limit(recorded: Recorded, tmp_path: Path) -> None:
    folders = replace(recorded, state=tmp_path / "state", results=tmp_path / "results")
    with pytest.raises(OutOfTime, match="after 0 of 9 pieces"):
        folders.recorder(stop_at=time.monotonic()).run()
    assert evaluations_in(tmp_path / "results") == []


def test_a_changed_plan_is_refused_and_finished_pieces_stay(
    copied: Recorded, written: Callable[..., Plan]
) -> None:
    plan = written(changes={'"database"}\namount': '"database", rank = 8}\namount'})
    changed = replace(copied, plan=plan).recorder()
    with pytest.raises(ParameterError) as error:
        changed.run()
    message = str(error.value)
    assert "6 pieces were recorded with other inputs" in message
    assert "distilled/42/training: recipe.rank was 32, now 8" in message
    assert "another name in the plan, or delete its files in" in message
    assert "base/42/pocket-dev" not in message
    changed.run(["base", "gold"])  # all done
    shutil.rmtree(copied.results / "distilled")
    changed.run(["distilled/42/training"])
    about = read_json(copied.results / "distilled" / "42" / MANIFEST)
    assert about["overridden"] == {"grouping": "database", "rank": 8}


def test_an_adapter_that_is_gone_is_trained_again(copied: Recorded) -> None:
    shutil.rmtree(copied.state)
    evaluation = copied.results / "gold" / "42" / f"pocket-dev.{MANIFEST}"
    before = read_json(evaluation)
    evaluation.unlink()
    told: list[str] = []
    copied.recorder(tell=told.append).run(["gold"])
    assert any("it is trained again" in line for line in told)
    assert read_json(evaluation)["adapter"] == before["adapter"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("adapter", "0" * 64, "it is another student"), ("state", "pocket-s-0", "of another student")],
)
def test_an_evaluation_of_another_student_is_refused(
    copied: Recorded, name: str, value: str, message: str
) -> None:
    folder = copied.results / "gold" / "42"
    (folder / f"pocket-dev.{MANIFEST}").unlink()
    about = read_json(folder / MANIFEST)
    (folder / MANIFEST).write_text(json.dumps(about | {name: value}))
    with pytest.raises(TrainingError, match=message):
        copied.recorder().run(["gold"])
    assert not (folder / f"pocket-dev.{MANIFEST}").exists()


def test_only_a_trained_students_adapter_is_kept(copied: Recorded) -> None:
    with pytest.raises(ParameterError, match="there are distilled, gold"):
        copied.recorder(keep="base").run()
    shutil.rmtree(copied.state / "students")
    shutil.rmtree(copied.results / "distilled" / "42" / "adapter")
    with pytest.raises(TrainingError, match="Keep an adapter in the command that trains it"):
        copied.recorder(keep="distilled").run()


def test_a_student_without_enough_traces_is_an_error(
    recorded: Recorded, tmp_path: Path, trace_file: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(trace_file.read_text().splitlines(keepends=True)[:5]))
    plan: Any = replace(recorded.plan, traces=str(few))
    folders = replace(recorded, plan=plan, state=tmp_path / "s", results=tmp_path / "r")
    with pytest.raises(TrainingError, match="fewer than a batch"):
        folders.recorder().run(["distilled/42/training"])

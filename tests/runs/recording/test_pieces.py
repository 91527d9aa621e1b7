"""Pieces are selected by name, and a change of their inputs is found and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.errors import ParameterError
from distill_sql.files import read_json, write_json
from distill_sql.runs.recording import work
from distill_sql.runs.recording.pieces import changes, inputs_of, pieces_of, selected, state_of
from distill_sql.runs.recording.plan import Plan
from distill_sql.runs.recording.sources import Sources
from distill_sql.runs.recording.work import alone, begun, working

from .conftest import Recorded


def test_pieces_come_in_the_order_of_execution(written: Callable[..., Plan]) -> None:
    assert [piece.name for piece in pieces_of(written())] == [
        "base/42/pocket-dev",
        "distilled/42/training", "distilled/42/pocket-dev", "distilled/42/pocket-dev-grammar",
        "distilled/43/training", "distilled/43/pocket-dev", "distilled/43/pocket-dev-grammar",
        "gold/42/training", "gold/42/pocket-dev",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([], 9),
        (["distilled"], 6),
        (["distilled/43/"], 3),
        (["distilled/43/pocket-dev"], 2),  # with its training
        (["base", "gold/42/training"], 2),
    ],
)
def test_names_select_pieces(written: Callable[..., Plan], names: list[str], count: int) -> None:
    assert len(selected(pieces_of(written()), names)) == count


def test_an_unknown_name_is_an_error(written: Callable[..., Plan]) -> None:
    with pytest.raises(ParameterError, match=r"No piece 'destilled'.*Did you mean 'distilled'"):
        selected(pieces_of(written()), ["destilled"])


@pytest.mark.parametrize(
    ("old", "new", "pieces", "message"),
    [
        ("limit = 12\nneighbours = 1", "limit = 11\nneighbours = 1", 4, "examples was 12, now 11"),
        ("seeds = [42, 43]", "seeds = [42, 44]", 0, ""),
        ("validation = 4", "validation = 3", 8, "training.validation was 4, now 3"),
        ("grammar = true", "schema_tokens = 90", 2, "evaluation.schema_tokens was None, now 90"),
        ('"database"}\namount', '"database", rank = 8}\namount', 6, "recipe.rank was 32, now 8"),
    ],
)
def test_what_a_change_of_the_plan_concerns(
    recorded: Recorded, written: Callable[..., Plan], old: str, new: str, pieces: int, message: str
) -> None:
    plan = written(changes={old: new})
    states = replace(recorded, plan=plan).recorder().states()
    changed = [one for one in states if one.status == "changed"]
    assert len(changed) == pieces
    assert all(any(message in change for change in one.changes) for one in changed)
    missing = [one.piece.folder for one in states if one.status == "missing"]
    assert set(missing) == ({"distilled/44"} if "44" in new else set())


def test_changed_traces_concern_all_who_learn_from_them(
    recorded: Recorded, trace_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(trace_file.read_text().splitlines(keepends=True)[1:]))
    plan = replace(recorded.plan, traces=str(other))
    states = replace(recorded, plan=plan).recorder().states()
    assert [one.status for one in states] == ["done"] + ["changed"] * 8
    assert "training.traces was" in states[1].changes[0]


def test_a_value_that_recipes_did_not_have_is_no_change(recorded: Recorded, tmp_path: Path) -> None:
    piece = pieces_of(recorded.plan)[0]
    inputs = inputs_of(piece, Sources(recorded.plan, recorded.state), "torch")
    about = read_json(recorded.results / piece.manifest)
    assert about["inputs"] == inputs
    del about["inputs"]["recipe"]["grouping"]
    (tmp_path / piece.manifest).parent.mkdir(parents=True)
    write_json(tmp_path / piece.manifest, about)
    assert state_of(piece, inputs, tmp_path, tmp_path).status == "done"


def test_changes_are_told_by_place() -> None:
    old = {"a": {"b": 1, "c": [1, {"d": 2}]}, "gone": 3}
    new = {"a": {"b": 2, "c": [1, {"d": 5}]}, "new": None}
    assert changes(old, new) == ["a.b was 1, now 2", "a.c.1.d was 2, now 5", "gone was 3, now None"]


def test_sessions_with_the_same_inputs_add_up(tmp_path: Path) -> None:
    for number in (1, 2):
        with working(tmp_path, "a/1/b", {"seed": 1}) as session:
            assert session.number == number
        assert begun(tmp_path, "a/1/b")["seconds"] >= session.before
    with working(tmp_path, "a/1/b", {"seed": 2}) as session:
        assert (session.number, session.before) == (1, 0.0)
    assert begun(tmp_path, "other") == {}


def test_a_session_that_is_killed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds are in the file while it goes on."""
    monkeypatch.setattr(work, "BEAT", 0.01)
    with work.working(tmp_path, "a/1/b", {"seed": 1}) as session:
        written, deadline = 0.0, time.monotonic() + 10
        while written < 0.05 and time.monotonic() < deadline:
            written = begun(tmp_path, "a/1/b")["seconds"]
        assert 0.05 <= written <= session.seconds


def test_two_commands_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(ParameterError, match="Another command works in"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass

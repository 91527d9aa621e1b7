"""``distill-sql record``: its list, its limits, and its messages."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.teacher.traces import Trace

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def command(tmp_path: Path, traces: list[Trace]) -> list[str]:
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(asdict(trace)) + "\n" for trace in traces))
    folders = ["--state", str(tmp_path / "state"), "--results", str(tmp_path / "results")]
    return ["record", "pocket-tiny", "--traces", str(file), *folders]


def test_the_list_shows_what_is_done_begun_and_missing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--list"]) == 0
    before = capsys.readouterr().out.splitlines()
    assert before[0].split() == ["piece", "status", "seconds"]
    assert before[1].split() == ["base/42/pocket-dev", "missing", "-"]
    assert before[-1] == "0 of 9 pieces are done"
    assert not (tmp_path / "state").exists()
    assert main([*command, "--only", "base"]) == 0
    after = capsys.readouterr().out.splitlines()
    assert after[0] == "base/42/pocket-dev: begins"
    assert "% right" in after[1]
    assert after[-1] == "1 of 1 pieces are done"
    assert main([*command, "--hours", "1e-9"]) == 0
    ended = capsys.readouterr().out
    assert "The time limit was reached after 1 of 9 pieces" in ended
    assert "1 of 9 pieces are done" in ended


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--hours", "0"], "--hours 0: expected more than 0"),
        (["--hours", "nan"], "expected more than 0"),
        (["--micro-batch", "0"], "--micro-batch 0: expected 1 or more"),
        (["--only", "nothing"], "No piece 'nothing' in the plan"),
        (["--keep-adapter", "base"], "--keep-adapter base"),
    ],
)
def test_mistakes_are_messages(
    command: list[str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([*command, *more]) == 2
    assert message in capsys.readouterr().err


def test_a_plan_that_is_not_there_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "nowhere.toml"]) == 2
    assert "nowhere.toml does not exist" in capsys.readouterr().err

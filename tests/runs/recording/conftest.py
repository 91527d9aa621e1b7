"""A plan on pocket that takes seconds, its traces, and its recorded results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from distill_sql.runs.recording.plan import Plan, read_plan
from distill_sql.runs.recording.recorder import Recorder
from distill_sql.teacher.traces import Trace

from ...conftest import ROOT
from ...students import pocket_train, traces  # noqa: F401

PLAN = ROOT / "book" / "plans" / "pocket-tiny.toml"


@pytest.fixture(scope="session")
def trace_file(traces: list[Trace], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("traces") / "pocket.jsonl"
    path.write_text("".join(json.dumps(asdict(trace)) + "\n" for trace in traces))
    return path


@pytest.fixture
def written(tmp_path: Path, trace_file: Path) -> Callable[..., Plan]:
    """Writes the tiny plan with some of its text replaced, and reads it."""

    def write(**replaced: Any) -> Plan:
        text = PLAN.read_text()
        for old, new in replaced.pop("changes", {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return read_plan(path, traces=str(trace_file))

    return write


@dataclass(frozen=True)
class Recorded:
    """Folders of a plan that was executed, and the lines that were told."""

    plan: Plan
    state: Path
    results: Path
    told: tuple[str, ...]

    def recorder(self, **options: Any) -> Recorder:
        return Recorder(
            **{"plan": self.plan, "state": self.state, "results": self.results,
               "framework": "torch", "progress": False, "tell": lambda _: None, **options}
        )  # fmt: skip


@pytest.fixture(scope="session")
def recorded(trace_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    pytest.importorskip("trl", reason="the extra train is not installed")
    folder = tmp_path_factory.mktemp("recorded")
    plan, told = read_plan(PLAN, traces=str(trace_file)), []
    made = Recorded(plan, folder / "state", folder / "results", ())
    made.recorder(keep="distilled", tell=told.append).run()
    return Recorded(plan, made.state, made.results, tuple(told))

"""The linking chapter trains students where there are traces; elsewhere it says what to run."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.teacher.traces import Trace
from tests.training.test_chapter import executed, made

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_students_taught_at_a_budget_and_on_whole_schemas_are_asked_at_it(
    traces: list[Trace], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "Qwen2.5-0.5B-Instruct")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    given = tmp_path / "traces.jsonl"
    given.write_text("".join(json.dumps(asdict(trace)) + "\n" for trace in traces[:32]))
    page = executed(
        "03_linking", tmp_path, size="0.5b", traces=str(given), asked=[100], budgets=[100, 500]
    )
    assert made(tmp_path) == ["0.5b", "0.5b"]  # one for the whole schema, one for the budget
    assert "Teaching at the budget instead of on whole schemas changes accuracy at 100" in page
    predictions = sorted((tmp_path / "students").rglob("predictions*.manifest.json"))
    asked = [json.loads(path.read_text()) for path in predictions]
    ways = sorted(
        (one["overridden"].get("schema_tokens", 0), one["schema_tokens"]) for one in asked
    )
    # Taught on whole schemas with the synonyms and without; taught at the budget with them.
    assert ways == sorted([(0, 0), (0, 100)] * 2 + [(100, 100)])


def test_without_a_size_the_section_says_what_makes_it(toy_dataset: Path, tmp_path: Path) -> None:
    page = executed("03_linking", tmp_path, dataset=str(toy_dataset), budgets=[50, 500])
    assert "No student is trained here." in page
    assert "-p size SIZE -p traces FILE" in page
    assert not (tmp_path / "students").exists()

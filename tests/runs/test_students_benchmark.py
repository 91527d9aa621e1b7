"""The benchmark of students: what it measures, and that it is recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.files import write_json_lines
from distill_sql.models import torch_backend
from distill_sql.models.recipes import recipe_for
from distill_sql.runs import measured
from distill_sql.runs import students_benchmark as benchmark
from distill_sql.teacher.traces import Trace


def test_a_student_is_trained_in_both_ways_and_scored(traces: list[Trace], tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    write_json_lines(path, map(asdict, traces[:16]))
    dev = load_dataset("pocket").limit(4)
    found = benchmark.accuracy_by_precision(recipe_for("pocket-s"), path, dev)
    assert found["mixed_is_bfloat16"] == torch_backend.multiplies_bfloat16()
    assert {found[name] * 4 % 1 for name in ("mixed", "float32")} == {0}


def test_what_was_measured_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "measure", lambda options: {"mixed": 0.75, "rows": 3})
    words = ["benchmark", "precision", "--recipe", "pocket-s", "--traces", "/far/t.jsonl"]
    monkeypatch.setattr("sys.argv", words)
    benchmark.main()
    assert "mixed" in capsys.readouterr().out
    assert not measured.folder().exists()
    monkeypatch.setattr("sys.argv", [*words, "--record"])
    benchmark.main()
    found = measured.read_measurements(measured.folder() / "measurements.jsonl")
    assert {name: one.value for name, one in found.items()} == {
        "precision.pocket-s.mixed": 0.75,
        "precision.pocket-s.rows": 3.0,
    }
    assert found["precision.pocket-s.mixed"].command.endswith(
        "distill_sql.runs.students_benchmark precision --recipe pocket-s --traces t.jsonl"
    )


def test_what_a_measurement_needs_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, needs in (("precision", "--traces"), ("train", "--config and --tokenizer")):
        monkeypatch.setattr("sys.argv", ["benchmark", what])
        with pytest.raises(SystemExit):
            benchmark.main()
        assert f"{what} needs {needs}" in capsys.readouterr().err

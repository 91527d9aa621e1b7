"""The benchmark of the scorer records what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql.runs import measured
from distill_sql.runs import scoring_benchmark as benchmark


def test_every_time_that_is_printed_is_recorded(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    lines = [{"question_id": n, "db_id": "shop", "pred_sql": "SELECT 1"} for n in range(2)]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command = [str(path), str(path), "--dataset", str(toy_dataset), "--rounds", "1", "--record"]
    assert benchmark.main(command) == 0
    printed = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:5]]
    found = measured.read_measurements(measured.folder() / "measurements.jsonl")
    assert [f"{found[f'scoring.{name}'].value:.2f}" for name in ("cold", "known", "match")] == (
        printed[:3]
    )
    assert {one.unit for one in found.values()} == {"s"}
    assert str(tmp_path) not in (measured.folder() / "measurements.jsonl").read_text()

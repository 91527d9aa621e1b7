from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.pocket import materialized


def test_the_folder_of_the_benchmark_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pocket"]) == 0
    assert capsys.readouterr().out.strip() == str(materialized())


def test_an_existing_folder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pocket", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_a_path_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    assert main(["pocket", str(tmp_path / "file" / "below")]) == 2
    assert "file cannot be written" in capsys.readouterr().err
    assert main(["pocket", str(tmp_path / "link")]) == 2
    assert "already exists" in capsys.readouterr().err


def test_two_processes_can_build_at_once(tmp_path: Path) -> None:
    code = "from distill_sql.pocket import materialized; print(len(list(materialized().iterdir())))"
    environment = {"DISTILL_SQL_CACHE": str(tmp_path), "PATH": ""}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert {out.strip() for out, _ in answers} == {"5"}
    assert len(list((tmp_path / "pocket").iterdir())) == 1


def test_versions_unused_for_long_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recent version may be in use by another checkout, so it stays."""
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path))
    young, old, other = (tmp_path / "pocket" / name for name in ("a" * 16, "b" * 16, "notes"))
    for folder, days in ((young, 1), (old, 30), (other, 30)):
        folder.mkdir(parents=True)
        os.utime(folder, times=(time.time() - days * 86_400,) * 2)
    module = sys.modules[materialized.__module__]  # the package has a function of its name
    monkeypatch.setattr(module, "build", lambda target, **_: target.mkdir())
    materialized.cache_clear()
    try:
        target = materialized()
    finally:
        materialized.cache_clear()
    assert sorted(path.name for path in target.parent.iterdir()) == sorted(
        ["a" * 16, "notes", target.name]
    )

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill_sql.settings import book_root, work_folder

ROOT = Path(__file__).resolve().parents[1]
#: Where chapters find one another's files, as a notebook imports it.
FOLDERS = """
from distill_sql.settings import work_folder
from distill_sql.teacher import traces
from distill_sql.training import experiments
print(traces.chapter_file("pocket"), experiments.FOLDER, work_folder(), sep="\\n")
"""


def test_chapters_find_the_same_files_from_the_root_and_from_jupyterlab() -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", FOLDERS], cwd=folder, capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ).stdout.splitlines()
        for folder in (ROOT, ROOT / "notebooks")
    ]  # fmt: skip
    assert found[0] == found[1]
    work = ROOT / "book" / ".work"
    assert found[0] == [str(work / "traces" / "pocket.jsonl"), str(work / "students"), str(work)]


def test_the_nearest_book_counts_and_without_one_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    (inner / "notebooks" / "deep").mkdir(parents=True)
    assert book_root(inner) is None
    (tmp_path / "outer" / "_toc.yml").touch()  # without notebooks/ it is no book
    assert book_root(inner) is None
    (inner / "_toc.yml").touch()
    assert book_root(inner / "notebooks" / "deep") == inner
    monkeypatch.chdir(tmp_path)
    assert work_folder() == tmp_path / "book" / ".work"

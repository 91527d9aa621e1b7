from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_sql.settings import DATASET_VARIABLES, VARIABLES, book_root, work_folder

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


# --- Environment variables ------------------------------------------------------------------------

#: Variables of launchers, of Jupyter and of OpenMP. They are theirs to document.
OF_OTHERS = {
    "JUPYTER_PATH", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "RANK", "WORLD_SIZE",
}  # fmt: skip


LOOK_UPS = {"os.environ.get", "os.environ.pop", "os.environ.setdefault", "os.getenv"}


def variables_read(source: str) -> Iterator[str]:
    """Names that a module looks up in ``os.environ``: literals, and its constants."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=function, args=[key, *_]) if ast.unparse(function) in LOOK_UPS:
                pass
            case ast.Subscript(value=place, slice=key) if ast.unparse(place) == "os.environ":
                pass
            case ast.Compare(left=key, comparators=[place]) if ast.unparse(place) == "os.environ":
                pass
            case _:
                continue
        match key:
            case ast.Constant(value=str(name)):
                yield name
            case ast.Name(id=name) if isinstance(constants.get(name), str):
                yield str(constants[name])


def test_lookups_are_found_however_they_are_written() -> None:
    source = """
KEY = "C"
os.environ.get("A", ""), os.environ["B"], os.environ.get(KEY), "D" in os.environ, os.getenv("E")
os.environ.get(name), other.get("F"), os.environ.pop("G")
"""
    assert sorted(variables_read(source)) == ["A", "B", "C", "D", "E", "G"]


def test_every_environment_variable_that_the_package_reads_is_in_the_table() -> None:
    found = {
        name
        for path in sorted((ROOT / "distill_sql").rglob("*.py"))
        for name in variables_read(path.read_text())
    }
    assert found - OF_OTHERS <= VARIABLES.keys()
    assert found >= OF_OTHERS
    assert VARIABLES.keys() <= found | set(DATASET_VARIABLES.values())

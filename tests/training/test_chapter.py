"""The training and scaling chapters train students when traces and weights are available."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.files import read_json
from distill_sql.teacher.traces import Trace

jupytext = pytest.importorskip("jupytext", reason="the extra book is not installed")
papermill = pytest.importorskip("papermill", reason="the extra book is not installed")
pytest.importorskip("trl", reason="the extra train is not installed")

CHAPTERS = Path(__file__).resolve().parents[2] / "notebooks"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def executed(chapter: str, folder: Path, **parameters: Any) -> str:
    """The page of a chapter, executed with parameters on a few questions."""
    source = folder / "chapter.ipynb"
    jupytext.write(jupytext.read(CHAPTERS / f"{chapter}.md"), source)
    notebook = papermill.execute_notebook(
        str(source), str(folder / "done.ipynb"), kernel_name="python3", progress_bar=False,
        parameters=parameters | {"students": str(folder / "students"), "questions": 6},
    )  # fmt: skip
    return json.dumps(notebook)


@pytest.fixture
def given(traces: list[Trace], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of traces. The tiny model replaces the weights of Qwen2.5-0.5B.

    The traces claim to be on sixteen databases, so that one of them is held out for validation.
    """
    shutil.copytree(tiny, tmp_path / "Qwen2.5-0.5B-Instruct")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    path = tmp_path / "traces.jsonl"
    spread = [replace(one, db_id=f"db{n % 16}") for n, one in enumerate(traces[:64])]
    path.write_text("".join(json.dumps(asdict(trace)) + "\n" for trace in spread))
    return str(path)


def made(folder: Path) -> list[str]:
    """The recipes of the students that a chapter trained or asked."""
    return sorted(path.name.rpartition("-")[0] for path in (folder / "students").iterdir())


def test_chapter_4_trains_and_scores_on_the_traces_it_is_given(given: str, tmp_path: Path) -> None:
    page = executed(
        "04_training", tmp_path, size="0.5b", traces=given, seed=7, micro_batch=4,
        precision="float32",
    )  # fmt: skip
    assert "8 updates over" in page
    assert "The learning rate over 8 updates, those of the student below." in page
    assert "overridden here: style, precision, seed." in page
    assert "Loss of 0.5b over 1 epoch" in page
    assert "4 traces on 1 database held out from training" in page
    assert "Validation loss ends at" in page
    assert "on 6 dev questions of pocket" in page
    assert "With further columns forgiven, distillation changes accuracy by" in page
    assert "nearest question" in page
    # The base's answers without synonyms are in the folder of the base.
    assert made(tmp_path) == ["0.5b", "0.5b-base", "0.5b-direct"]
    records = [read_json(path) for path in tmp_path.glob("students/*/manifest.json")]
    changes = {record["recipe"]: record["overridden"] for record in records}
    told = {"seed": 7, "style": "compact", "precision": "float32"}  # the style of the traces
    assert changes == {"0.5b": told, "0.5b-direct": told}
    whole = next(record for record in records if record["recipe"] == "0.5b")
    assert (whole["micro_batch"], whole["precision"]) == (4, "float32")
    assert (whole["training"]["learned"], whole["training"]["validation"]) == (60, 4)
    asked = [read_json(path)["way"] for path in tmp_path.glob("students/*/predictions*.json")]
    assert sorted(asked) == ["", "", "", "grammar", "no-synonyms", "no-synonyms"]


def test_chapter_6_trains_every_size_and_several_amounts(given: str, tmp_path: Path) -> None:
    page = executed(
        "06_scaling", tmp_path, sizes=["0.5b"], seeds=[1, 2], amounts=[16, 32], traces=given
    )
    assert "(mean of 2 seeds)" in page
    assert "the mean of 2 seeds, with the lowest and the highest" in page
    assert "Execution accuracy of 0.5b against the number of traces" in page
    assert "Validation loss on 4 traces, after the last update" in page
    assert made(tmp_path) == ["0.5b"] * 4 + ["0.5b-base"]
    records = [read_json(path) for path in tmp_path.glob("students/0.5b-*/manifest.json")]
    assert sorted(record["training"]["learned"] for record in records) == [16, 32, 60, 60]
    measured = [record["training"]["validation"] for record in records]
    assert sorted(measured) == [0, 0, 4, 4]  # only runs on all traces are drawn

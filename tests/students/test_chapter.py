"""The training chapter trains, where traces and weights are there."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.traces import Trace

jupytext = pytest.importorskip("jupytext", reason="the extra book is not installed")
papermill = pytest.importorskip("papermill", reason="the extra book is not installed")
pytest.importorskip("torch", reason="the extra train is not installed")

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "04_training.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_chapter_4_trains_on_the_traces_it_is_given(
    traces: list[Trace], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "Qwen2.5-0.5B-Instruct")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    (tmp_path / "traces.jsonl").write_text(
        "".join(json.dumps(asdict(trace)) + "\n" for trace in traces[:64])
    )
    source = tmp_path / "chapter.ipynb"
    jupytext.write(jupytext.read(CHAPTER), source)
    notebook = papermill.execute_notebook(
        str(source), str(tmp_path / "done.ipynb"), kernel_name="python3", progress_bar=False,
        parameters={"traces": str(tmp_path / "traces.jsonl"), "out": str(tmp_path / "run"),
                    "seed": 7},
    )  # fmt: skip
    page = json.dumps(notebook)
    assert "8 updates over" in page
    assert "overridden here: seed." in page
    assert "Loss of 0.5b over one epoch" in page
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert record["overridden"] == {"seed": 7}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()

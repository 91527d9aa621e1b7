"""Figures that a chapter notes: kept in the executed notebook, but not displayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.book import figures

nbformat = pytest.importorskip("nbformat", reason="the extra book is not installed")


def test_noted_figures_move_from_outputs_to_metadata(tmp_path: Path) -> None:
    v4 = nbformat.v4
    outputs = [
        v4.new_output("stream", text="shown"),
        v4.new_output("display_data", {figures.OUTPUT: {"name": "a", "value": 0.5, "unit": ""}}),
        v4.new_output("display_data", {"text/html": "<p>shown</p>"}),
        v4.new_output("display_data", {figures.OUTPUT: {"name": "b.c", "value": 3, "unit": "s"}}),
    ]
    cells = [v4.new_markdown_cell("text"), v4.new_code_cell("code", outputs=outputs)]
    notebook = v4.new_notebook(cells=cells)
    figures.keep(notebook)
    assert [output.output_type for output in notebook.cells[1].outputs] == [
        "stream", "display_data",
    ]  # fmt: skip
    path = tmp_path / "n.ipynb"
    path.write_text(nbformat.writes(notebook))
    nbformat.validate(notebook)
    assert figures.OUTPUT not in path.read_text()
    assert figures.noted(path) == {
        "a": {"value": 0.5, "unit": ""},
        "b.c": {"value": 3, "unit": "s"},
    }


def test_a_noted_figure_is_an_output_that_is_not_displayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    figures.note("students.pocket-l", 1, "s")
    assert shown == [
        ({figures.OUTPUT: {"name": "students.pocket-l", "value": 1.0, "unit": "s"}}, True)
    ]
    with pytest.raises(ValueError, match="a figure cannot be called"):
        figures.note("Of Students", 1)
    with pytest.raises(ValueError, match="could not convert"):
        figures.note("a", "text")  # type: ignore[arg-type]
    assert len(shown) == 1

"""Chapters are prose with calls: short cells, no functions, and nothing hidden from the reader."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("jupytext", reason="the extra book is not installed")

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
#: Lines of code in one cell, and in one chapter, at most.
CELL, CHAPTER = 12, 90
#: Cells with these tags teach, or are read by papermill; they may be longer.
EXEMPT = {"lesson", "solution", "parameters"}


@dataclass(frozen=True)
class Cell:
    tags: frozenset[str]
    source: str

    @property
    def lines(self) -> int:
        return sum(bool(line.strip()) for line in self.source.splitlines())


@cache
def cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a chapter."""
    import jupytext

    notebook = jupytext.reads(path.read_text(), fmt="md:myst")
    return tuple(
        Cell(frozenset(cell.metadata.get("tags", ())), cell.source)
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest) -> tuple[Cell, ...]:
    return cells(request.param)


def test_every_chapter_has_cells(chapter: tuple[Cell, ...]) -> None:
    assert len(chapter) > 1
    assert sum("parameters" in cell.tags for cell in chapter) == 1


def test_cells_are_short(chapter: tuple[Cell, ...]) -> None:
    long = {cell.source: cell.lines for cell in chapter if not cell.tags & EXEMPT}
    assert {source: n for source, n in long.items() if n > CELL} == {}


def test_a_chapter_has_little_code(chapter: tuple[Cell, ...]) -> None:
    assert sum(cell.lines for cell in chapter if not cell.tags & EXEMPT) <= CHAPTER


def test_functions_are_in_the_library(chapter: tuple[Cell, ...]) -> None:
    defined = [
        node.name
        for cell in chapter
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert defined == []


def test_set_up_can_be_unfolded(chapter: tuple[Cell, ...]) -> None:
    """A cell that imports, loads or trains is collapsed, not removed."""
    assert [cell.source for cell in chapter if "remove-cell" in cell.tags] == []

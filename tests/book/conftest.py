"""Small books in a temporary folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_sql.book import Book

ROOT = Path(__file__).resolve().parents[2]

MakeBook = Callable[..., Book]


@pytest.fixture
def make_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBook:
    """``make_book(**chapters)``: a book whose chapters have these cells; see :func:`write_book`."""
    isolate(monkeypatch)
    return lambda **chapters: write_book(tmp_path, **chapters)


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's datasets, and let kernels in another folder import this package."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("SPIDER_DIR", "BIRD_DIR"):
        monkeypatch.delenv(variable, raising=False)


def write_book(root: Path, **chapters: tuple[str, ...]) -> Book:
    """A book in ``root``. A chapter is the text of its parameters cell, then of its other cells."""
    book = Book(root=root)
    (root / "book").mkdir()
    (root / "book" / "preface.md").write_text("# Preface\n\nWords.\n")
    book.notebooks.mkdir()
    entries = "".join(f"- file: book/chapters/{name}\n" for name in chapters)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/preface\nchapters:\n{entries}")
    for name, cells in chapters.items():
        (book.notebooks / f"{name}.md").write_text(chapter_text(*cells))
    return book


def chapter_text(parameters: str, *cells: str) -> str:
    """The MyST text of a chapter."""
    text = f"# A chapter\n\n```{{code-cell}} ipython3\n:tags: [parameters]\n\n{parameters}\n```\n"
    return text + "".join(f"\n```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells)


def copy_site_sources(book: Book) -> None:
    """Give ``book`` the configuration, style and browser packages of the real one."""
    shutil.copy(ROOT / "_config.yml", book.root)
    shutil.copy(ROOT / "book" / "references.bib", book.root / "book")
    shutil.copytree(ROOT / "book" / "_static", book.static)
    shutil.copytree(
        ROOT / "third_party",
        book.root / "third_party",
        ignore=shutil.ignore_patterns("node_modules"),
    )

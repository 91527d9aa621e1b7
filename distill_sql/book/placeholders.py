"""Placeholder pages for chapters that were never executed.

So links to such a chapter work; its page says how to add it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_sql import files
from distill_sql.book.chapters import Chapter
from distill_sql.book.layout import Book

# The beginning of a placeholder, to recognize one that a killed build left behind.
_BEGINNING = '{"metadata": {"distill_sql_placeholder": true}'


def never_executed(book: Book) -> list[str]:
    """The chapters without an executed version, in reading order."""
    return [name for name in book.chapter_names if not _was_executed(_path(book, name))]


@contextmanager
def placeholders(book: Book) -> Iterator[None]:
    """Put a page in the place of each chapter that was never executed, during the build."""
    names = never_executed(book)
    try:
        for name in names:
            files.write_text(_path(book, name), _page(Chapter.load(book, name)))
        yield
    finally:
        for name in names:
            _path(book, name).unlink(missing_ok=True)


def _page(chapter: Chapter) -> str:
    titles = (line[2:] for line in chapter.text.splitlines() if line.startswith("# "))
    text = (
        f"# {next(titles, chapter.name)}\n\nThis chapter was not executed for this build. To add "
        f"it, with the parameters that you gave the others:\n\n```shell\n{adding(chapter.name)}\n"
        "```\n"
    )
    cell = {"cell_type": "markdown", "metadata": {}, "source": text}
    rest = json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 4})
    return f"{_BEGINNING}, {rest.removeprefix('{')}"


def adding(name: str) -> str:
    """The command that executes a chapter and adds it to the pages."""
    return f"distill-sql book build --chapter {name}"


def _was_executed(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(len(_BEGINNING)) != _BEGINNING


def _path(book: Book, name: str) -> Path:
    return book.chapters / f"{name}.ipynb"

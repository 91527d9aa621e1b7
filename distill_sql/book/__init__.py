"""The book: chapters are text, papermill executes them, Jupyter Book builds the pages.

:mod:`~distill_sql.book.chapters` reads chapters and their parameters,
:mod:`~distill_sql.book.cache` decides whether an executed chapter is up to date,
:mod:`~distill_sql.book.execute` executes one, :mod:`~distill_sql.book.site` builds the pages, and
:mod:`~distill_sql.book.build` does all of this in order.
"""

from __future__ import annotations

from distill_sql.book.layout import Book, find_book

__all__ = ["Book", "find_book"]

"""The book: chapters are text, papermill executes them, Jupyter Book makes the pages.

:mod:`~distill_sql.book.chapters` knows the source format and its parameters,
:mod:`~distill_sql.book.cache` when an executed chapter still holds,
:mod:`~distill_sql.book.execute` runs one, :mod:`~distill_sql.book.site` builds the pages and
:mod:`~distill_sql.book.build` does all of it in order.
"""

from __future__ import annotations

from distill_sql.book.layout import Book, find_book

__all__ = ["Book", "find_book"]

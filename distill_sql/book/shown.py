"""What a chapter shows: tables, figures and text, made by a function and displayed by :func:`show`.

A chapter's functions (:mod:`distill_sql.book.pages`) return these, so that they can be tested
without a notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distill_sql.book import charts, tables

if TYPE_CHECKING:
    import altair


@dataclass(frozen=True)
class Table:
    """A table with its caption; ``rows`` are records, one mapping per row.

    The other fields are the options of :func:`~distill_sql.book.tables.table_html`.
    """

    rows: Sequence[Mapping[str, Any]]
    caption: str
    columns: Mapping[str, str] | Sequence[str] | None = None
    formats: Mapping[str, tables.Format] = field(default_factory=dict)
    filters: Sequence[str] = ()
    search: bool = False
    code: Sequence[str] = ()
    page: int | None = None


@dataclass(frozen=True)
class Figure:
    """A chart with its caption, and the text that is read in its place."""

    chart: altair.TopLevelMixin
    caption: str
    alt: str


#: One thing that a chapter shows; a text is Markdown.
Shown = Table | Figure | str


def show(*parts: Shown | Iterable[Shown] | None) -> None:
    """Display parts in their order; None, an empty text and an empty list show nothing."""
    from IPython.display import Markdown, display

    for part in parts:
        if isinstance(part, Table):
            tables.show_table(
                part.rows, caption=part.caption, columns=part.columns, formats=part.formats,
                filters=part.filters, search=part.search, code=part.code, page=part.page,
            )  # fmt: skip
        elif isinstance(part, Figure):
            charts.show(part.chart, caption=part.caption, alt=part.alt)
        elif isinstance(part, str):
            if part:
                display(Markdown(part))  # type: ignore[no-untyped-call]
        elif part is not None:
            show(*part)

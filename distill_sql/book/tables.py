"""Tables of the book: plain HTML that is readable on a phone and can be sorted and filtered.

:func:`show_table` renders and escapes every row in Python. ``book/_static/book.js`` adds sorting,
filters and paging by moving and hiding these rows; it never builds HTML from values. Without
scripts the whole table is shown.
"""

from __future__ import annotations

import html
import math
import numbers
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

if TYPE_CHECKING:
    import pandas

Format = str | Callable[[Any], str]

_MISSING = "\N{EN DASH}"  # shown for a missing value
_LONG_TEXT = 30  # characters; columns with longer texts keep a readable width on a phone


class Options(TypedDict, total=False):
    """The options of :func:`table_html`."""

    columns: Sequence[str] | Mapping[str, str] | None
    formats: Mapping[str, Format] | None
    filters: Sequence[str]
    search: bool
    code: Sequence[str]
    page: int | None


def show_table(
    table: pandas.DataFrame | Iterable[Mapping[str, Any]],
    *,
    caption: str,
    **options: Unpack[Options],
) -> None:
    """Display a table, with the options of :func:`table_html`."""
    from IPython.display import display

    shown = table_html(table, caption=caption, **options)
    display({"text/html": shown, "text/plain": caption}, raw=True)  # type: ignore[no-untyped-call]


def table_html(
    table: pandas.DataFrame | Iterable[Mapping[str, Any]],
    *,
    caption: str,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    formats: Mapping[str, Format] | None = None,
    filters: Sequence[str] = (),
    search: bool = False,
    code: Sequence[str] = (),
    page: int | None = None,
) -> str:
    """The table as HTML.

    ``table`` is a pandas DataFrame (without its index) or an iterable of mappings. ``columns``
    selects and orders columns; a mapping also gives their titles. ``formats`` has a format
    specification (``".1%"``) or a function per column. ``filters`` are columns with few values,
    each with a menu. ``search`` adds a text search over all columns. ``code`` columns have a
    fixed-width font and wrap. ``page`` is the number of rows shown at first.

    >>> "<td class=\\"ds-number\\" data-value=\\"0.5\\">50.0%</td>" in table_html(
    ...     [{"size": "0.5b", "accuracy": 0.5}], caption="Students", formats={"accuracy": ".1%"}
    ... )
    True
    """
    if not caption.strip():
        raise ValueError("a table needs a caption")
    rows = _rows(table)
    titles = _titles(rows, columns)
    known = titles.keys()
    for name in (*filters, *code, *(formats or {})):
        if name not in known:
            raise ValueError(f"no column {name!r} in the table: it has {', '.join(known)}")
    numeric = {name for name in known if _is_numeric([row.get(name) for row in rows])}
    head = "".join(
        f'<th scope="col"{_attribute("class", "ds-number" if name in numeric else "")}'
        f"{' data-filter' if name in filters else ''}>{html.escape(title)}</th>"
        for name, title in titles.items()
    )
    body = _body(rows, list(known), formats=formats or {}, numeric=numeric, code=code)
    options = f"{' data-search' if search else ''}{_attribute('data-page', str(page or ''))}"
    return (
        f'<figure class="ds-figure ds-table"{options}>'
        f"<figcaption>{html.escape(caption)}</figcaption>"
        f'<div class="ds-scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def _body(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    formats: Mapping[str, Format],
    numeric: Collection[str],
    code: Collection[str],
) -> str:
    """The rows of a table as HTML."""
    long = {
        name
        for name in columns
        if name not in numeric and any(len(str(row.get(name, ""))) > _LONG_TEXT for row in rows)
    }
    cells = (
        "".join(
            _cell(
                row.get(name),
                format=formats.get(name),
                numeric=name in numeric,
                long=name in long,
                code=name in code,
            )
            for name in columns
        )
        for row in rows
    )
    return "".join(f"<tr>{row}</tr>" for row in cells)


def _rows(table: pandas.DataFrame | Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if hasattr(table, "to_dict"):
        return [
            {str(name): value for name, value in row.items()} for row in table.to_dict("records")
        ]
    return list(table)


def _titles(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    present = list(dict.fromkeys(name for row in rows for name in row))
    if columns is None:
        return {name: name.replace("_", " ") for name in present}
    if missing := [name for name in columns if rows and name not in present]:
        raise ValueError(f"no column {missing[0]!r} in the table: it has {', '.join(present)}")
    if isinstance(columns, Mapping):
        return dict(columns)
    return {name: name.replace("_", " ") for name in columns}


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, numbers.Real) and math.isnan(value)


def _is_numeric(values: Iterable[Any]) -> bool:
    present = [value for value in values if not _is_missing(value)]
    return bool(present) and all(
        isinstance(value, numbers.Real) and not _is_bool(value) for value in present
    )


def _is_bool(value: Any) -> bool:
    return type(value).__name__ in {"bool", "bool_"}  # numpy has its own class


def _cell(value: Any, *, format: Format | None, numeric: bool, long: bool, code: bool) -> str:
    if _is_missing(value):
        text = _MISSING
    elif callable(format):
        text = format(value)
    elif format is not None:
        text = f"{value:{format}}"
    elif _is_bool(value):
        text = "yes" if value else "no"
    elif isinstance(value, numbers.Integral):
        text = f"{int(value):,}"
    elif isinstance(value, numbers.Real):
        text = f"{float(value):.4g}"
    else:
        text = str(value)
    content = html.escape(text)
    if code and not _is_missing(value):
        content = f"<code>{content}</code>"
    # Sorting needs the value itself, since the shown text is rounded and has separators.
    sort_value = str(float(value)) if numeric and not _is_missing(value) else ""
    style = "ds-number" if numeric else "ds-long" if long else ""
    return f"<td{_attribute('class', style)}{_attribute('data-value', sort_value)}>{content}</td>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{html.escape(value)}"' if value else ""

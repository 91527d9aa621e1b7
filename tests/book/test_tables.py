from __future__ import annotations

import math
from html.parser import HTMLParser

import pandas as pd
import pytest

from distill_sql.book.tables import table_html


class Cells(HTMLParser):
    """Attributes and text of every cell, and the tags seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in {"td", "th"}:
            self.cells.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cells:
            attributes, text = self.cells[-1]
            self.cells[-1] = (attributes, text + data)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.cells]


def test_a_frame_and_its_records_make_the_same_table() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert table_html(frame, caption="c") == table_html(frame.to_dict("records"), caption="c")


def test_values_are_text_never_markup() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    page = Cells(table_html([{hostile: hostile}], caption=hostile, code=[hostile]))
    assert "script" not in page.tags
    assert page.texts == [hostile, hostile]


def test_numbers_align_right_and_sort_by_their_value() -> None:
    rows = [{"n": 1234, "share": 0.5, "name": "x"}, {"n": None, "share": math.nan, "name": None}]
    page = Cells(table_html(rows, caption="c", formats={"share": ".1%"}))
    assert page.texts[3:] == ["1,234", "50.0%", "x", "–", "–", "–"]
    assert page.cells[3][0] == {"class": "ds-number", "data-value": "1234.0"}
    assert page.cells[4][0] == {"class": "ds-number", "data-value": "0.5"}
    assert page.cells[5][0] == {}
    assert page.cells[6][0] == {"class": "ds-number"}


def test_booleans_are_shown_as_yes_and_no() -> None:
    frame = pd.DataFrame({"match": [True, False]})
    assert Cells(table_html(frame, caption="c")).texts == ["match", "yes", "no"]


def test_columns_choose_order_and_name() -> None:
    rows = [{"a_b": 1, "c": 2}]
    assert Cells(table_html(rows, caption="c")).texts == ["a b", "c", "1", "2"]
    assert Cells(table_html(rows, caption="c", columns=["c"])).texts == ["c", "2"]
    named = table_html(rows, caption="c", columns={"c": "Sea", "a_b": "Bee"})
    assert Cells(named).texts == ["Sea", "Bee", "2", "1"]


def test_options_are_left_for_the_script() -> None:
    rows = [{"kind": "a", "sql": "SELECT 1"}]
    page = table_html(rows, caption="c", filters=["kind"], search=True, page=20, code=["sql"])
    assert '<th scope="col" data-filter>kind</th>' in page
    assert 'data-search data-page="20"' in page
    assert "<td><code>SELECT 1</code></td>" in page


@pytest.mark.parametrize(
    "options", [{"columns": ["x"]}, {"filters": ["x"]}, {"formats": {"x": ".1f"}}, {"code": ["x"]}]
)
def test_an_unknown_column_is_named(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no column 'x' in the table: it has a"):
        table_html([{"a": 1}], caption="c", **options)  # type: ignore[arg-type]


def test_a_caption_is_required_and_no_rows_are_fine() -> None:
    with pytest.raises(ValueError, match="caption"):
        table_html([], caption=" ")
    assert "<tbody></tbody>" in table_html([], caption="c", columns=["a"])

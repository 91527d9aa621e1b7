from __future__ import annotations

from typing import Any

import altair as alt
import pytest

from distill_sql.book.shown import Figure, Table, show


def test_parts_are_shown_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda part, **_: shown.append(part))
    bars = alt.Chart(alt.Data(values=[{"x": 1, "y": 2}])).mark_bar().encode(x="x:Q", y="y:Q")
    table = Table([{"size": "s", "right": 0.5}], "Right answers", formats={"right": ".1%"})
    show("First.", None, "", [table, Figure(bars, "Bars", "One bar of height 2")])
    text, found, figure = shown
    assert text.data == "First."
    assert "50.0%" in found["text/html"]
    assert found["text/plain"] == "Right answers"
    assert figure["text/plain"] == "One bar of height 2"

"""Charts of the book: one Altair theme for light and dark pages, drawn without a network.

:func:`show` puts a figure into the page: the Vega-Lite specification as JSON, a static picture, a
caption and an alternative text. ``book/_static/book.js`` draws the specification with the local
copy of Vega, and redraws it when the reader changes the theme. Without scripts (in JupyterLab, or
without JavaScript), the static picture stays.

Charts with a single view or with layers have the width of the page. Vega-Lite cannot fit facets and
concatenations to a width, so they scroll sideways if they are wider than the page.
"""

from __future__ import annotations

import base64
import copy
import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

# Contrast of 3:1 or better on the white and the dark page, and distinguishable with the common
# colour-vision deficiencies. Index i is the same series in both.
LIGHT = ("#0067a8", "#c9500a", "#579f90", "#a81d62", "#593902", "#1b2230")
DARK = ("#58b2ea", "#f28a4b", "#49d1b3", "#a46390", "#897319", "#d6e7ff")

_FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', "
    "'Liberation Sans', Arial, sans-serif"
)
_THEME = "distill_sql"
# Specifications that Vega-Lite cannot fit to a container; it can fit single views and layers.
_COMPOSED = frozenset({"facet", "row", "column", "repeat", "concat", "hconcat", "vconcat"})
_STATIC_WIDTH = 640


def show(chart: altair.TopLevelMixin, *, caption: str, alt: str) -> None:
    """Display ``chart`` as a figure of the book.

    ``caption`` stands beside the chart. ``alt`` replaces it for readers who cannot see it, and says
    what the chart shows. Raises ValueError if either is empty.
    """
    from IPython.display import display

    figure = figure_html(chart, caption=caption, alt=alt)
    display({"text/html": figure, "text/plain": alt}, raw=True)  # type: ignore[no-untyped-call]


def figure_html(chart: altair.TopLevelMixin, *, caption: str, alt: str) -> str:
    """The figure of :func:`show` as HTML: static picture, specification, caption."""
    if not caption.strip() or not alt.strip():
        raise ValueError("a figure needs a caption and an alt text")
    specification = specify(chart)
    specification["description"] = alt
    payload = {"spec": specification, "dark": config(dark=True)}
    # In JSON, "<" occurs only in strings. It is escaped so that no value can end the script
    # element.
    embedded = json.dumps(payload, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    picture = base64.b64encode(static_svg(specification).encode()).decode()
    source = f"data:image/svg+xml;base64,{picture}"
    return (
        '<figure class="ds-figure ds-chart">'
        '<div class="ds-view">'
        f'<img class="ds-static" alt="{html.escape(alt)}" src="{source}">'
        "</div>"
        f'<script type="application/json" class="ds-spec">{embedded}</script>'
        f"<figcaption>{html.escape(caption)}</figcaption>"
        "</figure>"
    )


def specify(chart: altair.TopLevelMixin) -> dict[str, Any]:
    """The Vega-Lite specification of ``chart`` in the book's theme, as wide as its container."""
    import altair

    @altair.theme.register(_THEME, enable=False)
    def theme() -> altair.theme.ThemeConfig:
        return {"config": config(dark=False)}  # type: ignore[typeddict-item]

    with altair.theme.enable(_THEME):
        specification: dict[str, Any] = chart.to_dict()
    parts = specification.keys() | specification.get("encoding", {}).keys()
    if not _COMPOSED & parts and "width" not in specification:
        specification["width"] = "container"
        specification["autosize"] = {"type": "fit-x", "contains": "padding"}
        # Horizontal labels if there is room; a small facet keeps Vega-Lite's vertical ones.
        specification["config"]["axisXDiscrete"] = {"labelAngle": 0}
    return specification


def static_svg(specification: Mapping[str, Any]) -> str:
    """``specification`` as SVG in the light colours, 640 pixels wide if its width is free."""
    import vl_convert

    fixed = copy.deepcopy(dict(specification))
    if fixed.get("width") == "container":
        fixed["width"] = _STATIC_WIDTH
    return str(vl_convert.vegalite_to_svg(fixed))


def config(*, dark: bool) -> dict[str, Any]:
    """The theme as a Vega-Lite ``config``; light and dark differ only in colours.

    A chart must not name colours, since they come from the theme: encode a column, and order the
    scale's domain if a series should keep its colour.
    """
    ink, muted, grid = (
        ("#d8dee6", "#a3afbd", "#36404c") if dark else ("#1f2933", "#52606d", "#e3e7ec")
    )
    colours = list(DARK if dark else LIGHT)
    ramp = (
        ["#1d2b3a", "#2c5f8a", "#58b2ea", "#c9e6fa"]
        if dark
        else ["#e8f1f8", "#8fc1e3", "#2f83bd", "#0b3d63"]
    )
    diverging = (
        ["#f28a4b", "#7a4a30", "#39424d", "#2c5f8a", "#58b2ea"]
        if dark
        else ["#c9500a", "#eeb48f", "#eef0f3", "#8fc1e3", "#0067a8"]
    )
    text = {"labelColor": muted, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    quiet = text | {"titleFontWeight": 500}
    return {
        "background": "transparent",
        "font": _FONT,
        "view": {"stroke": None, "continuousHeight": 280, "continuousWidth": _STATIC_WIDTH},
        "axis": quiet
        | {
            "gridColor": grid,
            "domainColor": muted,
            "tickColor": muted,
            "titlePadding": 10,
            "labelLimit": 220,
        },
        "axisQuantitative": {"domain": False, "ticks": False, "labelPadding": 6, "tickCount": 6},
        "axisBand": {"domain": False, "grid": False, "ticks": False, "labelPadding": 6},
        "axisPoint": {"ticks": False, "labelPadding": 6},
        "legend": quiet | {"orient": "top", "symbolSize": 90, "labelLimit": 220, "offset": 8},
        "header": quiet,
        "title": {"color": ink, "anchor": "start", "fontSize": 14, "fontWeight": 600, "offset": 12},
        "mark": {"color": colours[0]},
        "bar": {"color": colours[0]},
        "line": {"strokeWidth": 2.25},
        "point": {"size": 60, "filled": True, "opacity": 1},
        "rule": {"color": muted},
        "text": {"color": ink, "fontSize": 12},
        "range": {
            "category": colours,
            "ordinal": ramp,
            "ramp": ramp,
            "heatmap": ramp,
            "diverging": diverging,
        },
    }

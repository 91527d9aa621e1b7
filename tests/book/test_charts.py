from __future__ import annotations

import base64
import itertools
import json
import math
import re

import altair as alt
import pytest

from distill_sql.book import charts

BACKGROUND = {False: "#ffffff", True: "#15191e"}
ROWS = [{"size": "0.5b", "share": 0.5}, {"size": "3b", "share": 0.75}]


@pytest.fixture
def bars() -> alt.Chart:
    return alt.Chart(alt.Data(values=ROWS)).mark_bar().encode(x="size:N", y="share:Q")


def payload(figure: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" class="ds-spec">(.*?)</script>', figure)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_a_figure_has_specification_picture_caption_and_alt(bars: alt.Chart) -> None:
    figure = charts.figure_html(bars, caption="A & b", alt='Two "bars"')
    spec = payload(figure)["spec"]
    assert spec["description"] == 'Two "bars"'
    assert spec["width"] == "container"
    assert spec["config"] == charts.config(dark=False) | {"axisXDiscrete": {"labelAngle": 0}}
    assert payload(figure)["dark"] == charts.config(dark=True)
    assert "<figcaption>A &amp; b</figcaption>" in figure
    assert 'alt="Two &quot;bars&quot;"' in figure
    picture = re.search(r"data:image/svg\+xml;base64,([^\"]+)", figure)
    assert picture
    svg = base64.b64decode(picture[1]).decode()
    assert svg.startswith("<svg")
    assert "0.5b" in svg
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) == pytest.approx(640, abs=60)  # type: ignore[index]


def test_no_value_can_end_the_script_element() -> None:
    data = alt.Data(values=[{"x": "</script><img src=x>", "y": 1}])
    chart = alt.Chart(data).mark_bar().encode(x="x:N", y="y:Q")
    figure = charts.figure_html(chart, caption="c", alt="a")
    assert figure.count("</script>") == 1
    assert "</script><img src=x>" in json.dumps(payload(figure))


@pytest.mark.parametrize(("caption", "alt_text"), [("", "a"), ("c", " ")])
def test_caption_and_alt_are_required(bars: alt.Chart, caption: str, alt_text: str) -> None:
    with pytest.raises(ValueError, match="a caption and an alt text"):
        charts.figure_html(bars, caption=caption, alt=alt_text)


def test_only_single_views_take_the_width_of_the_page(bars: alt.Chart) -> None:
    assert charts.specify(bars + bars)["width"] == "container"
    assert charts.specify(bars.properties(width=200))["width"] == 200
    for composed in (bars | bars, bars & bars, bars.facet("size:N"), bars.encode(row="size:N")):
        assert "width" not in charts.specify(composed)


def test_the_theme_is_not_left_behind(bars: alt.Chart) -> None:
    before = alt.theme.active
    charts.specify(bars)
    assert alt.theme.active == before


def test_light_and_dark_differ_in_colours_only() -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shape(item) for item in value]
        return "colour" if isinstance(value, str) and value.startswith("#") else value

    assert shape(charts.config(dark=False)) == shape(charts.config(dark=True))


def rgb(colour: str) -> tuple[float, float, float]:
    """Linear RGB of ``#rrggbb``, by the sRGB standard."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return linear[0], linear[1], linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        red, green, blue = rgb(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_series_and_text_stand_out_from_the_page(dark: bool) -> None:
    for colour in charts.DARK if dark else charts.LIGHT:
        assert contrast(colour, BACKGROUND[dark]) >= 3
    axis = charts.config(dark=dark)["axis"]
    assert contrast(axis["labelColor"], BACKGROUND[dark]) >= 4.5
    assert contrast(axis["titleColor"], BACKGROUND[dark]) >= 7


# Machado, Oliveira and Fernandes (2009), severity 1.0: what dichromats see, in linear RGB.
VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def oklab(colour: str, vision: str) -> tuple[float, float, float]:
    """Oklab coordinates (Ottosson, 2020) of ``colour`` as seen with ``vision``."""
    linear = rgb(colour)
    seen = [
        min(max(sum(m * c for m, c in zip(row, linear, strict=True)), 0), 1)
        for row in VISION[vision]
    ]
    to_cones = (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
    cones = [sum(m * c for m, c in zip(row, seen, strict=True)) ** (1 / 3) for row in to_cones]
    to_lab = (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
    lab = [sum(m * c for m, c in zip(row, cones, strict=True)) for row in to_lab]
    return lab[0], lab[1], lab[2]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", [charts.LIGHT, charts.DARK], ids=["light", "dark"])
def test_series_can_be_distinguished(palette: tuple[str, ...], vision: str) -> None:
    # About five times the smallest difference that an eye notices side by side (0.02 in Oklab).
    for a, b in itertools.combinations(palette, 2):
        assert math.dist(oklab(a, vision), oklab(b, vision)) > 0.1, (a, b)

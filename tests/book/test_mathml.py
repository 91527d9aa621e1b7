from __future__ import annotations

from xml.etree import ElementTree

import pytest
from docutils import nodes

from distill_sql.book.mathml import _convert

MATHML = "{http://www.w3.org/1998/Math/MathML}"


def tags(formula: str) -> list[str]:
    root = ElementTree.fromstring(_convert(nodes.math(text=formula), as_block=False))
    return [element.tag.removeprefix(MATHML) for element in root.iter()]


def test_a_formula_becomes_mathml() -> None:
    assert tags(r"\frac{1}{N}") == ["math", "mfrac", "mn", "mi"]


@pytest.mark.parametrize("formula", [r"\hat q_i", r"\hat{q}_{i}", r"\bar q_i", r"\tilde q_i"])
def test_the_subscript_of_an_accented_letter_stands_beside_it(formula: str) -> None:
    assert tags(formula) == ["math", "msub", "mover", "mi", "mo", "mi"]


def test_limits_of_a_sum_stay_limits() -> None:
    block = _convert(nodes.math_block(text=r"\sum_{i=1}^N i"), as_block=True)
    assert "munderover" in block


def test_an_unknown_macro_is_a_warning_with_its_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sphinx.util import logging

    messages = []

    class Logger:
        def warning(self, message: str, *values: object, location: object) -> None:
            messages.append(message % values)

    monkeypatch.setattr(logging, "getLogger", lambda _: Logger())
    assert _convert(nodes.math(text=r"\nonsense"), as_block=False) == ""
    assert r"\\nonsense" in messages[0]

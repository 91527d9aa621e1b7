"""A Sphinx extension that writes formulas as MathML, which browsers draw without a script.

Sphinx's default loads MathJax from a network, but this book must work without one. docutils
converts the LaTeX; it supports the usual mathematics but no macro packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    from docutils.nodes import SkipNode

    self.body.append(_convert(node, as_block=False))
    raise SkipNode


def _visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    from docutils.nodes import SkipNode
    from sphinx.util.math import get_node_equation_number

    self.body.append(self.starttag(node, "div", CLASS="ds-math"))
    self.body.append(_convert(node, as_block=True))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Permalink to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise SkipNode


def _convert(node: nodes.math | nodes.math_block, *, as_block: bool) -> str:
    from docutils.utils.math import MathError
    from docutils.utils.math.latex2mathml import tex2mathml
    from sphinx.util import logging

    formula = node.astext()
    try:
        return _part_accents(str(tex2mathml(formula, as_block=as_block)))
    except MathError as error:
        logger = logging.getLogger(__name__)
        logger.warning("cannot write the formula %r as MathML: %s", formula, error, location=node)
        return ""


def _part_accents(mathml: str) -> str:
    r"""Put the subscript in \hat q_i beside the accented letter; docutils puts it below."""
    from xml.etree import ElementTree

    from docutils.utils.math.latex2mathml import accents

    namespace = "http://www.w3.org/1998/Math/MathML"
    ElementTree.register_namespace("", namespace)
    root = ElementTree.fromstring(mathml)
    for element in root.iter(f"{{{namespace}}}munderover"):
        base, under, over = element
        if over.text in accents.values():
            element.tag = f"{{{namespace}}}msub"
            element[:] = [ElementTree.Element(f"{{{namespace}}}mover"), under]
            element[0].extend([base, over])
    return ElementTree.tostring(root, encoding="unicode")

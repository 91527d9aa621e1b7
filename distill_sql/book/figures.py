"""Figures of a chapter that are repeated elsewhere, such as in the README.

A chapter notes a figure where it computes it. The value is kept in the executed notebook but not
shown on the page; ``distill-sql book figures`` collects the figures of all chapters. So a figure in
prose can be compared with the run that it comes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The MIME type of a noted figure in a cell's output; it is not displayed.
OUTPUT = "application/vnd.distill-sql.figure+json"
#: The key of a notebook's figures in its metadata.
METADATA = "distill_sql_figures"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def note(name: str, value: float, unit: str = "") -> None:
    """Note a figure of the calling chapter, under a name that is unique in the chapter.

    ``value`` is not rounded; a share is a number from 0 to 1. A name consists of small letters,
    digits, ``.``, ``-`` and ``_``; otherwise ValueError is raised.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a figure cannot be called {name!r}: use small letters, digits and . - _")
    from IPython.display import display

    figure = {"name": name, "value": float(value), "unit": unit}
    display({OUTPUT: figure}, raw=True)  # type: ignore[no-untyped-call]


def keep(notebook: NotebookNode) -> None:
    """Move noted figures from the outputs of a notebook to its metadata."""
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", ()):
            figure = output.get("data", {}).get(OUTPUT)
            if figure is None:
                kept.append(output)
            else:
                found[figure["name"]] = {"value": figure["value"], "unit": figure["unit"]}
        if "outputs" in cell:
            cell.outputs = kept
    notebook.metadata[METADATA] = found


def noted(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The figures of an executed notebook in order: ``value`` and ``unit`` by name."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[
        "metadata"
    ].get(METADATA, {})
    return found

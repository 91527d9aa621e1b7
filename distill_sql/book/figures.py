"""Figures of a chapter that are repeated elsewhere, such as in the README.

A chapter notes a figure where it computes it. The page shows nothing; the executed notebook keeps
the value, and ``distill-sql book figures`` collects what all chapters noted. So a figure in prose
can be compared with the run that it is from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The kind of output in which a kernel hands a figure over; nothing shows it.
OUTPUT = "application/vnd.distill-sql.figure+json"
#: The key of a notebook's figures in its metadata.
METADATA = "distill_sql_figures"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def note(name: str, value: float, unit: str = "") -> None:
    """Note a figure of the chapter that calls it, under a name that is its own in the chapter.

    ``value`` is as it was computed, not rounded, and a share is a number from 0 to 1. Names are of
    small letters, digits, ``.``, ``-`` and ``_``; ValueError for any other.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a figure: small letters, digits, '.', '-', '_'")
    from IPython.display import display

    figure = {"name": name, "value": float(value), "unit": unit}
    display({OUTPUT: figure}, raw=True)  # type: ignore[no-untyped-call]


def keep(notebook: NotebookNode) -> None:
    """Move the figures that a run noted from a notebook's outputs to its metadata."""
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
    """The figures of an executed notebook: ``value`` and ``unit`` by name, in the order noted."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[
        "metadata"
    ].get(METADATA, {})
    return found

"""The datasets and models that the package contains.

The code that builds an embedded dataset imports modules of this folder, so it cannot be imported
here. :mod:`distill_sql` registers it with :func:`carry` before anything else is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: The models of the pocket benchmark, one folder each: three student bases and their teacher.
CHECKPOINTS = Path(__file__).parents[1] / "pocket" / "checkpoints"

#: For each embedded dataset, the function that returns a split's folder in Spider's layout.
_FOLDERS: dict[str, Callable[[str], Path]] = {}


def carry(name: str, folder: Callable[[str], Path]) -> None:
    """Register a dataset: ``folder`` takes a split's name and returns the folder with its files."""
    _FOLDERS[name] = folder


def carried_folder(name: str, split: str) -> Path | None:
    """The folder of an embedded dataset's split, made on first use; None for other datasets."""
    return _FOLDERS[name](split) if name in _FOLDERS else None

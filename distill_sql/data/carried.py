"""What the package carries: datasets by their names, and the folder of its models.

The code that makes a carried dataset imports the modules of this folder. So nothing here imports
it: :mod:`distill_sql` registers it, by :func:`carry`, before anything else is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: The models of the pocket benchmark, a folder each: three student bases and their teacher.
CHECKPOINTS = Path(__file__).parents[1] / "pocket" / "checkpoints"

#: For each carried dataset the function that gives a split's folder, in Spider's layout.
_FOLDERS: dict[str, Callable[[str], Path]] = {}


def carry(name: str, folder: Callable[[str], Path]) -> None:
    """Register a dataset: ``folder`` takes a split's name and gives the folder that has it."""
    _FOLDERS[name] = folder


def carried_folder(name: str, split: str) -> Path | None:
    """The folder of a carried dataset's split, made on first use; None if it is not carried."""
    return _FOLDERS[name](split) if name in _FOLDERS else None

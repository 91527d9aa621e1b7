"""Distil self-hosted text-to-SQL models, and evaluate them.

This is the library under the book. Its folders are in the order of the study, and each imports only
from those before it: ``sql``, ``data``, ``prompting``, ``models``, ``scoring``, ``teacher``,
``training``, ``pocket``, ``pretraining``, ``runs``, ``book``, ``cli``.

The names below are the public API: ``from distill_sql import load_dataset, score``. Each is loaded
when it is first used, so importing this package is fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.data.carried import carry

if TYPE_CHECKING:
    from distill_sql.data.datasets import Dataset, Example, load_dataset
    from distill_sql.data.schema import Schema
    from distill_sql.errors import DistillSqlError
    from distill_sql.models.asking import ask
    from distill_sql.models.generation import generate
    from distill_sql.models.recipes import recipe_for
    from distill_sql.models.students import open_student
    from distill_sql.prompting.prompts import extract_sql, link, prompt_messages
    from distill_sql.provenance import VERSION as __version__
    from distill_sql.scoring.comparison import compare
    from distill_sql.scoring.predictions import read_predictions
    from distill_sql.scoring.report import score
    from distill_sql.sql.sandbox import run_sql
    from distill_sql.training.student import train_student as train

__all__ = [
    "Dataset",
    "DistillSqlError",
    "Example",
    "Schema",
    "__version__",
    "ask",
    "compare",
    "extract_sql",
    "generate",
    "link",
    "load_dataset",
    "open_student",
    "prompt_messages",
    "read_predictions",
    "recipe_for",
    "run_sql",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


#: The module that defines each public name, and its name there.
_HOMES = {
    "Dataset": ("data.datasets", "Dataset"),
    "DistillSqlError": ("errors", "DistillSqlError"),
    "Example": ("data.datasets", "Example"),
    "Schema": ("data.schema", "Schema"),
    "ask": ("models.asking", "ask"),
    "compare": ("scoring.comparison", "compare"),
    "extract_sql": ("prompting.prompts", "extract_sql"),
    "generate": ("models.generation", "generate"),
    "link": ("prompting.prompts", "link"),
    "load_dataset": ("data.datasets", "load_dataset"),
    "open_student": ("models.students", "open_student"),
    "prompt_messages": ("prompting.prompts", "prompt_messages"),
    "read_predictions": ("scoring.predictions", "read_predictions"),
    "recipe_for": ("models.recipes", "recipe_for"),
    "run_sql": ("sql.sandbox", "run_sql"),
    "score": ("scoring.report", "score"),
    "train": ("training.student", "train_student"),
    "__version__": ("provenance", "VERSION"),
}


def _pocket(split: str) -> Path:
    from distill_sql.pocket import folder

    return folder(split)


carry("pocket", _pocket)

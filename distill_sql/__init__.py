"""Distil a self-hosted text-to-SQL model, and measure it honestly.

The library under the book. Modules follow the pipeline: :mod:`~distill_sql.schema` and
:mod:`~distill_sql.datasets` read the data, :mod:`~distill_sql.prompts` and
:mod:`~distill_sql.linking` turn it into prompts, :mod:`~distill_sql.sandbox` runs SQL safely and
:mod:`~distill_sql.scoring` says what is right.
"""

from __future__ import annotations

from distill_sql.datasets import Dataset, Example, load_dataset
from distill_sql.errors import DistillSqlError
from distill_sql.schema import Column, ForeignKey, Schema, Table

__version__ = "0.1.0"

__all__ = [
    "Column",
    "Dataset",
    "DistillSqlError",
    "Example",
    "ForeignKey",
    "Schema",
    "Table",
    "__version__",
    "load_dataset",
]

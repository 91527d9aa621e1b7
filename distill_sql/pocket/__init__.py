"""The pocket benchmark: small everyday databases in Spider's format, generated on first use.

Its scores are not comparable with Spider's; pages that show both say so. Its models are in
``checkpoints/`` (:data:`~distill_sql.data.carried.CHECKPOINTS`).
"""

from __future__ import annotations

from pathlib import Path

from distill_sql.pocket.build import build, materialized
from distill_sql.pocket.sealed import materialized_test

__all__ = ["build", "folder", "materialized"]


def folder(split: str) -> Path:
    """The folder of a split; the test split has its own, without gold queries."""
    return materialized_test() if split == "test" else materialized()

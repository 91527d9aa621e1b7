"""The pocket benchmark: small databases from everyday life, in Spider's format, made on first use.

Its numbers are its own. They never stand beside Spider's without saying so. Its models are in
``checkpoints/`` (:data:`~distill_sql.data.carried.CHECKPOINTS`).
"""

from __future__ import annotations

from pathlib import Path

from distill_sql.pocket.build import build, materialized
from distill_sql.pocket.sealed import materialized_test

__all__ = ["build", "folder", "materialized"]


def folder(split: str) -> Path:
    """The folder that has a split: the test split lies apart, without its gold queries."""
    return materialized_test() if split == "test" else materialized()

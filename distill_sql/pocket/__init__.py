"""The pocket benchmark: small databases from everyday life, in Spider's format, made on first use.

Its numbers are its own. They never stand beside Spider's without saying so.
"""

from __future__ import annotations

from pathlib import Path

from distill_sql.pocket.build import build, materialized
from distill_sql.pocket.sources import Source, sources

__all__ = ["CHECKPOINTS", "Source", "build", "materialized", "sources"]

#: The ladder's models, a folder each: three student bases and their teacher.
CHECKPOINTS = Path(__file__).parent / "checkpoints"

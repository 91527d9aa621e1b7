"""The question patterns: what a question can ask, in SQL and in words."""

from __future__ import annotations

from distill_sql.pocket.patterns import joins, one_table
from distill_sql.pocket.patterns.registry import PATTERNS, Draft, Pattern

__all__ = ["PATTERNS", "Draft", "Pattern", "joins", "one_table"]

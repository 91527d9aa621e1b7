"""The question patterns: each draws a query and its words.

The order of the modules is the order of :data:`PATTERNS`, which decides what is generated.
"""

from __future__ import annotations

from distill_sql.pocket.patterns import joins, one_table, one_table_sets
from distill_sql.pocket.patterns.registry import PATTERNS, Draft, Pattern

__all__ = ["PATTERNS", "Draft", "Pattern", "joins", "one_table", "one_table_sets"]

"""The teacher: samples answers from an OpenAI-compatible endpoint and pays for each only once."""

from __future__ import annotations

from distill_sql.teacher.prices import Price, price_of
from distill_sql.teacher.store import Sample, Store
from distill_sql.teacher.work import Request, Settings, estimate_cost, requests_for

__all__ = [
    "Price",
    "Request",
    "Sample",
    "Settings",
    "Store",
    "estimate_cost",
    "price_of",
    "requests_for",
]

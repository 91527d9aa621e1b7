"""Runs whose results are recorded outside the book's build: controls, benchmarks, measurements.

The records are in ``book/results`` and ``book/measured``.
"""

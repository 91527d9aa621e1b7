"""What is measured and recorded outside the book's own build: controls, benchmarks, figures.

The records are in ``book/results`` and ``book/measured``.
"""

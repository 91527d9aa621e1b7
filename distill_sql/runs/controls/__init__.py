"""Controls beside the ladder: what else than a teacher's kept traces a student could learn from.

:mod:`~distill_sql.runs.controls.sets` makes their training sets, all equally large;
:mod:`~distill_sql.runs.controls.records` writes and reads what became of their students. ``python
-m distill_sql.runs.controls`` trains them: too slow for the book, so their results are recorded
runs in ``book/results/controls``.
"""

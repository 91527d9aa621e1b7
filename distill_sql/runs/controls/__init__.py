"""Controls of the scaling chapter: students that learn from something else than kept traces.

:mod:`~distill_sql.runs.controls.sets` makes their training sets, all of the same size;
:mod:`~distill_sql.runs.controls.records` writes and reads their results. ``python -m
distill_sql.runs.controls`` trains them. That takes too long for a build, so the results are
recorded in ``book/results/controls``.
"""

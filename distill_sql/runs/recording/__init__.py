"""Recorded runs: a plan file's students are trained and evaluated, and their answers recorded.

:mod:`~distill_sql.runs.recording.plan` reads the plan, :mod:`~distill_sql.runs.recording.sources`
its data, :mod:`~distill_sql.runs.recording.pieces` lists its pieces with their status, and
:mod:`~distill_sql.runs.recording.recorder` executes them. The book reads what is recorded with
:func:`distill_sql.runs.records.read_runs`.
"""

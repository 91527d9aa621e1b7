"""Answers that are right but for columns that nobody asked for.

Execution accuracy counts them as wrong. How many there are tells a model that does not understand
questions from one that understands them and has another idea of what a table should show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from sqlglot import exp

from distill_sql.data.datasets import Dataset, Example
from distill_sql.scoring.clock import Clock
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.report import ScoreReport
from distill_sql.sql.parsing import parse_query
from distill_sql.sql.sandbox import DEADLINE

#: Columns that a query may show and still be taken apart: their choices are many.
MOST = 8


def with_columns(sql: str, count: int) -> Iterator[str]:
    """The query with ``count`` of its columns, in every way that leaves some out, in their order.

    Nothing for a query that does not parse, that has no more than ``count`` columns or more than
    :data:`MOST`, or that is no plain SELECT: a set operation compares whole rows.

    >>> list(with_columns("SELECT id, name FROM singer", 1))
    ['SELECT id FROM singer', 'SELECT name FROM singer']
    """
    tree = parse_query(sql)
    if not isinstance(tree, exp.Select) or not count < len(tree.selects) <= MOST:
        return
    with suppress(RecursionError):  # too deep to be written
        for kept in combinations(tree.selects, count):
            yield tree.select(*kept, append=False).sql("sqlite")


def but_for_columns(
    report: ScoreReport,
    dataset: Dataset,
    *,
    neighbours: Mapping[str, Sequence[Path]] | None = None,
) -> list[int]:
    """Question ids of a report's wrong answers that are right once some columns are left out.

    They are judged by the report's rules. ``neighbours`` are those that the report was judged on,
    if it was: of many choices of columns, one may have the gold rows by luck on one database alone.
    The choices of one answer's columns share one deadline.
    """
    examples = {example.question_id: example for example in dataset}
    found = []
    with Judge(dataset, report.rules, neighbours=neighbours) as judge:
        for verdict in report.verdicts:
            if verdict.failure_mode != "wrong-result" or verdict.exec:
                continue
            gold = parse_query(verdict.gold_sql)
            fewer = with_columns(verdict.pred_sql, len(gold.selects)) if gold else ()
            if _any_passes(judge, examples[verdict.question_id], fewer):
                found.append(verdict.question_id)
    return found


def forgiven(
    report: ScoreReport,
    dataset: Dataset,
    *,
    neighbours: Mapping[str, Sequence[Path]] | None = None,
) -> ScoreReport:
    """The report as it is if further columns do not make an answer wrong.

    Execution accuracy of what :func:`but_for_columns` finds becomes right and nothing else changes,
    so tables, intervals and comparisons of the new report are those of this kinder metric.
    """
    kept = set(but_for_columns(report, dataset, neighbours=neighbours))
    verdicts = (
        replace(verdict, exec=True) if verdict.question_id in kept else verdict
        for verdict in report.verdicts
    )
    return replace(report, verdicts=tuple(verdicts))


def _any_passes(judge: Judge, example: Example, queries: Iterable[str]) -> bool:
    clock = Clock(DEADLINE)
    for sql in queries:
        if not clock.left:
            return False
        if judge.passes(example, sql, clock=clock)[0]:
            return True
    return False

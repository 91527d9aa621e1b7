"""Answers that are right except for extra columns.

Execution accuracy counts them as wrong. Their number distinguishes a model that misunderstands
questions from one that understands them but returns other columns than the gold query.
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

#: Queries with more columns than this are skipped: they have too many subsets.
MOST_COLUMNS = 8


def with_columns(sql: str, count: int) -> Iterator[str]:
    """The query with every selection of ``count`` of its columns, in their order.

    Yields nothing for a query that does not parse, that has at most ``count`` columns or more than
    :data:`MOST_COLUMNS`, or that is not a plain SELECT: a set operation compares whole rows.

    >>> list(with_columns("SELECT id, name FROM singer", 1))
    ['SELECT id FROM singer', 'SELECT name FROM singer']
    """
    tree = parse_query(sql)
    if not isinstance(tree, exp.Select) or not count < len(tree.selects) <= MOST_COLUMNS:
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
    """The question ids of a report's wrong answers that become right without some columns.

    They are judged by the report's rules. Pass the ``neighbours`` that the report was judged on, if
    any: on a single database, one of many selections may have the gold rows by chance. All
    selections of one answer share one deadline.
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
    """The report under a metric that forgives extra columns.

    The verdict ``exec`` of the answers found by :func:`but_for_columns` becomes true, and nothing
    else changes, so tables, intervals and comparisons of the new report are those of this metric.
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

"""Answers that are right but for columns that nobody asked for.

Execution accuracy counts them as wrong. How many there are tells a model that does not understand
questions from one that understands them and has another idea of what a table should show.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from distill_sql.datasets import Dataset
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.score import ScoreReport

#: Columns that a query may show and still be taken apart: their choices are many.
MOST = 8


def with_columns(sql: str, count: int) -> Iterator[str]:
    """The query with ``count`` of its columns, in every way that leaves some out, in their order.

    Nothing for a query that does not parse, that has no more than ``count`` columns or more than
    :data:`MOST`, or that is no plain SELECT: a set operation compares whole rows.

    >>> list(with_columns("SELECT id, name FROM singer", 1))
    ['SELECT id FROM singer', 'SELECT name FROM singer']
    """
    tree = _query(sql)
    if not isinstance(tree, exp.Select) or not count < len(tree.selects) <= MOST:
        return
    for kept in combinations(tree.selects, count):
        yield tree.select(*kept, append=False).sql("sqlite")


def but_for_columns(report: ScoreReport, dataset: Dataset) -> list[int]:
    """Question ids of a report's wrong answers that are right once some columns are left out."""
    examples = {example.question_id: example for example in dataset}
    found = []
    with Judge(dataset) as judge:
        for verdict in report.verdicts:
            if verdict.failure_mode != "wrong-result" or verdict.exec:
                continue
            gold = _query(verdict.gold_sql)
            fewer = with_columns(verdict.pred_sql, len(gold.selects)) if gold else ()
            if any(judge.passes(examples[verdict.question_id], sql)[0] for sql in fewer):
                found.append(verdict.question_id)
    return found


def _query(sql: str) -> exp.Query | None:
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Query) else None

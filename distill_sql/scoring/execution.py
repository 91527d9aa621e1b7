"""Execution accuracy as Spider's official evaluator judges it, and a strict mode of our own.

The rules are those of taoyds/test-suite-sql-eval (commit e97acc5, ``exec_eval.py`` and
``evaluation.py``): a prediction is right if its rows equal the gold rows as a multiset, for some
order of its columns, in the gold's row order where the gold text says ``order by``. Before that the
texts are prepared, leniently: see :func:`prepare`.

One difference is on purpose. The official evaluator opens databases for writing, so ``DELETE FROM
t`` runs and has no rows, which is right where the gold query has none. Here it is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from distill_sql.sandbox import SQL_BYTES, Row
from distill_sql.scoring.plugging import first_statement

_CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


@lru_cache(maxsize=8192)
def prepare(sql: str, *, keep_distinct: bool = False) -> str:
    """A query as the official evaluator executes it.

    ``> =``, ``< =`` and ``! =`` are closed up and ``YEAR(CURDATE())`` is the year 2020. Unless
    ``keep_distinct``, every DISTINCT is dropped, and with it all statements after the first. Only
    the first is done to a text that the sandbox would refuse for its length.

    >>> prepare("SELECT DISTINCT a FROM t WHERE b > = 'distinct'")
    "SELECT  a FROM t WHERE b >= 'distinct'"
    """
    for loose, closed in (("> =", ">="), ("< =", "<="), ("! =", "!=")):
        sql = sql.replace(loose, closed)
    if len(sql) > SQL_BYTES:
        return sql
    if not keep_distinct and ("distinct" in sql.lower() or ";" in sql.rstrip("; \n")):
        sql = "".join(text for _, text in first_statement(sql) if text.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", sql)


def prediction_text(sql: str, *, strict: bool = False) -> str:
    """The text of a prediction that is judged: up to the first tab, ``SELECT 1`` if it is empty.

    The official evaluator also replaces the letters ``value``, in lower case, by ``1`` wherever
    they stand: a column ``value_points`` becomes ``1_points``. ``strict`` does not.

    >>> prediction_text("SELECT a FROM t WHERE b = value\\tmodel-x")
    'SELECT a FROM t WHERE b = 1'
    """
    sql = sql.strip().split("\t")[0].strip() or "SELECT 1"
    return sql if strict else sql.replace("value", "1")


def order_matters(gold_sql: str) -> bool:
    """Whether rows must come in order: the gold text says so anywhere, a subquery included."""
    return "order by" in gold_sql.lower()


def rows_equal(gold: Sequence[Row], pred: Sequence[Row], *, ordered: bool) -> bool:
    """Whether two results are the same rows for some order of the columns of ``pred``.

    Rows are a multiset, or a list if ``ordered``; values compare as in Python, so 1 equals 1.0. Two
    empty results are equal whatever their columns.

    >>> rows_equal([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], ordered=False)
    True
    """
    if not gold and not pred:
        return True
    if len(gold) != len(pred) or len(gold[0]) != len(pred[0]):
        return False
    if gold == pred:
        return True
    if not _same_unordered_rows(gold, pred, ordered=ordered):
        return False
    for columns in _column_orders(gold, pred):
        moved = [tuple(row[column] for column in columns) for row in pred]
        if (list(gold) == moved) if ordered else (Counter(gold) == Counter(moved)):
            return True
    return False


def _same_unordered_rows(gold: Sequence[Row], pred: Sequence[Row], *, ordered: bool) -> bool:
    """The evaluator's quick test: the rows agree when the values in each are sorted."""

    def key(value: object) -> str:
        return str(value) + str(type(value))

    first = [tuple(sorted(row, key=key)) for row in gold]
    second = [tuple(sorted(row, key=key)) for row in pred]
    return first == second if ordered else set(first) == set(second)


def _column_orders(gold: Sequence[Row], pred: Sequence[Row]) -> Iterator[tuple[int, ...]]:
    """Every assignment of pred columns to gold columns in which each pair has the same values.

    The evaluator tries the permutations that a sample of rows leaves possible. Comparing whole
    columns leaves out only permutations that could not match, so the verdict is the same and does
    not depend on chance.
    """
    width = len(gold[0])
    gold_columns = [Counter(row[i] for row in gold) for i in range(width)]
    pred_columns = [Counter(row[i] for row in pred) for i in range(width)]
    choices = [[j for j in range(width) if pred_columns[j] == column] for column in gold_columns]

    def extend(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == width:
            yield chosen
            return
        for column in choices[len(chosen)]:
            if column not in chosen:
                yield from extend((*chosen, column))

    return extend(())

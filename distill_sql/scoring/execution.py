"""Execution accuracy as Spider's official evaluator judges it, and a strict mode of our own.

The rules are those of taoyds/test-suite-sql-eval (commit e97acc5, ``exec_eval.py`` and
``evaluation.py``): a prediction is right if its rows equal the gold rows as a multiset, for some
order of its columns, in the gold's row order where the gold text says ``order by``. Before that the
texts are prepared, leniently: see :func:`prepare`. Left out here: plugging gold values into the
prediction (its ``plug_value`` mode).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from distill_sql.sandbox import Row

_CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)
# Strings, quoted names and comments are passed over whole; what is left is a bare DISTINCT.
_DISTINCT = re.compile(
    r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/)|\bdistinct\b""",
    re.IGNORECASE | re.DOTALL,
)


def prepare(sql: str, *, keep_distinct: bool = False) -> str:
    """A query as the official evaluator executes it.

    ``> =``, ``< =`` and ``! =`` are closed up, ``YEAR(CURDATE())`` is the year 2020, and DISTINCT
    is dropped unless ``keep_distinct``.

    >>> prepare("SELECT DISTINCT a FROM t WHERE b > = 'distinct'")
    "SELECT  a FROM t WHERE b >= 'distinct'"
    """
    for loose, closed in (("> =", ">="), ("< =", "<="), ("! =", "!=")):
        sql = sql.replace(loose, closed)
    if not keep_distinct:
        sql = _DISTINCT.sub(lambda match: match[1] or "", sql)
    return _CURRENT_YEAR.sub("2020", sql)


def prepare_prediction(sql: str, *, strict: bool = False, keep_distinct: bool = False) -> str:
    """A prediction as it is executed: :func:`prepare`, after the evaluator's own habits.

    Only the part before a tab counts, and an empty prediction is ``SELECT 1``. The official
    evaluator also replaces the letters ``value`` by ``1``, wherever they stand; ``strict`` does
    not, and keeps DISTINCT.
    """
    sql = sql.strip().split("\t")[0].strip() or "SELECT 1"
    if strict:
        return prepare(sql, keep_distinct=True)
    return prepare(sql.replace("value", "1"), keep_distinct=keep_distinct)


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

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
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from distill_sql.scoring.clock import UNLIMITED, Clock
from distill_sql.scoring.plugging import first_statement
from distill_sql.sql.sandbox import SQL_BYTES, Row

# Numbers of gold's and of pred's rows, and the columns of each that have no partner yet.
_Paired: TypeAlias = tuple[list[int], list[int], frozenset[int], frozenset[int]]

#: Texts up to this many characters are prepared without a look at the clock, and remembered.
SHORT = 5_000

# Where ``sqlparse`` may end a statement before the end of a text: it takes GO for an end, too.
_SPLIT = re.compile(r";(?!\s*\Z)|\bGO\b")
_CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def prepare(sql: str, *, keep_distinct: bool = False, clock: Clock = UNLIMITED) -> str:
    """A query as the official evaluator executes it.

    ``> =``, ``< =`` and ``! =`` are closed up and ``YEAR(CURDATE())`` is the year 2020. Unless
    ``keep_distinct``, every DISTINCT is dropped, and with it all that follows the first statement:
    ``SELECT 1;;`` is right where ``SELECT 1`` is. SQLite itself refuses a second semicolon, but no
    comment after the first. A text that the sandbox would refuse for its length is only closed up.

    >>> prepare("SELECT DISTINCT a FROM t WHERE b > = 'distinct'; ;")
    "SELECT  a FROM t WHERE b >= 'distinct'; "
    """
    if len(sql) <= SHORT:
        return prepare_short(sql, keep_distinct)
    return _prepare(sql, keep_distinct, clock)


def _prepare(sql: str, keep_distinct: bool, clock: Clock = UNLIMITED) -> str:
    for loose, closed in (("> =", ">="), ("< =", "<="), ("! =", "!=")):
        sql = sql.replace(loose, closed)
    if len(sql) > SQL_BYTES:
        return sql
    if not keep_distinct and ("distinct" in sql.lower() or _SPLIT.search(sql)):
        tokens = first_statement(sql, clock)
        sql = "".join(text for _, text in tokens if text.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", sql)


prepare_short = lru_cache(maxsize=8192)(_prepare)


def prepare_gold(sql: str, *, keep_distinct: bool = False) -> str:
    """:func:`prepare` for a gold query, which may end on any number of semicolons.

    SQLite refuses ``;;``. The official evaluator ends there if DISTINCT is kept.
    """
    return prepare(sql.rstrip("; \t\r\n"), keep_distinct=keep_distinct)


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


def rows_equal(
    gold: Sequence[Row], pred: Sequence[Row], *, ordered: bool, clock: Clock = UNLIMITED
) -> bool:
    """Whether two results are the same rows for some order of the columns of ``pred``.

    Rows are a multiset, or a list if ``ordered``; values compare as in Python, so 1 equals 1.0. Two
    empty results are equal whatever their columns. Raises
    :class:`~distill_sql.scoring.clock.OutOfTime` if ``clock`` runs out: columns that hold the same
    values in other rows can be tried in very many orders.

    >>> rows_equal([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], ordered=False)
    True
    """
    if not gold and not pred:
        return True
    if len(gold) != len(pred) or len(gold[0]) != len(pred[0]):
        return False
    if gold == pred:
        return True
    width = range(len(gold[0]))
    gold_columns = [tuple([row[place] for row in gold]) for place in width]
    pred_columns = [tuple([row[place] for row in pred]) for place in width]
    clock.check()
    if ordered:
        same = _counts(gold_columns) == _counts(pred_columns)
    else:
        same = _some_order_fits(gold_columns, pred_columns, clock)
    if not same or not any(float in map(type, column) for column in gold_columns + pred_columns):
        return same
    return _same_unordered_rows(gold, pred, ordered=ordered, clock=clock)


def _same_unordered_rows(
    gold: Sequence[Row], pred: Sequence[Row], *, ordered: bool, clock: Clock
) -> bool:
    """The evaluator's quick test: the rows agree when the values in each are sorted.

    It sorts by their texts, where 1 and 1.0 differ, so it refuses some rows that are equal.
    """
    first, second = _sorted(gold, clock), _sorted(pred, clock)
    return first == second if ordered else set(first) == set(second)


def _sorted(rows: Sequence[Row], clock: Clock) -> list[Row]:
    found = []
    for row in rows:
        clock.check()
        found.append(tuple(sorted(row, key=lambda value: str(value) + str(type(value)))))
    return found


def _some_order_fits(
    gold: Sequence[Sequence[object]], pred: Sequence[Sequence[object]], clock: Clock
) -> bool:
    """Whether the columns of ``pred`` can be ordered so that its rows are those of ``gold``.

    Columns are paired step by step. Rows that agree in the columns paired so far have one number,
    and a column's key is the multiset of its values with those numbers: only columns with one key
    can be a pair. Where all of pred's columns with a key are the same column there is nothing to
    choose, which settles most results at once; else the choices for one column are tried in turn,
    and each makes the keys of the others more telling.

    The evaluator tries the permutations that a sample of rows leaves possible, so the verdict is
    the same and does not depend on chance.
    """
    start = [0] * len(gold[0])
    everything = frozenset(range(len(gold)))
    waiting: list[_Paired] = [(start, start, everything, everything)]
    while waiting:
        gold_rows, pred_rows, gold_left, pred_left = waiting.pop()
        groups: dict[object, tuple[list[int], list[int]]] = {}
        for side, rows, columns, left in (
            (0, gold_rows, gold, gold_left),
            (1, pred_rows, pred, pred_left),
        ):
            for place in left:
                clock.check()
                key = _multiset(zip(rows, columns[place], strict=True))
                groups.setdefault(key, ([], []))[side].append(place)
        pairs = list(groups.values())
        if any(len(ours) != len(theirs) for ours, theirs in pairs):
            continue
        settled = [pair for pair in pairs if len({pred[place] for place in pair[1]}) == 1]
        if settled:
            steps = [tuple([place for pair in settled for place in pair[side]] for side in (0, 1))]
        else:
            ours, theirs = min(pairs, key=lambda pair: len(pair[0]))
            different = {pred[place]: place for place in theirs}
            steps = [([ours[0]], [place]) for place in different.values()]
        for ours, theirs in steps:
            clock.check()
            numbers: dict[object, int] = {}
            gold_keys = zip(gold_rows, *[gold[place] for place in ours], strict=True)
            pred_keys = zip(pred_rows, *[pred[place] for place in theirs], strict=True)
            gold_next = [numbers.setdefault(key, len(numbers)) for key in gold_keys]
            pred_next = [numbers.get(key, -1) for key in pred_keys]
            if _counts(gold_next) != _counts(pred_next):
                continue
            if len(ours) == len(gold_left):
                return True
            waiting.append(
                (gold_next, pred_next, gold_left.difference(ours), pred_left.difference(theirs))
            )
    return False


def _multiset(column: Iterable[object]) -> frozenset[tuple[object, int]]:
    return frozenset(Counter(column).items())


def _counts(items: Iterable[object]) -> dict[object, int]:
    return dict(Counter(items))  # two Counters are slow to compare, two dicts are not

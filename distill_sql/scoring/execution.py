"""Execution accuracy with the semantics of Spider's official evaluator, and a strict mode.

The rules are those of taoyds/test-suite-sql-eval (commit e97acc5, ``exec_eval.py`` and
``evaluation.py``). A prediction is right if its rows equal the gold rows as a multiset for some
order of its columns, or as a list if the gold text contains ``order by``. Before execution the
texts are prepared leniently: see :func:`prepare`.

One difference is intended. The official evaluator opens databases for writing, so ``DELETE FROM t``
runs and returns no rows, which is right if the gold query returns none. Here it is an error.
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

# Group numbers of the rows of gold and of pred, and the columns of each that are not paired yet.
_Paired: TypeAlias = tuple[list[int], list[int], frozenset[int], frozenset[int]]

#: Texts up to this many characters are prepared without checking the clock, and cached.
SHORT = 5_000

# Where ``sqlparse`` may end a statement before the end of a text; GO ends one, too.
_SPLIT = re.compile(r";(?!\s*\Z)|\bGO\b")
_CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def prepare(sql: str, *, keep_distinct: bool = False, clock: Clock = UNLIMITED) -> str:
    """A query as the official evaluator executes it.

    The spaces in ``> =``, ``< =`` and ``! =`` are removed and ``YEAR(CURDATE())`` becomes 2020.
    Unless ``keep_distinct``, every DISTINCT is removed, and so is everything after the first
    statement: ``SELECT 1;;`` is right if ``SELECT 1`` is. SQLite itself rejects a second semicolon
    but accepts a comment after the first. In a text too long for the sandbox, only the spaces are
    removed.

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
    """:func:`prepare` for a gold query, which may end with any number of semicolons.

    SQLite rejects ``;;``. The official evaluator stops there if DISTINCT is kept.
    """
    return prepare(sql.rstrip("; \t\r\n"), keep_distinct=keep_distinct)


def prediction_text(sql: str, *, strict: bool = False) -> str:
    """The judged text of a prediction: up to the first tab, or ``SELECT 1`` if it is empty.

    The official evaluator also replaces the lower-case letters ``value`` by ``1`` everywhere: a
    column ``value_points`` becomes ``1_points``. ``strict`` does not.

    >>> prediction_text("SELECT a FROM t WHERE b = value\\tmodel-x")
    'SELECT a FROM t WHERE b = 1'
    """
    sql = sql.strip().split("\t")[0].strip() or "SELECT 1"
    return sql if strict else sql.replace("value", "1")


def order_matters(gold_sql: str) -> bool:
    """Whether the order of rows matters: the gold text contains ``order by`` anywhere."""
    return "order by" in gold_sql.lower()


def rows_equal(
    gold: Sequence[Row], pred: Sequence[Row], *, ordered: bool, clock: Clock = UNLIMITED
) -> bool:
    """Whether two results have the same rows for some order of the columns of ``pred``.

    Rows are compared as a multiset, or as a list if ``ordered``, and values as in Python, so 1
    equals 1.0. Two empty results are equal, whatever their columns. Raises
    :class:`~distill_sql.scoring.clock.OutOfTime` if ``clock`` runs out: columns with the same
    values in different rows have very many orders to try.

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
    """The official evaluator's quick test: the rows are equal after each row's values are sorted.

    Values are sorted by their text, where 1 and 1.0 differ, so some equal rows are rejected.
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

    Columns are paired step by step. Rows that are equal in the columns paired so far share a group
    number, and the key of a column is the multiset of its values with those numbers. Only columns
    with equal keys can be paired. If all columns of ``pred`` with a key are equal, there is no
    choice; this settles most results in one step. Otherwise every choice for one column is tried,
    and each refines the keys of the other columns.

    The official evaluator tries the permutations that a sample of rows leaves possible. The verdict
    is the same, and here it does not depend on chance.
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
    return dict(Counter(items))  # dicts compare faster than Counters

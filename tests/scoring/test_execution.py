from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import pytest
import sqlparse
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_sql.scoring.clock import GRACE, Clock, OutOfTime
from distill_sql.scoring.execution import (
    SHORT,
    order_matters,
    prediction_text,
    prepare,
    prepare_gold,
    rows_equal,
)

Rows = Sequence[tuple[object, ...]]


@pytest.mark.parametrize(
    ("gold", "pred", "ordered", "equal"),
    [
        ([], [], False, True),
        ([(1,)], [], False, False),
        ([(1,), (2,)], [(2,), (1,)], False, True),
        ([(1,), (2,)], [(2,), (1,)], True, False),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, False),  # a multiset, not a set
        ([(1, "a")], [("a", 1)], False, True),
        ([(1, "a"), (2, "b")], [("a", 2), ("b", 1)], False, False),
        ([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], True, True),
        ([(1,)], [(1, 2)], False, False),
        ([(1,)], [(1.0,)], False, True),
        ([(1,)], [("1",)], False, False),
        ([(None,)], [(None,)], False, True),
        # columns with the same values: only whole rows distinguish the orders
        ([(1, 2), (2, 1), (3, 3)], [(2, 1), (1, 2), (3, 3)], False, True),
        ([(1, 2, 3), (2, 3, 1)], [(2, 1, 3), (3, 2, 1)], False, True),
        ([(1, 2, 3), (2, 3, 1)], [(2, 1, 3), (3, 1, 2)], False, False),
    ],
)
def test_rows(gold: Rows, pred: Rows, ordered: bool, equal: bool) -> None:
    assert rows_equal(gold, pred, ordered=ordered) is equal


def test_wide_results_are_compared_quickly() -> None:
    gold = [tuple(range(12)) for _ in range(3)]
    assert rows_equal(gold, [row[::-1] for row in gold], ordered=False)
    same = [(0,) * 12] * 2
    assert rows_equal(same, list(same), ordered=False)


def by_every_permutation(gold: Rows, pred: Rows, *, ordered: bool) -> bool:
    """The definition, with the official evaluator's test of rows with sorted values."""

    def texts(rows: Rows) -> list[tuple[object, ...]]:
        return [tuple(sorted(row, key=lambda v: str(v) + str(type(v)))) for row in rows]

    if len(gold) != len(pred) or len(gold[0]) != len(pred[0]):
        return False
    if not (texts(gold) == texts(pred) if ordered else set(texts(gold)) == set(texts(pred))):
        return False
    for order in permutations(range(len(gold[0]))):
        moved = [tuple(row[place] for place in order) for row in pred]
        if list(gold) == moved if ordered else Counter(gold) == Counter(moved):
            return True
    return False


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_rows_are_equal_if_they_are_for_some_permutation(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    value = st.sampled_from(data.draw(st.sampled_from([(0, 1), (0, 1, 2), (1, 1.0, "1", None)])))
    gold = data.draw(st.lists(st.tuples(*[value] * width), min_size=height, max_size=height))
    order = data.draw(st.permutations(range(width)))
    pred = [[row[place] for place in order] for row in data.draw(st.permutations(gold))]
    for column in data.draw(st.lists(st.integers(0, width - 1), max_size=2)):
        # Two cells of a column are swapped: columns keep their values, rows may not.
        one, other = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, height - 1))
        pred[one][column], pred[other][column] = pred[other][column], pred[one][column]
    found = [tuple(row) for row in pred]
    for ordered in (False, True):
        expected = by_every_permutation(gold, found, ordered=ordered)
        assert rows_equal(gold, found, ordered=ordered) is expected


def regular(width: int, *cycles: int) -> Rows:
    """Rows of 0 and 1 with two of each row and column set, in circles of these lengths."""
    rows, first = [], 0
    for length in cycles:
        for place in range(length):
            row = [0] * width
            row[first + place] = row[first + (place + 1) % length] = 1
            rows.append(tuple(row))
        first += length
    return rows


@pytest.mark.parametrize(
    ("gold", "pred", "equal"),
    [
        (regular(10, 10), regular(10, 4, 6), False),
        (regular(24, 24), regular(24, 12, 12), False),
        (regular(24, 10, 14), [row[::-1] for row in regular(24, 14, 10)], True),
        ([(0,) * 10, (1,) * 10] * 3, [(1,) * 10, (0,) * 10] * 3, True),
        ([(0,) * 5 + (1,) * 5, (1,) * 5 + (0,) * 5], [(0, 1) * 5, (1, 0) * 5], True),
        ([(0,) * 5 + (1,) * 5, (1,) * 5 + (0,) * 5], [(0, 1) * 5, (0, 1) * 5], False),
        ([tuple(range(2000))] * 2, [tuple(range(2000))[::-1]] * 2, True),
    ],
)
def test_columns_with_the_same_values_are_compared_quickly(
    gold: Rows, pred: Rows, equal: bool
) -> None:
    """Ten columns have 3,628,800 orders, and each column of these holds the same values."""
    start = time.process_time()
    assert rows_equal(gold, pred, ordered=False) is equal
    assert time.process_time() - start < 1


def test_comparing_ends_with_the_clock() -> None:
    gold, pred = regular(200, 200), regular(200, 100, 100)
    start = time.monotonic()
    with pytest.raises(OutOfTime):
        rows_equal(gold, pred, ordered=False, clock=Clock(0.1))
    assert time.monotonic() - start < 0.1 + GRACE + 1


@pytest.mark.parametrize(
    ("sql", "prepared"),
    [
        ("SELECT a FROM t WHERE b > = 1 AND c ! = 2", "SELECT a FROM t WHERE b >= 1 AND c != 2"),
        ("SELECT DISTINCT a", "SELECT  a"),
        ("SELECT count(distinct a)", "SELECT count( a)"),
        ("SELECT 'a distinct b', \"distinct\", distinctly",
         "SELECT 'a distinct b', \"distinct\", distinctly"),
        ("SELECT 'it''s distinct' -- distinct", "SELECT 'it''s distinct' -- distinct"),
        ("SELECT year(curdate()) - age", "SELECT 2020- age"),
    ],
)  # fmt: skip
def test_prepared_texts(sql: str, prepared: str) -> None:
    assert prepare(sql) == prepared


def test_distinct_can_be_kept() -> None:
    assert prepare("SELECT DISTINCT a", keep_distinct=True) == "SELECT DISTINCT a"


def test_predictions_are_rewritten_as_by_the_evaluator() -> None:
    assert prediction_text("SELECT 1\tconcert_singer") == "SELECT 1"
    assert prediction_text("") == prediction_text(" \n") == "SELECT 1"
    assert prediction_text("SELECT value, values_x, Value") == "SELECT 1, 1s_x, Value"
    assert prediction_text("SELECT value", strict=True) == "SELECT value"


@pytest.mark.parametrize(
    ("sql", "prepared"),
    [
        ("SELECT 1;", "SELECT 1;"),
        ("SELECT 1;;", "SELECT 1;"),
        ("SELECT 1; ;", "SELECT 1; "),
        ("SELECT 1;\n;", "SELECT 1;"),
        ("SELECT 1; -- note", "SELECT 1; -- note"),
        ("SELECT 1; -- note\n;", "SELECT 1; -- note\n"),
        ("SELECT 1; /* note */ ;", "SELECT 1; "),
        ("SELECT 1; nonsense ((", "SELECT 1; "),
        (";SELECT 1", ";"),
        ("SELECT ';;' -- ;;", "SELECT ';;' -- ;;"),
        ("SELECT a GO", "SELECT a GO"),
        ("SELECT GO FROM t", "SELECT GO "),  # its splitter ends a statement at GO
        ("SELECT go, GOLD FROM t", "SELECT go, GOLD FROM t"),
    ],
)
def test_only_the_first_statement_is_kept(sql: str, prepared: str) -> None:
    """The official evaluator's ``remove_distinct`` keeps sqlparse's first statement."""
    assert prepare(sql) == prepared
    official = "".join(
        token.value for token in sqlparse.parse(sql)[0].flatten() if token.value != "distinct"
    )
    assert official == prepared
    assert prepare(sql, keep_distinct=True) == sql
    padding = " " * SHORT  # a long text, which is prepared with the clock
    assert prepare(f"/*{padding}*/{sql}") in (f"/*{padding}*/{prepared}", f"/*{padding}*/;")


def test_a_gold_query_may_end_with_semicolons() -> None:
    assert prepare_gold("SELECT 1; ;\n", keep_distinct=True) == "SELECT 1"
    assert prepare_gold("SELECT DISTINCT a;;") == "SELECT  a"


def test_preparing_ends_with_the_clock() -> None:
    with pytest.raises(OutOfTime):
        prepare("SELECT DISTINCT " + "(" * 90_000, clock=Clock(-GRACE))


def test_dropping_distinct_drops_later_statements_too() -> None:
    assert prepare("SELECT 1; SELECT 2").rstrip() == "SELECT 1;"
    assert prepare("SELECT ';' ; ") == "SELECT ';' ; "
    assert prepare("SELECT 1; SELECT 2", keep_distinct=True) == "SELECT 1; SELECT 2"


def test_order_matters_if_the_text_contains_order_by() -> None:
    assert order_matters("SELECT a FROM t ORDER BY b")
    assert order_matters("SELECT a FROM (SELECT a FROM t order by b)")
    assert not order_matters("SELECT a FROM t ORDER  BY b")

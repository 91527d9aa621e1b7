from __future__ import annotations

from collections.abc import Sequence

import pytest

from distill_sql.scoring.execution import order_matters, prediction_text, prepare, rows_equal

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
        # columns with the same values: only the whole rows tell the orders apart
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
def test_preparing(sql: str, prepared: str) -> None:
    assert prepare(sql) == prepared


def test_distinct_can_be_kept() -> None:
    assert prepare("SELECT DISTINCT a", keep_distinct=True) == "SELECT DISTINCT a"


def test_the_evaluators_habits_with_predictions() -> None:
    assert prediction_text("SELECT 1\tconcert_singer") == "SELECT 1"
    assert prediction_text("") == prediction_text(" \n") == "SELECT 1"
    assert prediction_text("SELECT value, values_x, Value") == "SELECT 1, 1s_x, Value"
    assert prediction_text("SELECT value", strict=True) == "SELECT value"


def test_dropping_distinct_drops_later_statements_too() -> None:
    assert prepare("SELECT 1; SELECT 2").rstrip() == "SELECT 1;"
    assert prepare("SELECT ';' ; ") == "SELECT ';' ; "
    assert prepare("SELECT 1; SELECT 2", keep_distinct=True) == "SELECT 1; SELECT 2"


def test_order_is_looked_for_in_the_text() -> None:
    assert order_matters("SELECT a FROM t ORDER BY b")
    assert order_matters("SELECT a FROM (SELECT a FROM t order by b)")
    assert not order_matters("SELECT a FROM t ORDER  BY b")

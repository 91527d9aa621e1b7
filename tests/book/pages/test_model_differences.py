"""Adjacent models compared: the order of pairs, their numbers, and what is said of them."""

from __future__ import annotations

import pytest

from distill_sql.book.pages import model_differences
from distill_sql.book.shown import Figure, Table
from distill_sql.scoring import ScoreReport, Verdict


def report(right: str) -> ScoreReport:
    """A report of one letter per question, ``x`` for right, on databases of four questions."""
    return ScoreReport(
        tuple(
            Verdict(number, f"db{number // 4}", None, "", "", exec=letter == "x")
            for number, letter in enumerate(right)
        )
    )


REPORTS = {
    "middle": report("xxxx----" * 3 + "-" * 8),
    "best": report("xxxxxxxx" * 3 + "-" * 8),
    "worst": report("xxx-----" * 3 + "-" * 8),
}


def test_each_model_is_compared_with_the_next_better_one() -> None:
    pairs = model_differences.adjacent(REPORTS)
    assert list(pairs) == ["middle over worst", "best over middle"]
    assert [(pair.only_a, pair.only_b) for pair in pairs.values()] == [(0, 3), (0, 12)]


def test_a_pair_has_both_tests_and_both_intervals() -> None:
    figure, table, text = model_differences.differences(REPORTS)
    assert isinstance(table, Table)
    small, large = table.rows
    # All of 3, and all of 12, coins fall on one side.
    assert small["p"] == pytest.approx(2 / 2**3)
    assert large["p"] == pytest.approx(2 / 2**12)
    # Three of eight databases differ, all in one direction: 2 of 2 ** 3 ways are as extreme.
    assert small["databases"] == large["databases"] == pytest.approx(2 / 2**3)
    assert large["difference"] == pytest.approx(12 / 32)
    assert "The 2 tests" in table.caption
    assert isinstance(text, str)
    assert "**1 of 2 differences** have p < 0.05. Over databases, **0** have." in text
    assert isinstance(figure, Figure)
    assert "best over middle +37.5%, over questions" in figure.alt
    assert "best over middle +37.5%, over databases" in figure.alt
    assert figure.chart.to_dict()


def test_pairs_that_differ_over_databases_are_named() -> None:
    text = model_differences.differences({"low": report("-" * 24), "high": report("x" * 24)})[-1]
    assert isinstance(text, str)
    assert "Over databases, **1** have: high over low." in text

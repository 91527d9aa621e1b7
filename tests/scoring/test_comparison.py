from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import PredictionError
from distill_sql.scoring import Prediction, ScoreReport, Verdict, score
from distill_sql.scoring.clusters import student_t
from distill_sql.scoring.comparison import Comparison, compare, compare_means


def test_a_difference_by_hand() -> None:
    found = Comparison(100, 40, 55, only_a=5, only_b=20)
    assert found.difference == pytest.approx(0.15)
    # two-sided binomial: 2 * sum(C(25, k) for k <= 5) / 2**25
    assert found.p_value == pytest.approx(2 * sum(math.comb(25, k) for k in range(6)) / 2**25)
    low, high = found.interval
    # the normal approximation: sqrt(n01 + n10 - (n01 - n10)**2 / n) / n
    spread = 1.96 * math.sqrt(25 - 15**2 / 100) / 100
    assert low == pytest.approx(0.15 - spread, abs=0.011)
    assert high == pytest.approx(0.15 + spread, abs=0.011)
    assert "only A right 5, only B right 20" in str(found)


def test_no_difference_is_no_evidence() -> None:
    assert Comparison(10, 5, 5, 0, 0).p_value == 1
    # A share of 30.85 % occurs in none of 10 questions with a probability of 2.5 %.
    assert Comparison(10, 5, 5, 0, 0).interval == pytest.approx((-0.3085, 0.3085), abs=1e-4)
    assert Comparison(10, 5, 5, 2, 2).p_value == 1
    assert math.isnan(Comparison(0, 0, 0, 0, 0).difference)


def test_reports_are_paired_by_question(toy_dataset: Path) -> None:
    shop = load_dataset(toy_dataset)

    def report(dataset: Dataset, *queries: str) -> object:
        pairs = zip(dataset, queries, strict=True)
        return score([Prediction(e.question_id, e.db_id, sql) for e, sql in pairs], dataset)

    a = report(shop, "SELECT 3", "SELECT 1")
    b = report(shop, "SELECT 4", shop.examples[1].query)
    assert compare(a, b) == Comparison(2, 1, 1, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(PredictionError, match="2 and 1 verdicts"):
        compare(a, report(shop.limit(1), "SELECT 3"))  # type: ignore[arg-type]


def report(**databases: str) -> ScoreReport:
    """A report with one letter per question of a database: r right, w wrong, - no verdict."""
    letters = [(db_id, letter) for db_id, answers in databases.items() for letter in answers]
    right = {"r": True, "w": False, "-": None}
    return ScoreReport(
        tuple(
            Verdict(number, db_id, "easy", "", "", exec=right[letter])
            for number, (db_id, letter) in enumerate(letters)
        )
    )


def test_a_difference_over_databases_by_hand() -> None:
    found = compare(report(a="wwwr", b="wwrr", c="rrww"), report(a="rrrr", b="rrww", c="rrrw"))
    assert (found.only_a, found.only_b, found.databases) == (2, 6, ((4, 3), (4, 0), (4, 1)))
    assert found.difference == pytest.approx(1 / 3)
    # The databases' means 3/4, 0, 1/4 have the variance 7/48, their mean a third of it. Over
    # questions it is (8/12 - 1/9) / 12, and less.
    spread = student_t(2) * math.sqrt(7 / 48 / 3)
    assert found.clustered_interval == pytest.approx((1 / 3 - spread, 1))  # no gain is above 1
    # Of the sign combinations of (3, 0, 1), only those with totals 4 and -4 are as far from 0.
    assert found.clustered_p_value == pytest.approx(0.5)
    assert found.least_p == 2 / 8
    assert "over 3 databases" in str(found)
    assert "exact p = 0.5" in str(found)
    assert "cannot be below 0.25" in str(found)


def test_one_database_has_no_interval_over_databases() -> None:
    found = compare(report(a="wwr"), report(a="rrr"))
    assert math.isnan(found.clustered_p_value)
    assert math.isnan(found.clustered_interval[0])
    assert "over" not in str(found).replace("over the", "")
    assert found.summary()["clustered_interval"] is None
    assert found.summary()["clustered_p_value"] is None


def test_single_runs_are_compared_as_by_compare() -> None:
    a, b = report(a="wwwr", b="wwr-", c="rrww"), report(a="rrrr", b="rrw-", c="rr-w")
    plain, means = compare(a, b), compare_means([a], [b])
    assert means.n == plain.n == 10
    assert means.difference == pytest.approx(plain.difference)
    assert means.clustered_interval == pytest.approx(plain.clustered_interval)
    assert means.clustered_p_value == plain.clustered_p_value


def test_means_over_seeds_by_hand() -> None:
    base = report(a="ww", b="ww")
    seeds = [report(a="rw", b="rr"), report(a="rr", b="wr"), report(a="rr", b="rr")]
    found = compare_means([base], seeds)
    assert found.runs_a == pytest.approx((0,))
    assert found.runs_b == pytest.approx((0.75, 0.75, 1))
    # Each question's share of right seeds: 1, 2/3 | 2/3, 1. So both databases have the mean 5/6.
    assert found.difference == pytest.approx(5 / 6)
    over_questions = (1 / 6) ** 2 / 4
    over_seeds = (1 / 4) ** 2 / 3 / 3
    both = over_questions + over_seeds
    dof = both**2 / (over_questions**2 / 3 + over_seeds**2 / 2)
    assert found.interval[0] == pytest.approx(5 / 6 - student_t(dof) * math.sqrt(both))
    dof = both**2 / (over_questions**2 / 1 + over_seeds**2 / 2)
    assert found.clustered_interval == pytest.approx((5 / 6 - student_t(dof) * math.sqrt(both), 1))
    assert found.clustered_p_value == 0.5


def test_seeds_that_disagree_widen_the_interval() -> None:
    base = report(a="wwrr", b="wwww", c="rwww")
    alike = [report(a="rrrr", b="rrww", c="rrww")] * 2
    apart = [report(a="rrrr", b="rrrr", c="rrww"), report(a="rrrr", b="wwww", c="rrww")]
    narrow, wide = compare_means([base], alike), compare_means([base], apart)
    assert narrow.difference == pytest.approx(wide.difference)
    for name in ("interval", "clustered_interval"):
        assert getattr(wide, name)[0] < getattr(narrow, name)[0]
    turned = compare_means(apart, [base])
    assert turned.clustered_interval == pytest.approx(
        tuple(-x for x in wide.clustered_interval)[::-1]
    )


def test_means_need_runs_on_the_same_questions() -> None:
    with pytest.raises(PredictionError, match="0 and 1 runs"):
        compare_means([], [report(a="r")])
    with pytest.raises(PredictionError, match="1 and 2 verdicts"):
        compare_means([report(a="r")], [report(a="rr")])


def test_files_that_never_differ_have_an_interval() -> None:
    same = report(a="rrwwr", b="wrrwr")
    found = compare(same, same)
    low, high = found.clustered_interval
    assert low < found.interval[0] < 0 < found.interval[1] < high
    assert found.clustered_p_value == 1
    assert compare_means([same], [same, same]).clustered_interval == pytest.approx((low, high))


def test_the_interval_of_a_mean_gain_has_the_nominal_coverage() -> None:
    """The standard deviation of the gain is 3 points over seeds and 10 points over databases.

    A question is equally hard for all seeds.
    """
    random = np.random.default_rng(7)
    held = {"interval": 0, "clustered_interval": 0}
    base = report(**dict.fromkeys("abcdef", "w" * 40))
    for _ in range(150):
        rates = random.normal(0.6, 0.1, size=(6, 1))
        hardness = random.random((6, 40))
        seeds = [hardness < rates + seed for seed in random.normal(0, 0.03, size=3)]
        drawn = [
            report(**{
                name: "".join("wr"[right] for right in row.astype(int))
                for name, row in zip("abcdef", rights, strict=True)
            })
            for rights in seeds
        ]  # fmt: skip
        found = compare_means([base], drawn)
        for name in held:
            low, high = getattr(found, name)
            held[name] += low <= 0.6 <= high
    assert 0.93 <= held["clustered_interval"] / 150 <= 0.99
    assert held["interval"] / 150 < 0.85

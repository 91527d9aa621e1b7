from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from distill_sql.scoring.clusters import (
    Interval,
    Variance,
    mean_variance,
    share_interval,
    sign_flip_p,
    student_t,
    wilson_interval,
)

#: Questions on each database of pocket's dev split, and of Spider's.
POCKET = (85,) * 6
SPIDER = (4, 15, 16, 18, 30, 30, 38, 40, 40, 42, 45, 56, 62, 62, 78, 80, 82, 84, 92, 120)


@pytest.mark.parametrize(
    ("dof", "quantile"), [(1, 12.706205), (2, 4.302653), (5, 2.570582), (19, 2.093024)]
)
def test_quantiles_are_those_of_the_tables(dof: int, quantile: float) -> None:
    assert student_t(dof) == pytest.approx(quantile, abs=2e-5)


def test_quantiles_decrease_to_the_normal_one() -> None:
    assert student_t(2) > student_t(2.5) > student_t(3)
    assert student_t(100_000) == pytest.approx(1.95996, abs=1e-3)


def test_databases_of_equal_size_are_a_sample_of_their_means() -> None:
    """The variance is that of the databases' means, divided by their number."""
    found = mean_variance([(10, 2), (10, 5), (10, 8)])
    assert found.value == pytest.approx(0.3**2 / 3)
    assert found.dof == pytest.approx(2)


def test_databases_of_different_sizes_by_hand() -> None:
    """Mean 1/2; residuals 1/2, -1/2, 0, weighted by 1 / (1 - size / 4)."""
    found = mean_variance([(1, 1), (1, 0), (2, 1)])
    assert found.value == pytest.approx((4 / 3 * 0.25 + 4 / 3 * 0.25) / 16)
    # The products of weighted residuals: 1, 1, 2 on the diagonal, -1/3 and twice -sqrt(2/3) beside.
    assert found.dof == pytest.approx(4**2 / (1 + 1 + 4 + 2 / 9 + 4 * 2 / 3))


def test_one_large_database_leaves_few_degrees_of_freedom() -> None:
    even, uneven = (mean_variance([(n, 0) for n in s]) for s in (POCKET, (5, 5, 5, 5, 5, 200)))
    assert even.dof == pytest.approx(5)
    assert uneven.dof < 1.5


def test_the_variance_is_never_below_that_over_questions() -> None:
    alike = [(10, 5)] * 6
    assert mean_variance(alike).value == 0
    assert mean_variance(alike, least=0.01).value == 0.01
    low, high = share_interval(alike)
    assert (low, high) == wilson_interval(0.5, 60, student_t(5))


def test_an_accuracy_of_one_has_an_interval_below_it() -> None:
    low, high = share_interval([(85, 85)] * 6)
    assert 0.98 < low < 0.99
    assert high == pytest.approx(1)


def test_one_database_has_no_interval() -> None:
    assert all(map(math.isnan, share_interval([(85, 60)])))
    assert all(map(math.isnan, share_interval([])))


def test_variances_of_independent_estimates_add_up() -> None:
    both = Variance(3.0, 6) + Variance(1.0, 2)
    assert both.value == 4
    assert both.dof == pytest.approx(16 / (9 / 6 + 1 / 2))
    assert Variance(0.0, 5) + Variance(0.0, 2) == Variance(0.0, 2)


@pytest.mark.parametrize("sums", [[3, -1, 2], [4, 0, -4, 1], [0, 0], [7], [5, 3, 9, -2, 6, 1]])
def test_the_exact_test_enumerates_all_combinations_of_signs(sums: list[int]) -> None:
    choices = list(itertools.product([1, -1], repeat=len(sums)))
    totals = [sum(sign * each for sign, each in zip(signs, sums, strict=True)) for signs in choices]
    far = sum(abs(total) >= abs(sum(sums)) for total in totals)
    assert sign_flip_p(sums) == far / len(choices)


def test_six_databases_give_no_p_value_below_2_in_64() -> None:
    assert sign_flip_p([50, 60, 40, 70, 30, 80]) == 2 / 64


def _coverage(
    interval: Callable[[list[tuple[int, int]]], Interval],
    sizes: tuple[int, ...],
    correlation: float,
) -> float:
    """The coverage of the interval for a true accuracy of 0.75, in 1,000 simulated samples.

    A database's accuracy has a beta distribution; ``correlation`` is that of two questions on one
    database. Measured by one-way analysis of variance, it is 0.00 to 0.02 for pocket's students
    and 0.04 to 0.13 for the published predictions on Spider's dev split.
    """
    random = np.random.default_rng(7)
    truth, both = 0.75, (1 - correlation) / correlation
    held = 0
    for rates in random.beta(truth * both, (1 - truth) * both, size=(1000, len(sizes))):
        right = random.binomial(sizes, rates)
        low, high = interval(list(zip(sizes, map(int, right), strict=True)))
        held += low <= truth <= high
    return held / 1000


def _over_questions(clusters: list[tuple[int, int]]) -> Interval:
    n = sum(size for size, _ in clusters)
    return wilson_interval(sum(right for _, right in clusters) / n, n, 1.96)


def _percentiles(clusters: list[tuple[int, int]]) -> Interval:
    table = np.array(clusters)
    drawn = table[np.random.default_rng(1).integers(0, len(table), (300, len(table)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("sizes", [POCKET, SPIDER], ids=["6 databases", "20 databases"])
@pytest.mark.parametrize("correlation", [0.02, 0.08])
def test_the_interval_has_the_nominal_coverage(sizes: tuple[int, ...], correlation: float) -> None:
    assert 0.93 <= _coverage(share_interval, sizes, correlation) <= 0.985
    assert _coverage(_over_questions, sizes, correlation) < 0.85


def test_bootstrap_percentiles_over_six_databases_are_too_narrow() -> None:
    assert _coverage(_percentiles, POCKET, 0.02) < 0.9


def test_the_interval_of_a_difference_has_the_nominal_coverage() -> None:
    """The mean gain is 10 points, with a standard deviation of 4 points over databases."""
    random = np.random.default_rng(7)
    held = 0
    for gains in random.normal(0.1, 0.04, size=(1000, len(POCKET))):
        sums = [
            int(random.choice([1, -1, 0], size=85, p=[0.1 + gain, 0.1, 0.8 - gain]).sum())
            for gain in np.clip(gains, -0.1, 0.5)
        ]
        mean = sum(sums) / 510
        low, high = mean_variance(list(zip(POCKET, sums, strict=True))).interval(mean)
        held += low <= 0.1 <= high
    assert 0.93 <= held / 1000 <= 0.97

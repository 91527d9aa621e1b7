"""Paired comparisons of prediction files on the same questions, with intervals and tests.

:func:`compare` compares two files. :func:`compare_means` compares two groups of runs with different
seeds, such as the gains in a table over several seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from distill_sql.errors import PredictionError
from distill_sql.scoring.clusters import (
    NONE,
    NORMAL,
    Cluster,
    Interval,
    Variance,
    mean_variance,
    sign_flip_p,
)
from distill_sql.scoring.report import Metric, ScoreReport, interval_as_json

#: The number of bootstrap resamples, and their seed.
RESAMPLES = 20_000
SEED = 42


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two accuracies, B minus A.

    ``only_a`` and ``only_b`` count the questions that only A or only B answers correctly.
    ``databases`` has the number of questions and the difference of right answers on each database;
    it is ignored when two comparisons are tested for equality.
    """

    n: int
    correct_a: int
    correct_b: int
    only_a: int
    only_b: int
    databases: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    @property
    def difference(self) -> float:
        """The accuracy of B minus that of A, between -1 and 1; NaN without questions."""
        return (self.only_b - self.only_a) / self.n if self.n else math.nan

    @property
    def interval(self) -> Interval:
        """The 95 % percentile bootstrap interval of the difference, over questions.

        Two files that never differ here could differ on other questions. In that case the interval
        is the exact one for 0 of ``n`` (Clopper and Pearson 1934), on both sides.
        """
        if not self.n:
            return NONE
        if not self.only_a + self.only_b:
            return -_never(self.n), _never(self.n)
        shares = np.array([self.only_a, self.only_b, self.n - self.only_a - self.only_b]) / self.n
        counts = np.random.default_rng(SEED).multinomial(self.n, shares, size=RESAMPLES)
        low, high = np.quantile((counts[:, 1] - counts[:, 0]) / self.n, [0.025, 0.975])
        return float(low), float(high)

    @property
    def clustered_interval(self) -> Interval:
        """The 95 % interval of the difference, clustered by database; NaN for a single one.

        :mod:`~distill_sql.scoring.clusters` explains the method.
        """
        if len(self.databases) < 2:
            return NONE
        least = _variance_over_questions(self.n, self.difference, self.only_a + self.only_b)
        return mean_variance(self.databases, least=least).interval(self.difference)

    @property
    def p_value(self) -> float:
        """The two-sided p-value of McNemar's exact test (McNemar 1947) of no difference.

        The test treats questions as independent.

        >>> round(Comparison(100, 40, 46, only_a=2, only_b=8).p_value, 3)
        0.109
        """
        total = self.only_a + self.only_b
        tail = sum(math.comb(total, k) for k in range(min(self.only_a, self.only_b) + 1))
        return min(1.0, float(Fraction(2 * tail, 2**total)))

    @property
    def clustered_p_value(self) -> float:
        """The two-sided p-value of the permutation test that swaps A and B on whole databases.

        It is at least :attr:`least_p`, and NaN if there is only one database.
        """
        return _p_value(self.databases)

    @property
    def least_p(self) -> float:
        """The smallest p-value that the test over databases can give for this number of them."""
        return 2 / 2 ** len(self.databases) if len(self.databases) > 1 else math.nan

    def summary(self) -> dict[str, Any]:
        """The numbers that ``distill-sql score --json`` writes, with None for missing ones."""
        clustered = len(self.databases) > 1
        return {
            "n": self.n,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "difference": self.difference if self.n else None,
            "interval": interval_as_json(self.interval),
            "p_value": self.p_value,
            "databases": len(self.databases),
            "clustered_interval": interval_as_json(self.clustered_interval),
            "clustered_p_value": self.clustered_p_value if clustered else None,
        }

    def __str__(self) -> str:
        told = (
            f"B - A: {100 * self.difference:+.1f} points, 95 % interval {_points(self.interval)}; "
            f"only A right {self.only_a}, only B right {self.only_b}; "
            f"McNemar's exact p = {self.p_value:.2g}"
        )
        if len(self.databases) > 1:
            told += (
                f"\n  over {len(self.databases)} databases: 95 % interval "
                f"{_points(self.clustered_interval)}; exact p = {self.clustered_p_value:.2g} if A "
                f"and B are exchanged on whole databases (it cannot be below {self.least_p:.2g})"
            )
        return told


@dataclass(frozen=True)
class MeanComparison:
    """The mean accuracy of runs B minus that of runs A, on the same questions.

    ``runs_a`` and ``runs_b`` are the accuracies of the runs. Both 95 % intervals include the
    variance over seeds: ``interval`` with that over questions, ``clustered_interval`` with that
    over databases (NaN for a single one). ``clustered_p_value`` is
    :attr:`Comparison.clustered_p_value` of the means. The seed of a side with a single run adds no
    variance. That is correct for an untrained model; for a trained one, the intervals are about
    this run only.
    """

    n: int
    runs_a: tuple[float, ...]
    runs_b: tuple[float, ...]
    databases: int
    interval: Interval
    clustered_interval: Interval
    clustered_p_value: float

    @property
    def difference(self) -> float:
        """The mean accuracy of B minus that of A, between -1 and 1."""
        return float(np.mean(self.runs_b) - np.mean(self.runs_a)) if self.n else math.nan


def compare(a: ScoreReport, b: ScoreReport, *, metric: Metric = "exec") -> Comparison:
    """Compare two reports on the same questions; questions without a verdict are left out."""
    db_ids, (left, right) = _paired([a, b], metric)
    difference = right - left
    return Comparison(
        n=len(db_ids),
        correct_a=int(left.sum()),
        correct_b=int(right.sum()),
        only_a=int((difference < 0).sum()),
        only_b=int((difference > 0).sum()),
        databases=_clusters(db_ids, difference),
    )


def compare_means(
    a: Sequence[ScoreReport], b: Sequence[ScoreReport], *, metric: Metric = "exec"
) -> MeanComparison:
    """Compare two groups of runs on the same questions: the mean gain over seeds.

    The value of a question is the share of a group's runs that answer it correctly, B minus A, so
    all seeds are paired on questions and databases. The total variance is the variance of the mean
    over questions, or over databases, plus that over seeds: the variance of the runs' accuracies
    divided by their number. The second includes a little of the first, so the intervals are
    slightly too wide rather than too narrow. Student's t accounts for the uncertain variance of a
    few seeds.
    """
    if not a or not b:
        raise PredictionError(
            f"Found {len(a)} and {len(b)} runs to compare; pass at least one on each side."
        )
    db_ids, rights = _paired([*a, *b], metric)
    left, right = rights[: len(a)], rights[len(a) :]
    n = len(db_ids)
    if not n:
        return MeanComparison(0, (), (), 0, NONE, NONE, math.nan)
    # Integers: each question's difference of means, multiplied by both numbers of runs.
    scale = len(a) * len(b)
    counted = right.sum(axis=0) * len(a) - left.sum(axis=0) * len(b)
    clusters = _clusters(db_ids, counted)
    difference = float(counted.sum()) / scale / n
    over_questions = _variance_over_questions(n, difference, float((counted**2).sum()) / scale**2)
    runs_a, runs_b = left.mean(axis=1), right.mean(axis=1)

    def interval(variance: Variance) -> Interval:
        for runs in (runs_a, runs_b):
            if len(runs) > 1:
                variance += Variance(float(runs.var(ddof=1)) / len(runs), len(runs) - 1)
        return variance.interval(difference)

    clustered = NONE
    if len(clusters) > 1:
        shares = [(size, total / scale) for size, total in clusters]
        clustered = interval(mean_variance(shares, least=over_questions))
    return MeanComparison(
        n=n,
        runs_a=tuple(map(float, runs_a)),
        runs_b=tuple(map(float, runs_b)),
        databases=len(clusters),
        interval=interval(Variance(over_questions, max(n - 1, 1))),
        clustered_interval=clustered,
        clustered_p_value=_p_value(clusters),
    )


def _paired(
    reports: Sequence[ScoreReport], metric: Metric
) -> tuple[list[str], npt.NDArray[np.int_]]:
    """The databases and verdicts of the questions that have a verdict in every run.

    The verdicts have the shape (runs, questions); 1 is right.
    """
    asked = [verdict.question_id for verdict in reports[0].verdicts]
    for other in reports[1:]:
        if [verdict.question_id for verdict in other.verdicts] != asked:
            raise PredictionError(
                f"The two reports have {len(asked)} and {len(other.verdicts)} verdicts on "
                "different questions. Score both files on the same dataset and split."
            )
    columns = [
        (verdicts[0].db_id, rights)
        for verdicts in zip(*(report.verdicts for report in reports), strict=True)
        for rights in [[getattr(verdict, metric) for verdict in verdicts]]
        if None not in rights
    ]
    found = np.array([rights for _, rights in columns], dtype=int).reshape(-1, len(reports)).T
    return [db_id for db_id, _ in columns], found


def _clusters(db_ids: Sequence[str], values: npt.NDArray[np.int_]) -> tuple[tuple[int, int], ...]:
    """For each database, the number of questions and the sum of their values."""
    found: dict[str, list[int]] = {}
    for db_id, value in zip(db_ids, values, strict=True):
        found.setdefault(db_id, []).append(int(value))
    return tuple((len(each), sum(each)) for each in found.values())


def _variance_over_questions(n: int, mean: float, squares: float) -> float:
    """The variance of a mean of ``n`` values whose squares sum to ``squares``.

    If all values are 0, it is the variance that the exact interval for 0 of ``n`` implies.
    """
    if not squares:
        return (_never(n) / NORMAL) ** 2
    return max(squares / n - mean**2, 0.0) / n


def _never(n: int) -> float:
    """The share that occurs in none of ``n`` questions with a probability of 2.5 %."""
    return 1 - float(0.025 ** (1 / n))


def _p_value(clusters: Sequence[Cluster]) -> float:
    return sign_flip_p([int(total) for _, total in clusters]) if len(clusters) > 1 else math.nan


def _points(interval: Interval) -> str:
    low, high = interval
    return f"{100 * low:+.1f} to {100 * high:+.1f}"

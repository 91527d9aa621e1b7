"""Confidence intervals and a test clustered by database: results on one database are correlated.

An interval over questions treats them as independent. A benchmark samples databases and asks many
questions on each, so the databases are the sample, and there are few: 6 in pocket's dev split, 20
in Spider's. Miller ("Adding error bars to evals", 2024) recommends clustered standard errors for
this reason. With so few clusters, bootstrap intervals and intervals from normal quantiles are too
narrow (Cameron, Gelbach and Miller 2008). This module uses instead:

- the CR2 variance with Student's t and the degrees of freedom of Bell and McCaffrey (2002), which
  decrease if a few databases have most of the questions;
- for an accuracy, Wilson's interval with the effective sample size that this variance implies, at
  most the number of questions (Korn and Graubard 1998; Franco et al. 2019). It stays between 0
  and 1;
- for a difference, a permutation test that swaps the two models on whole databases, over all
  combinations (Canay, Romano and Shaikh 2017). It is exact for any number of databases.

``tests/scoring/test_clusters.py`` simulates the coverage of the intervals. A cluster is the number
of questions on a database, at least one, and the sum of their values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

#: The number of questions on a database, and the sum of their values.
Cluster: TypeAlias = tuple[int, float]
Interval: TypeAlias = tuple[float, float]
#: No interval: there are no questions, or only one database.
NONE: Interval = (math.nan, math.nan)
#: The confidence level.
LEVEL = 0.95
#: The two-sided quantile of the normal distribution at this level.
NORMAL = 1.959964
_STEPS = 20_001


@dataclass(frozen=True)
class Variance:
    """The estimated variance of an estimate, and its degrees of freedom."""

    value: float
    dof: float

    def __add__(self, other: Variance) -> Variance:
        """The variance of a sum of two independent estimates (Welch 1947, Satterthwaite 1946)."""
        total = self.value + other.value
        if not total:
            return Variance(0.0, min(self.dof, other.dof))
        return Variance(total, total**2 / (self.value**2 / self.dof + other.value**2 / other.dof))

    def interval(self, estimate: float) -> Interval:
        """Student's t interval of a difference of shares, clipped to -1 and 1."""
        spread = student_t(self.dof) * math.sqrt(self.value)
        return max(estimate - spread, -1.0), min(estimate + spread, 1.0)


def mean_variance(clusters: Sequence[Cluster], *, least: float = 0.0) -> Variance:
    """The CR2 variance of the mean over all questions, clustered by database; two or more.

    ``least`` is the variance over questions. The clustered variance is smaller only by chance, so
    the larger of the two is returned.
    """
    sizes = np.array([size for size, _ in clusters], dtype=float)
    totals = np.array([total for _, total in clusters], dtype=float)
    n = sizes.sum()
    residuals = totals - sizes * totals.sum() / n
    weights = 1 / (1 - sizes / n)
    value = float((weights * residuals**2).sum() / n**2)
    # Bell and McCaffrey's degrees of freedom under independent questions.
    spread = np.diag(sizes) - np.outer(sizes, sizes) / n
    spread *= np.sqrt(np.outer(weights, weights))
    dof = float(np.trace(spread) ** 2 / (spread**2).sum())
    return Variance(max(value, least), dof)


def share_interval(clusters: Sequence[Cluster]) -> Interval:
    """The interval of a share, clustered by database; a cluster's sum counts its right answers.

    >>> low, high = share_interval([(85, 60), (85, 70), (85, 62), (85, 75)])
    >>> f"{low:.3f} {high:.3f}"
    '0.631 0.886'
    """
    if len(clusters) < 2:
        return NONE
    n = sum(size for size, _ in clusters)
    share = sum(total for _, total in clusters) / n
    over_questions = share * (1 - share) / n
    variance = mean_variance(clusters, least=over_questions)
    effective = n * over_questions / variance.value if variance.value else n
    return wilson_interval(share, effective, student_t(variance.dof))


def wilson_interval(share: float, n: float, quantile: float) -> Interval:
    """Wilson's interval (1927) of a share of ``n``, for a quantile of the distribution."""
    centre = share + quantile**2 / (2 * n)
    spread = quantile * math.sqrt(share * (1 - share) / n + (quantile / (2 * n)) ** 2)
    scale = 1 + quantile**2 / n
    return max(centre - spread, 0.0) / scale, min(centre + spread, scale) / scale


def sign_flip_p(sums: Sequence[int]) -> float:
    """The two-sided p-value of no difference, from the sum of differences on each database.

    Under the null hypothesis each sum is as likely to have the other sign. The p-value is the share
    of all combinations of signs whose total is at least as far from 0 as the observed one. It is
    never below 2 / 2 ** databases: with 6 databases it is at least 2 / 64.

    >>> sign_flip_p([3, 5, 2, 4, 1, 6]) == 2 / 64
    True
    """
    whole = [abs(each) for each in sums]
    reach = sum(whole)
    shares = np.zeros(2 * reach + 1)  # of the combinations of signs, by their total
    shares[reach] = 1.0
    for each in whole:
        if each:
            shares = (np.roll(shares, each) + np.roll(shares, -each)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(sums))
    return min(1.0, float(shares[far].sum()))


@lru_cache(maxsize=1024)
def student_t(dof: float) -> float:
    """The two-sided 95 % quantile of Student's t; ``dof`` is a real number, at least 1.

    With t = sqrt(dof) * tan(angle), the density of the angle is cos(angle) ** (dof - 1), which is
    integrated numerically; the quantile is accurate to 6 digits.

    >>> f"{student_t(1):.3f} {student_t(5):.4f} {student_t(19):.4f}"
    '12.706 2.5706 2.0930'
    """
    dof = max(dof, 1.0)
    angles = np.linspace(0.0, math.pi / 2, _STEPS)
    density = np.maximum(np.cos(angles), 0.0) ** (dof - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(dof) * math.tan(float(np.interp(LEVEL, below / below[-1], angles)))

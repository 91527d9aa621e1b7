"""Intervals and a test over databases: questions on one database succeed or fail together.

An interval over questions takes each as drawn by itself. Benchmarks draw databases and ask many
questions on each, so what varies is the database, and there are few: 6 in pocket's dev split, 20 in
Spider's. Miller ("Adding error bars to evals", 2024) asks for clustered standard errors for this
reason. With so few clusters a bootstrap over them is too narrow, and so are normal quantiles
(Cameron, Gelbach and Miller 2008). Used here instead:

- the variance CR2 with Student's t and the degrees of freedom of Bell and McCaffrey (2002), which
  fall where a few databases have most of the questions;
- for an accuracy, Wilson's form with the effective number of questions that this variance implies,
  never more than there are (Korn and Graubard 1998; Franco et al. 2019): it stays between 0 and 1;
- for a difference, a test that exchanges the two models on whole databases, in every way there is
  (Canay, Romano and Shaikh 2017). It is exact for any number of databases.

``tests/scoring/test_clusters.py`` simulates how often the intervals hold the truth. A cluster is
the number of a database's questions, one or more, and the sum of their values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

#: The number of a database's questions, and the sum of their values.
Cluster: TypeAlias = tuple[int, float]
Interval: TypeAlias = tuple[float, float]
#: No interval: there is nothing to measure, or only one database.
NONE: Interval = (math.nan, math.nan)
#: How often an interval is to hold the truth.
LEVEL = 0.95
#: The two-sided quantile of the normal distribution for it.
NORMAL = 1.959964
_STEPS = 20_001


@dataclass(frozen=True)
class Variance:
    """The variance of an estimate and the degrees of freedom that it is known with."""

    value: float
    dof: float

    def __add__(self, other: Variance) -> Variance:
        """The variance of a sum of two independent estimates (Welch 1947, Satterthwaite 1946)."""
        total = self.value + other.value
        if not total:
            return Variance(0.0, min(self.dof, other.dof))
        return Variance(total, total**2 / (self.value**2 / self.dof + other.value**2 / other.dof))

    def interval(self, estimate: float) -> Interval:
        """The interval around a difference of shares, by Student's t; never beyond -1 and 1."""
        spread = student_t(self.dof) * math.sqrt(self.value)
        return max(estimate - spread, -1.0), min(estimate + spread, 1.0)


def mean_variance(clusters: Sequence[Cluster], *, least: float = 0.0) -> Variance:
    """The variance of the mean over all questions, if databases vary (CR2); two of them or more.

    ``least`` is the variance over questions. Databases cannot vary less, except by chance, so it is
    taken if it is the larger one.
    """
    sizes = np.array([size for size, _ in clusters], dtype=float)
    totals = np.array([total for _, total in clusters], dtype=float)
    n = sizes.sum()
    residuals = totals - sizes * totals.sum() / n
    weights = 1 / (1 - sizes / n)
    value = float((weights * residuals**2).sum() / n**2)
    # Bell and McCaffrey's degrees of freedom, for questions that do not depend on one another.
    spread = np.diag(sizes) - np.outer(sizes, sizes) / n
    spread *= np.sqrt(np.outer(weights, weights))
    dof = float(np.trace(spread) ** 2 / (spread**2).sum())
    return Variance(max(value, least), dof)


def share_interval(clusters: Sequence[Cluster]) -> Interval:
    """The interval of a share; a cluster's sum is its number of right answers.

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
    """The interval of a share of ``n`` (Wilson 1927), for a quantile of the distribution."""
    centre = share + quantile**2 / (2 * n)
    spread = quantile * math.sqrt(share * (1 - share) / n + (quantile / (2 * n)) ** 2)
    scale = 1 + quantile**2 / n
    return max(centre - spread, 0.0) / scale, min(centre + spread, scale) / scale


def sign_flip_p(sums: Sequence[int]) -> float:
    """The two-sided p of no difference, from each database's sum of differences, in any unit.

    If the two models are alike, each sum could as well have the other sign. The p is the share of
    all choices of signs whose total is as far from 0 as the observed one. So it cannot be less than
    2 / 2 ** databases: with 6 databases no p is below 2 / 64.

    >>> sign_flip_p([3, 5, 2, 4, 1, 6]) == 2 / 64
    True
    """
    whole = [abs(each) for each in sums]
    reach = sum(whole)
    shares = np.zeros(2 * reach + 1)  # of the choices of signs, by their total
    shares[reach] = 1.0
    for each in whole:
        if each:
            shares = (np.roll(shares, each) + np.roll(shares, -each)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(sums))
    return min(1.0, float(shares[far].sum()))


@lru_cache(maxsize=1024)
def student_t(dof: float) -> float:
    """The two-sided 95 % quantile of Student's t; ``dof`` is 1 or more, and need not be whole.

    With t = sqrt(dof) * tan(angle), the density of the angle is cos(angle) ** (dof - 1), which is
    added up in steps; the quantile is right to 6 digits.

    >>> f"{student_t(1):.3f} {student_t(5):.4f} {student_t(19):.4f}"
    '12.706 2.5706 2.0930'
    """
    dof = max(dof, 1.0)
    angles = np.linspace(0.0, math.pi / 2, _STEPS)
    density = np.maximum(np.cos(angles), 0.0) ** (dof - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(dof) * math.tan(float(np.interp(LEVEL, below / below[-1], angles)))

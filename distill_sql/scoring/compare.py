"""Two prediction files on the same questions: is the difference more than noise?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from distill_sql.errors import PredictionError
from distill_sql.scoring.score import Metric, ScoreReport

#: Resamples of the questions behind an interval, and their seed.
RESAMPLES = 20_000
SEED = 42


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two accuracies, B minus A.

    ``only_a`` and ``only_b`` count the questions that only one of them answers rightly; all others
    say nothing about which is better.
    """

    n: int
    correct_a: int
    correct_b: int
    only_a: int
    only_b: int

    @property
    def difference(self) -> float:
        """The accuracy of B less that of A, between -1 and 1; not a number without questions."""
        return (self.only_b - self.only_a) / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, by a bootstrap over the questions (percentiles)."""
        if not self.n:
            return math.nan, math.nan
        shares = np.array([self.only_a, self.only_b, self.n - self.only_a - self.only_b]) / self.n
        counts = np.random.default_rng(SEED).multinomial(self.n, shares, size=RESAMPLES)
        low, high = np.quantile((counts[:, 1] - counts[:, 0]) / self.n, [0.025, 0.975])
        return float(low), float(high)

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided (McNemar 1947): of no difference between the two.

        >>> round(Comparison(100, 40, 46, only_a=2, only_b=8).p_value, 3)
        0.109
        """
        total = self.only_a + self.only_b
        tail = sum(math.comb(total, k) for k in range(min(self.only_a, self.only_b) + 1))
        return min(1.0, float(Fraction(2 * tail, 2**total)))

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"B - A: {100 * self.difference:+.1f} points, 95 % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}; only A right {self.only_a}, only B right {self.only_b}; "
            f"McNemar's exact p = {self.p_value:.2g}"
        )


def compare(a: ScoreReport, b: ScoreReport, *, metric: Metric = "exec") -> Comparison:
    """Pair the verdicts of two reports on the same questions; those without one are left out."""
    if [v.question_id for v in a.verdicts] != [v.question_id for v in b.verdicts]:
        raise PredictionError(
            f"The two reports have {len(a.verdicts)} and {len(b.verdicts)} verdicts and not on the "
            "same questions. Score both files on the same dataset and split."
        )
    pairs = [
        (getattr(left, metric), getattr(right, metric))
        for left, right in zip(a.verdicts, b.verdicts, strict=True)
        if getattr(left, metric) is not None and getattr(right, metric) is not None
    ]
    return Comparison(
        n=len(pairs),
        correct_a=sum(left for left, _ in pairs),
        correct_b=sum(right for _, right in pairs),
        only_a=sum(left and not right for left, right in pairs),
        only_b=sum(right and not left for left, right in pairs),
    )

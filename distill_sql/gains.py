"""What distillation adds to a base, and how much of that is the form of the answer.

Execution accuracy counts an answer as wrong that shows one column more than was asked for. A base
that shows more columns gains by learning what an answer looks like, without understanding one more
question. So every gain stands beside the gain by the kinder metric of
:func:`~distill_sql.scoring.columns.forgiven`, to which further columns do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_sql.datasets import Dataset
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.clusters import Interval
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.compare import MeanComparison, compare_means


@dataclass(frozen=True)
class Gain:
    """What a base gains by training: by execution accuracy, and with further columns forgiven."""

    strict: MeanComparison
    kinder: MeanComparison

    @property
    def form(self) -> float:
        """The part of the gain that is the form of the answer, as a share of all questions."""
        return self.strict.difference - self.kinder.difference

    def in_words(self, name: str) -> str:
        """Both gains, and the sentence on form that follows from them, as Markdown."""
        text = (
            f"Distillation changes the accuracy of {name} by "
            f"**{points(self.strict.difference)} points** ({_interval(self.strict)}). If further "
            f"columns do not count as mistakes, it changes it by "
            f"**{points(self.kinder.difference)} points** ({_interval(self.kinder)}). "
        )
        if self.strict.difference <= 0:
            return text + "There is no gain here whose form could be asked about."
        if self.kinder.difference <= 0:
            return text + (
                "So **all** of the gain is the form of the answer: which columns it shows. Nothing "
                "here says that the student understands more questions than its base."
            )
        share = max(self.form, 0.0) / self.strict.difference
        text += (
            f"So {max(self.form, 0.0) * 100:.1f} of the {self.strict.difference * 100:.1f} points, "
            f"**{share:.0%}** of the gain, are the form of the answer: which columns it shows. "
            "The rest are questions that the base gets wrong however its columns are read."
        )
        low = _widest(self.kinder)[1][0]
        return text + (" That rest may be chance: its interval holds zero." if low <= 0 else "")


def gain(
    before: Sequence[ScoreReport],
    after: Sequence[ScoreReport],
    dataset: Dataset,
    *,
    neighbours: Mapping[str, Sequence[Path]] | None = None,
) -> Gain:
    """The gain of runs over a base's, each with further columns forgiven as well.

    ``neighbours`` are those that the reports were judged on, if they were.
    """
    kinder = [
        [forgiven(report, dataset, neighbours=neighbours) for report in runs]
        for runs in (before, after)
    ]
    return Gain(compare_means(before, after), compare_means(*kinder))


def points(share: float) -> str:
    """A difference of shares in points, with its sign.

    >>> points(0.0312)
    '+3.1'
    """
    return f"{share * 100:+.1f}"


def _interval(found: MeanComparison) -> str:
    over, interval = _widest(found)
    return f"95 % interval over {over} {between(interval)}"


def _widest(found: MeanComparison) -> tuple[str, Interval]:
    """What an interval is over, and the interval: over databases where there are several."""
    if found.databases > 1:
        return "databases", found.clustered_interval
    return "questions", found.interval


def between(interval: Interval) -> str:
    """An interval of differences, in points.

    >>> between((-0.01, 0.2))
    '-1.0 to +20.0'
    """
    low, high = interval
    return f"{points(low)} to {points(high)}"

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

from distill_sql.data.datasets import Dataset
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.clusters import Interval
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.comparison import MeanComparison, compare_means


@dataclass(frozen=True)
class Gain:
    """What a base gains by training: by execution accuracy, and with further columns forgiven.

    ``forgiven`` holds the reports, before and after, of which ``kinder`` is the comparison.
    """

    strict: MeanComparison
    kinder: MeanComparison
    forgiven: tuple[tuple[ScoreReport, ...], tuple[ScoreReport, ...]]

    @property
    def form(self) -> float:
        """The part of the gain that is the form of the answer, as a share of all questions."""
        return self.strict.difference - self.kinder.difference

    def by_group(self, groups: Mapping[int, str]) -> dict[str, MeanComparison]:
        """The gain with further columns forgiven on each group's questions, given by their ids."""
        members: dict[str, set[int]] = {}
        for question_id, group in groups.items():
            members.setdefault(group, set()).add(question_id)
        before, after = self.forgiven
        return {
            group: compare_means(
                [one.only(ids) for one in before], [one.only(ids) for one in after]
            )
            for group, ids in members.items()
        }

    def in_words(self, name: str) -> str:
        """What training teaches, in a sentence, and the figures that it rests on, as Markdown."""
        return f"**{self.conclusion(name)}** {self._figures()}{self._share()}"

    def conclusion(self, name: str) -> str:
        """What training teaches, as far as the intervals of both gains show it."""
        if _widest(self.strict)[1][0] <= 0:
            return f"These data do not show that distillation makes {name} more accurate."
        if _widest(self.kinder)[1][0] <= 0:
            return (
                f"Distillation teaches {name} which columns an answer shows. These data do not "
                "show that more questions are answered than by the base."
            )
        return f"Distillation teaches {name} to answer questions that the base cannot."

    def _figures(self) -> str:
        seeds = len(self.strict.runs_b)
        about = f"{self.strict.n:,} questions"
        if self.strict.databases > 1:
            about += f" about {self.strict.databases} databases"
        text = (
            f"With further columns forgiven, distillation changes accuracy by "
            f"{in_points(self.kinder)}. By execution accuracy as it is, the change is "
            f"{in_points(self.strict)}. Both are on {about}, with {seeds} "
            f"seed{'s' * (seeds > 1)}. "
        )
        if seeds == 1:
            text += "The intervals do not include what another seed would change. "
        return text

    def _share(self) -> str:
        if self.strict.difference <= 0:
            return "There is no gain here whose form could be asked about."
        if self.kinder.difference <= 0:
            return (
                "So **all** of the gain by execution accuracy is the form of the answer: which "
                "columns it shows."
            )
        share = max(self.form, 0.0) / self.strict.difference
        return (
            f"So {max(self.form, 0.0) * 100:.1f} of the {self.strict.difference * 100:.1f} points, "
            f"**{share:.0%}** of the gain, are the form of the answer: which columns it shows."
        )


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
    old, new = (
        tuple(forgiven(report, dataset, neighbours=neighbours) for report in runs)
        for runs in (before, after)
    )
    return Gain(compare_means(before, after), compare_means(old, new), (old, new))


def points(share: float) -> str:
    """A difference of shares in points, with its sign.

    >>> points(0.0312)
    '+3.1'
    """
    return f"{share * 100:+.1f}"


def in_points(found: MeanComparison) -> str:
    """A difference with its interval, over databases where there are several, as Markdown."""
    over, interval = _widest(found)
    return f"**{points(found.difference)} points** (95 % interval over {over} {between(interval)})"


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

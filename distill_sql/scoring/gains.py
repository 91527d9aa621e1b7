"""What distillation adds to a base, and how much of the gain is the form of the answer.

By execution accuracy, an answer with one column too many is wrong. A base that adds columns gains
accuracy as soon as it learns the form of an answer, even if it understands no more questions than
before. So every gain is reported twice: by execution accuracy, and with further columns forgiven
(:func:`~distill_sql.scoring.columns.forgiven`).
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
    """What a base gains by training.

    ``strict`` compares execution accuracy, ``kinder`` accuracy with further columns forgiven.
    ``forgiven`` has the reports that ``kinder`` compares, those before training first.
    """

    strict: MeanComparison
    kinder: MeanComparison
    forgiven: tuple[tuple[ScoreReport, ...], tuple[ScoreReport, ...]]

    @property
    def form(self) -> float:
        """The part of the gain that comes from the form of the answer, as a share of questions."""
        return self.strict.difference - self.kinder.difference

    def by_group(self, groups: Mapping[int, str]) -> dict[str, MeanComparison]:
        """The gain with further columns forgiven in each group; ``groups`` maps question ids."""
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

    def groups_in_words(self, groups: Mapping[int, str]) -> str:
        """:meth:`by_group` as Markdown: each group, its number of questions and its gain."""
        return "; ".join(
            f"{group} ({part.n}) {in_points(part)}" for group, part in self.by_group(groups).items()
        )

    def in_words(self, name: str) -> str:
        """The conclusion and the figures behind it, as Markdown."""
        return f"**{self.conclusion(name)}** {self._figures()}{self._share()}"

    def conclusion(self, name: str) -> str:
        """What the intervals of both gains show about training, in a sentence or two."""
        if widest(self.strict)[1][0] <= 0:
            return f"These data do not show that distillation makes {name} more accurate."
        if widest(self.kinder)[1][0] <= 0:
            return (
                f"Distillation teaches {name} which columns an answer has. These data do not show "
                "more right answers than the base's once further columns are forgiven."
            )
        return f"Distillation teaches {name} to answer questions that the base cannot."

    def _figures(self) -> str:
        seeds = len(self.strict.runs_b)
        about = f"{self.strict.n:,} questions"
        if self.strict.databases > 1:
            about += f" about {self.strict.databases} databases"
        text = (
            f"With further columns forgiven, distillation changes accuracy by "
            f"{in_points(self.kinder)}. Execution accuracy itself changes by "
            f"{in_points(self.strict)}. Both are measured on {about}, with {seeds} "
            f"seed{'s' * (seeds > 1)}. "
        )
        if seeds == 1:
            text += "The intervals do not include the variance over seeds. "
        return text

    def _share(self) -> str:
        if self.strict.difference <= 0:
            return "There is no gain in execution accuracy to explain."
        if self.kinder.difference <= 0:
            return (
                "So **all** of the gain in execution accuracy comes from the form of the answer: "
                "which columns it has."
            )
        share = max(self.form, 0.0) / self.strict.difference
        return (
            f"So {max(self.form, 0.0) * 100:.1f} of the {self.strict.difference * 100:.1f} points, "
            f"**{share:.0%}** of the gain, come from the form of the answer: which columns it has."
        )


def gain(
    before: Sequence[ScoreReport],
    after: Sequence[ScoreReport],
    dataset: Dataset,
    *,
    neighbours: Mapping[str, Sequence[Path]] | None = None,
) -> Gain:
    """The gain of the runs ``after`` training over those ``before``, on the same questions.

    ``neighbours`` are the databases on which the reports were judged as well, if they were.
    """
    old, new = (
        tuple(forgiven(report, dataset, neighbours=neighbours) for report in runs)
        for runs in (before, after)
    )
    return Gain(compare_means(before, after), compare_means(old, new), (old, new))


def conclusions(gains: Mapping[str, Gain]) -> list[str]:
    """The conclusions of several gains by name; equal conclusions share a sentence."""
    names: dict[str, list[str]] = {}
    for name, found in gains.items():
        names.setdefault(found.conclusion("{}"), []).append(name)
    return [text.format(", ".join(same)) for text, same in names.items()]


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.0312)
    '+3.1'
    """
    return f"{share * 100:+.1f}"


def in_points(found: MeanComparison) -> str:
    """A difference with its interval, over databases where there are several, as Markdown."""
    over, interval = widest(found)
    return f"**{points(found.difference)} points** (95 % interval over {over} {between(interval)})"


def widest(found: MeanComparison) -> tuple[str, Interval]:
    """The interval over databases, or over questions if there is only one database.

    The first value is ``"databases"`` or ``"questions"``.
    """
    if found.databases > 1:
        return "databases", found.clustered_interval
    return "questions", found.interval


def between(interval: Interval) -> str:
    """An interval of differences, in percentage points.

    >>> between((-0.01, 0.2))
    '-1.0 to +20.0'
    """
    low, high = interval
    return f"{points(low)} to {points(high)}"

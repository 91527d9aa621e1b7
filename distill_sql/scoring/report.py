"""Scoring predictions: accuracies with intervals, and the table by hardness."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.errors import PredictionError
from distill_sql.scoring.clusters import NONE, NORMAL, Interval, share_interval, wilson_interval
from distill_sql.scoring.exact import COMPONENTS, component_scores, partial_match
from distill_sql.scoring.hardness import LEVELS, Hardness
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.predictions import Prediction
from distill_sql.scoring.verdicts import FAILURE_MODES, FailureMode, Rules, Verdict
from distill_sql.sql.sandbox import DEADLINE

Metric: TypeAlias = Literal["exec", "exact"]
#: The names of the metrics in tables.
METRICS: dict[Metric, str] = {"exec": "execution accuracy", "exact": "exact set match"}
#: The most questions that a remark lists.
NAMED = 5


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``n``, with a 95 % interval over questions and one over databases.

    ``databases`` has the same two numbers for each database; it is ignored when two accuracies are
    tested for equality. The interval over questions is for other questions on these databases, the
    one over databases for other databases. The second answers what a benchmark is asked.
    """

    n: int
    correct: int
    databases: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    @property
    def share(self) -> float:
        """The accuracy, between 0 and 1; NaN if there are no examples."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds of the 95 % interval over questions (Wilson 1927).

        >>> low, high = Accuracy(1034, 721).interval
        >>> f"{low:.3f} {high:.3f}"
        '0.669 0.725'
        """
        return wilson_interval(self.share, self.n, NORMAL) if self.n else NONE

    @property
    def clustered_interval(self) -> Interval:
        """The bounds of the 95 % interval over databases; NaN if there is only one.

        :mod:`~distill_sql.scoring.clusters` explains the method.
        """
        return share_interval(self.databases)

    def summary(self) -> dict[str, Any]:
        """The numbers that ``distill-sql score --json`` writes, with None for missing ones."""
        return {
            "n": self.n,
            "correct": self.correct,
            "accuracy": self.share if self.n else None,
            "interval": interval_as_json(self.interval),
            "databases": len(self.databases),
            "clustered_interval": interval_as_json(self.clustered_interval),
        }


@dataclass(frozen=True)
class ScoreReport:
    """All verdicts on one prediction file, and how they were reached.

    ``neighbour_count`` is the largest number of variants on which an answer also had to be right.
    Examples without a verdict do not count in a metric, and those without a level of hardness count
    in "all" only.
    """

    verdicts: tuple[Verdict, ...]
    rules: Rules = field(default_factory=Rules)
    neighbour_count: int = 0

    def accuracy(self, level: Hardness | None = None, *, metric: Metric = "exec") -> Accuracy:
        """A metric's accuracy, overall or at one level; examples without a verdict do not count."""
        found: dict[str, list[bool]] = {}
        for verdict in self.verdicts:
            right = getattr(verdict, metric)
            if level in (None, verdict.hardness) and right is not None:
                found.setdefault(verdict.db_id, []).append(right)
        databases = tuple((len(each), sum(each)) for each in found.values())
        return Accuracy(sum(n for n, _ in databases), sum(c for _, c in databases), databases)

    def only(self, question_ids: Collection[int]) -> ScoreReport:
        """The report restricted to some of the questions."""
        kept = (verdict for verdict in self.verdicts if verdict.question_id in question_ids)
        return replace(self, verdicts=tuple(kept))

    @property
    def skipped(self) -> tuple[Verdict, ...]:
        """The examples that were skipped because their gold query fails."""
        return tuple(verdict for verdict in self.verdicts if verdict.skipped)

    @property
    def without_level(self) -> tuple[Verdict, ...]:
        """The other examples without a level of hardness."""
        return tuple(v for v in self.verdicts if v.hardness is None and not v.skipped)

    @property
    def without_exact(self) -> tuple[Verdict, ...]:
        """The other examples without a verdict of exact set match, if it was computed."""
        if self.rules.etype == "exec":
            return ()
        return tuple(v for v in self.verdicts if v.exact is None and not v.skipped)

    def remarks(self) -> list[str]:
        """Notes on the table: which examples do not count, or only in part, and why."""
        found = []
        total = len(self.verdicts)
        if (databases := len({v.db_id for v in self.verdicts if not v.skipped})) > 1:
            found.append(
                f'The intervals "over databases" let the {databases} databases vary, not only '
                "their questions: they say what other databases would give."
            )
        if self.skipped:
            found.append(
                f"{len(self.skipped)} of {total} questions are skipped, since their gold queries "
                f"fail ({_named(self.skipped)}); the accuracies are over the others. The first: "
                f"{self.skipped[0].note}"
            )
        if self.without_level:
            found.append(
                f"{len(self.without_level)} of {total} questions have no level of hardness and "
                'count under "all" only: their gold queries cannot be parsed '
                f"({_named(self.without_level)})."
            )
        if self.without_exact:
            found.append(
                f"{len(self.without_exact)} of {total} questions have no exact set match: Spider's "
                f"parser cannot read their gold queries ({_named(self.without_exact)})."
            )
        return found

    def failure_modes(self) -> dict[FailureMode, int]:
        """The number of predictions in each failure mode."""
        counts = Counter(v.failure_mode for v in self.verdicts)
        return {mode: counts[mode] for mode in FAILURE_MODES}

    def components(self, dataset: Dataset) -> dict[str, tuple[float, float, float]]:
        """Accuracy, recall and F1 of each component of exact set match, overall."""
        return partial_match(
            component_scores(v.pred_sql, v.gold_sql, dataset.schema(v.db_id))
            for v in self.verdicts
            if v.exact is not None
        )

    def summary(self) -> dict[str, Any]:
        """The counts, as ``distill-sql score --json`` writes them."""
        counts: dict[str, Any] = {"n": len(self.verdicts), "neighbours": self.neighbour_count}
        for metric in METRICS:
            total = self.accuracy(metric=metric)
            counts[metric] = total.summary() | {
                "by_hardness": {
                    level: {"n": score.n, "correct": score.correct}
                    for level in LEVELS
                    for score in [self.accuracy(level, metric=metric)]
                },
            }
        counts["failure_modes"] = self.failure_modes() if self.rules.etype != "match" else None
        counts["gold_is_empty"] = sum(v.gold_is_empty for v in self.verdicts)
        counts["skipped"] = [v.question_id for v in self.skipped]
        counts["without_level"] = [v.question_id for v in self.without_level]
        counts["without_exact"] = [v.question_id for v in self.without_exact]
        return counts

    def table(self) -> str:
        """The table by hardness, as text."""
        rows = [["", "all", *LEVELS]]
        for metric, name in METRICS.items():
            scores = [self.accuracy(level, metric=metric) for level in (None, *LEVELS)]
            if not scores[0].n:
                continue
            if len(rows) == 1 or rows[1][1:] != [str(score.n) for score in scores]:
                rows.append(["count", *(str(score.n) for score in scores)])
            also = f", {self.neighbour_count} neighbours too" if metric == "exec" else ""
            title = name + also * bool(self.neighbour_count)
            rows.append([title, *(f"{100 * s.share:.1f}" if s.n else "-" for s in scores)])
            rows.append(["95 % interval", *(as_percent(s.interval) for s in scores)])
            if len(scores[0].databases) > 1:
                rows.append(
                    ["  over databases", *(as_percent(s.clustered_interval) for s in scores)]
                )
        return align(rows)

    def components_table(self, dataset: Dataset) -> str:
        """The component scores, as text."""
        scores = self.components(dataset)
        rows = [["component", "accuracy", "recall", "F1"]]
        rows += [[name, *(f"{100 * value:.1f}" for value in scores[name])] for name in COMPONENTS]
        return align(rows)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of text; only the first column is left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if position else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _named(verdicts: Sequence[Verdict]) -> str:
    names = ", ".join(str(verdict.question_id) for verdict in verdicts[:NAMED])
    return f"question_id {names}{', ...' * (len(verdicts) > NAMED)}"


def as_percent(interval: Interval) -> str:
    """An interval of shares as text; a dash if there is none."""
    low, high = interval
    return "-" if math.isnan(low) else f"{100 * low:.1f}-{100 * high:.1f}"


def interval_as_json(interval: Interval) -> list[float] | None:
    """An interval for JSON; None if there is none, since JSON has no NaN."""
    return None if math.isnan(interval[0]) else list(interval)


def score(
    predictions: Sequence[Prediction],
    dataset: Dataset,
    rules: Rules | None = None,
    *,
    neighbours: Mapping[str, Sequence[Path]] | None = None,
    jobs: int | None = None,
    deadline: float = DEADLINE,
    progress: bool = False,
) -> ScoreReport:
    """Score predictions, one per example of ``dataset`` and in its order.

    For several files, or for more pairs than fit in memory, use a
    :class:`~distill_sql.scoring.judge.Judge`, which documents the other parameters. Raises
    :class:`PredictionError` if predictions and examples do not line up, and :class:`GoldQueryError`
    if a gold query fails, unless the rules skip such questions.
    """
    with Judge(dataset, rules, neighbours=neighbours, jobs=jobs, deadline=deadline) as judge:
        return score_with(judge, predictions, progress=progress)


def score_with(
    judge: Judge, predictions: Sequence[Prediction], *, progress: bool = False
) -> ScoreReport:
    """:func:`score` with a judge that can be used for the next file."""
    dataset = judge.dataset
    if [p.question_id for p in predictions] != [e.question_id for e in dataset]:
        raise PredictionError(
            f"{len(predictions)} predictions do not line up with the {len(dataset)} examples of "
            f"{dataset.name}. Read them with read_predictions, which names the wrong line."
        )
    pairs = ((e, p.pred_sql) for e, p in zip(dataset, predictions, strict=True))
    verdicts = tqdm(judge.verdicts(pairs), total=len(dataset), desc="scoring", disable=not progress)
    return ScoreReport(tuple(verdicts), judge.rules, judge.neighbour_count)

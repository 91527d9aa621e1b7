"""The pretraining chapter: what the benchmark's kinds of question in the lessons are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from distill_sql.book.shown import Shown, Table
from distill_sql.data.datasets import Dataset
from distill_sql.files import read_json
from distill_sql.runs.worth import KINDS, PRETRAINING, recorded
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.clusters import Interval
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.comparison import MeanComparison, compare_means

NOT_RECORDED = "The run is not recorded here; `python -m distill_sql.runs.worth` makes it."


@dataclass(frozen=True)
class Group:
    """The runs of one base: itself (one report), or its students, one per seed."""

    base: str
    trained: bool
    reports: tuple[ScoreReport, ...]
    dataset: Dataset

    @cached_property
    def forgiven(self) -> list[ScoreReport]:
        """The reports with further columns forgiven."""
        return [forgiven(report, self.dataset) for report in self.reports]

    def row(self, tokens: float) -> dict[str, Any]:
        """The group's row of the table; ``tokens`` is what the base has read."""
        shares = [report.accuracy().share for report in self.reports]
        several = len(shares) > 1
        return {
            "lessons": KINDS[self.base],
            "tokens": tokens / 1e6,
            "model": "trained on the traces" if self.trained else "base",
            "seeds": len(shares),
            "accuracy": mean(shares),
            "range": f"{min(shares):.1%} to {max(shares):.1%}" if several else "",
            "forgiven": mean(report.accuracy().share for report in self.forgiven),
        }


def question_kinds(folder: Path, dev: Dataset) -> list[Shown]:
    """The recorded run in ``folder``: its accuracies, and the gains that they show."""
    runs = recorded(folder, dev)
    if not runs:
        return [NOT_RECORDED]
    groups = {
        (base, trained): Group(
            base,
            trained,
            tuple(r.report for r in runs if r.model == base and (r.seed is not None) == trained),
            dev,
        )
        for trained in (False, True)
        for base in KINDS
    }
    tokens = {base: read_json(folder / base / PRETRAINING)["tokens"] for base in KINDS}
    table = Table(
        [group.row(tokens[group.base]) for group in groups.values()],
        f"Execution accuracy on pocket's {len(dev)} dev questions by what the base had read "
        "(millions of tokens), also with further columns forgiven. Trained models have the mean of "
        "their seeds. Each base was pretrained once.",
        columns={
            "lessons": "questions in its lessons",
            "tokens": "tokens read",
            "model": "model",
            "seeds": "runs",
            "accuracy": "accuracy",
            "range": "lowest to highest",
            "forgiven": "further columns forgiven",
        },
        formats={"tokens": ".1f", "accuracy": ".1%", "forgiven": ".1%"},
    )
    return [table, gains(groups) + provenance(runs[0].manifest)]


def gains(groups: Mapping[tuple[str, bool], Group]) -> str:
    """What the benchmark's kinds of question add after training, and what traces add to each base.

    ``groups`` are by the base's name and whether it was trained.
    """
    benchmark, drawn = KINDS
    kinds = compare_means(groups[drawn, True].reports, groups[benchmark, True].reports)
    traces = {
        base: compare_means(groups[base, False].forgiven, groups[base, True].forgiven)
        for base in KINDS
    }
    text = (
        "After training, the benchmark's kinds of question in the lessons are worth "
        f"**{kinds.difference * 100:+.1f} points** (95 % interval over databases and seeds of "
        f"training on traces {_points(kinds.clustered_interval)}). With further columns forgiven, "
        f"so that the form of an answer does not count, the traces add {_added(traces)}. "
    )
    if all(gain.clustered_interval[0] <= 0 for gain in traces.values()):
        text += "So these data do not show that traces teach either base more than a form. "
    return text


def _added(gained: Mapping[str, MeanComparison]) -> str:
    return " and ".join(
        f"{gain.difference * 100:+.1f} points ({_points(gain.clustered_interval)}) after lessons "
        f"of {KINDS[base]}"
        for base, gain in gained.items()
    )


def _points(interval: Interval) -> str:
    low, high = interval
    return f"{low * 100:+.1f} to {high * 100:+.1f}"


def provenance(manifest: Mapping[str, Any]) -> str:
    """When and where the recorded run was made, and how to repeat it."""
    machine = manifest["hardware"]
    return (
        f"This is a recorded run of {manifest['date'][:10]}, commit "
        f"{manifest['git']['commit'][:12]}, on {machine['cpu']}, {machine['cores']} cores; a test "
        "scores it again. To repeat it, pretrain `pocket-s --tokens 10000000` with and without "
        "`--drawn`, name the two folders *s-drawn* and *s-benchmark* in `MODELS_DIR`, and run "
        "`python -m distill_sql.runs.worth --out book/results/pretraining`."
    )

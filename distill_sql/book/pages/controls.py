"""The recorded controls: what else than kept traces could explain what students gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from distill_sql.book.shown import Table
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.recipes import RECIPES
from distill_sql.runs.controls.records import Recorded, comparisons, recorded
from distill_sql.runs.controls.sets import AGAINST, CONTROLS
from distill_sql.scoring.gains import Gain, between, points
from distill_sql.settings import work_folder

COMMAND = "python -m distill_sql.runs.controls --out book/results/controls"
#: A recipe and a control.
Name = tuple[str, str]


@dataclass(frozen=True)
class Controls:
    """The recorded runs, and the gain of each control over the control it is compared with."""

    runs: Sequence[Recorded]
    gains: Mapping[Name, Gain]

    def by_name(self) -> dict[Name, list[Recorded]]:
        """The runs of each recipe and control, in the order of the recipes."""
        order = list(RECIPES)
        found: dict[Name, list[Recorded]] = {}
        for one in sorted(self.runs, key=lambda run: order.index(run.recipe)):
            found.setdefault((one.recipe, one.control), []).append(one)
        return found

    def clear(self) -> dict[Name, Gain]:
        """The gains in execution accuracy whose interval over databases excludes zero."""
        return {
            name: found
            for name, found in self.gains.items()
            if not found.strict.clustered_interval[0] <= 0 <= found.strict.clustered_interval[1]
        }


def read(dataset: str, folder: Path | None = None) -> Controls | None:
    """The recorded runs, scored on pocket's dev split; None for other datasets or without runs.

    ``folder`` holds the records, by default ``book/results/controls``.
    """
    if dataset != "pocket":
        return None
    dev = load_dataset(dataset, split="dev")
    runs = recorded(folder or work_folder().parent / "results" / "controls", dev)
    gains = {(recipe, control): gain for recipe, control, gain in comparisons(runs, dev)}
    return Controls(runs, gains) if runs else None


def none_recorded(dataset: Dataset) -> str:
    """A note that there are no controls of a dataset, as Markdown."""
    how = f" `{COMMAND}` trains and records them." if dataset.name == "pocket" else ""
    return f"No controls are recorded for {dataset.name}.{how}"


def table(found: Controls) -> Table:
    """The accuracy of each control, and its difference to the one it is compared with."""
    return Table(
        [
            _row(name, runs, found.gains.get(name)) for name, runs in found.by_name().items()
        ],
        f"The controls on {len(found.runs[0].report.verdicts):,} dev questions of pocket: "
        "execution accuracy (mean, lowest and highest over seeds) and its difference from the "
        "control named under *compared with*, with a 95 % interval over databases and seeds. The "
        "last column is this difference with further columns forgiven.",
        formats={"accuracy": ".1%", "points": "+.1f"},
    )  # fmt: skip


def in_words(found: Controls) -> str:
    """Which differences are clear, and where the runs were recorded, as Markdown."""
    clear = [
        f"{CONTROLS[control]} ({recipe}, {points(gain.strict.difference)} points)"
        for (recipe, control), gain in found.clear().items()
    ]
    if clear:
        text = (
            f"Of {len(found.gains)} differences, these have an interval over databases that "
            f"excludes zero (one in twenty does so by chance): {'; '.join(clear)}."
        )
    else:
        text = (
            "Every interval over databases includes zero: these data do not show a difference "
            "between any control and the one it is compared with."
        )
    return f"{text} {_provenance(found.runs)} A test scores the recorded predictions again."


def _provenance(runs: Sequence[Recorded]) -> str:
    """When, at which commits and on which machines the runs were recorded."""
    manifests = [one.manifest for one in runs]
    dates = sorted({about["date"][:10] for about in manifests})
    commits = sorted({(about["git"]["commit"] or "unknown")[:12] for about in manifests})
    machines = sorted(
        {f"{about['hardware']['cpu']}, {about['hardware']['cores']} cores" for about in manifests}
    )
    plural = "s" if len(commits) > 1 else ""
    return (
        f"Recorded on {' and '.join(dates)} at commit{plural} {' and '.join(commits)}, on "
        f"{'; '.join(machines)}."
    )


def _row(name: Name, runs: Sequence[Recorded], gain: Gain | None) -> dict[str, Any]:
    recipe, control = name
    right = [one.report.accuracy().share for one in runs]
    return {
        "model": recipe,
        "learned from": CONTROLS[control],
        "traces": runs[0].manifest["traces"],
        "updates": runs[0].manifest["training"]["updates"],
        "seeds": len(runs),
        "accuracy": fmean(right),
        "range": f"{min(right):.1%} to {max(right):.1%}",
        "compared with": AGAINST.get(control, ""),
        "points": gain.strict.difference * 100 if gain else None,
        "interval": between(gain.strict.clustered_interval) if gain else "",
        "further columns forgiven": (
            f"{points(gain.kinder.difference)} ({between(gain.kinder.clustered_interval)})"
            if gain
            else ""
        ),
    }

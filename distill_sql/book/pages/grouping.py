"""The recorded runs that compare updates of one database with randomly mixed ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from distill_sql.book.shown import Table
from distill_sql.data.datasets import load_dataset
from distill_sql.runs.records import Run, read_runs
from distill_sql.scoring.comparison import compare_means
from distill_sql.scoring.gains import in_points
from distill_sql.settings import work_folder

#: The plan in ``book/plans`` whose runs these are, and the command that records them.
PLAN = "grouping"
COMMAND = f"distill-sql record {PLAN} --traces book/.work/traces/pocket.jsonl"
#: What an update is composed of, by a recipe's ``grouping``.
ARMS = {"mixed": "examples in random order", "database": "examples on one database"}


def read(folder: Path | None = None) -> list[Run]:
    """The recorded runs on pocket's dev split, scored again.

    ``folder`` holds the records, by default ``book/results/runs``.
    """
    dev = load_dataset("pocket", split="dev")
    folder = folder or work_folder().parent / "results" / "runs"
    return [run for run in read_runs(folder, dev) if run.manifest["plan"] == PLAN]


def table(runs: Sequence[Run]) -> Table | None:
    """The accuracy of both compositions of an update; None without runs."""
    if not runs:
        return None
    rows = []
    for grouping, words in ARMS.items():
        right = [run.report.accuracy().share for run in _arm(runs, grouping)]
        [updates] = {run.training["training"]["updates"] for run in runs if run.training}
        rows.append(
            {
                "an update has": words,
                "updates": updates,
                "seeds": len(right),
                "accuracy": fmean(right),
                "range": f"{min(right):.1%} to {max(right):.1%}",
            }
        )
    recipe = runs[0].manifest["recipe"]
    return Table(
        rows,
        f"Recorded runs of {recipe} on {len(runs[0].report.verdicts):,} dev questions of pocket: "
        "execution accuracy by what an update is composed of (mean, lowest and highest over "
        "seeds). Traces and number of updates are the same.",
        formats={"accuracy": ".1%"},
    )


def in_words(runs: Sequence[Run]) -> str:
    """The difference that grouping makes, with its interval, as Markdown; empty without runs."""
    if not runs:
        return ""
    mixed, grouped = ([run.report for run in _arm(runs, name)] for name in ARMS)
    found = compare_means(mixed, grouped)
    return (
        f"Grouping by database changes accuracy by {in_points(found)}. `{COMMAND}` repeats these "
        "runs, and a test scores the recorded predictions again."
    )


def _arm(runs: Sequence[Run], grouping: str) -> list[Run]:
    return [run for run in runs if run.manifest["inputs"]["recipe"]["grouping"] == grouping]

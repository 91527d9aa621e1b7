"""Accuracy against size and number of traces: the scaling chapter's tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book.pages.scaling import Ladder, kind_of, name_of
from distill_sql.book.shown import Figure, Table
from distill_sql.models.folders import parameters
from distill_sql.scoring import LEVELS, Accuracy
from distill_sql.scoring.comparison import compare_means
from distill_sql.scoring.gains import between, widest
from distill_sql.training.experiments import Outcome

Record = dict[str, Any]


def accuracies(outcomes: Sequence[Outcome], *, over_databases: bool) -> list[Record]:
    """A record per outcome for all questions and for each level of hardness, with an interval.

    ``over_databases`` says whether ``low`` and ``high`` are of the interval over databases or of
    the one over questions. ``seed`` is None for a model that was not trained.
    """
    sizes = {one.experiment.recipe.base: one.experiment.recipe for one in outcomes}
    counted = {base: parameters(recipe) for base, recipe in sizes.items()}
    records = []
    for one in outcomes:
        recipe = one.experiment.recipe
        about = {
            "student": name_of(recipe),
            "size": recipe.model,
            "parameters": counted[recipe.base],
            "kind": kind_of(recipe),
            "seed": recipe.seed if recipe.trained else None,
            "traces": len(one.experiment.traces),
        }
        parts = [("all", one.report.accuracy())]
        parts += [(level, one.report.accuracy(level)) for level in LEVELS]
        records += [
            about | {"questions": name} | _with_interval(right, over_databases)
            for name, right in parts
            if right.n
        ]
    return records


def means(records: Sequence[Record]) -> list[Record]:
    """The mean accuracy of each size and kind over seeds, the lowest and the highest."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for one in records:
        name = (one["parameters"], one["kind"], one["size"])
        found.setdefault(name, []).append(one["accuracy"])
    return [
        {
            "size": size,
            "parameters": count,
            "kind": kind,
            "mean": sum(shares) / len(shares),
            "min": min(shares),
            "max": max(shares),
        }
        for (count, kind, size), shares in sorted(found.items())
    ]


def on_all(ladder: Ladder) -> list[Record]:
    """The accuracies of the ladder on all questions."""
    found = accuracies(ladder.outcomes, over_databases=_several(ladder))
    return [one for one in found if one["questions"] == "all"]


def sizes_table(ladder: Ladder) -> Table:
    """The accuracy of every size and kind."""
    seeds = len(ladder.seeds)
    return Table(
        means(on_all(ladder)),
        f"Execution accuracy on {len(ladder.setup.dev):,} dev questions; distilled students are "
        f"the mean of {seeds} seed{'s' * (seeds > 1)}, with the lowest and the highest.",
        columns={
            "size": "model",
            "parameters": "parameters",
            "kind": "",
            "mean": "accuracy",
            "min": "lowest",
            "max": "highest",
        },
        formats={"parameters": ",d", "mean": ".1%", "min": ".1%", "max": ".1%"},
    )


def steps_table(ladder: Ladder) -> Table | None:
    """What each next size adds, with intervals; None for a single size."""
    if len(ladder.sizes) < 2:
        return None
    return Table(
        [_step(ladder, small, large) for small, large in pairwise(ladder.sizes)],
        "What the next size adds, in points, paired on the same questions: first to the execution "
        "accuracy of distilled students; then, with further columns forgiven, to the accuracy of "
        "distilled students and of bases. 95 % intervals as above; distilled students: "
        f"{ladder.seeds_in_words}.",
        columns={
            "step": "step",
            "distilled": "distilled",
            "distilled interval": "interval",
            "kinder": "distilled, columns forgiven",
            "kinder interval": "its interval",
            "base": "base, columns forgiven",
            "base interval": "base's interval",
        },
        formats=dict.fromkeys(("distilled", "kinder", "base"), "+.1f"),
    )


def sizes_chart(ladder: Ladder) -> Figure:
    """Accuracy against parameters: a point per seed, and lines through the means."""
    records = on_all(ladder)
    has_teacher = any(one["kind"] == "teacher" for one in records)
    kinds = ["base", "distilled", *(["teacher"] if has_teacher else [])]
    points = alt.Chart(pd.DataFrame(records)).encode(
        x=alt.X(
            "parameters:Q",
            scale=alt.Scale(type="log", nice=False, padding=20),
            axis=alt.Axis(format="~s"),
            title="parameters",
        ),
        color=alt.Color("kind:N", sort=kinds, title=None),
    )
    return Figure(
        _with_means(points, ["size", "kind", "seed"], ends=True),
        f"Execution accuracy on {len(ladder.setup.dev):,} dev questions by size, before and after "
        f"distillation: a point per seed with its 95 % interval over {_over(ladder)}, and lines "
        "through the means.",
        "Two lines of accuracy against parameters, base and distilled: "
        + "; ".join(f"{one['size']} {one['kind']} {one['mean']:.0%}" for one in means(records)),
    )


def traces_chart(ladder: Ladder) -> Figure:
    """The accuracy of one size against the number of traces that it learned from."""
    model = ladder.setup.recipe(ladder.scaled).model
    outcomes = [*ladder.outcomes, *ladder.fewer]
    records = [
        one
        for one in accuracies(outcomes, over_databases=_several(ladder))
        if one["size"] == model and one["questions"] == "all"
    ]
    shares: dict[int, list[float]] = {}
    for one in records:
        shares.setdefault(one["traces"], []).append(one["accuracy"])
    line = alt.Chart(pd.DataFrame(records)).encode(
        x=alt.X(
            "traces:Q",
            title="traces learned from",
            scale=alt.Scale(type="symlog", constant=100),
            axis=alt.Axis(values=sorted(shares)),
        )
    )
    return Figure(
        _with_means(line, ["traces", "seed"], ends=False),
        f"Execution accuracy of {ladder.scaled} against the number of traces, from none to all, "
        f"with 95 % intervals over {_over(ladder)}. With all traces there is a point per seed, and "
        "the line goes through their mean. Each smaller number has one sample of the traces and "
        f"one student (seed {ladder.seeds[0]}). The samples are nested.",
        "Accuracy by number of traces: "
        + "; ".join(
            f"{count} traces {sum(found) / len(found):.0%}"
            for count, found in sorted(shares.items())
        ),
    )


def _with_interval(right: Accuracy, over_databases: bool) -> Record:
    low, high = right.clustered_interval if over_databases else right.interval
    return {"accuracy": right.share, "low": low, "high": high}


def _several(ladder: Ladder) -> bool:
    return len(ladder.setup.dev.db_ids) > 1


def _over(ladder: Ladder) -> str:
    return "databases" if _several(ladder) else "questions"


def _step(ladder: Ladder, small: str, large: str) -> Record:
    kinder = {size: ladder.gains[size].forgiven for size in (small, large)}
    pairs = {
        "distilled": (ladder.before_and_after(small)[1], ladder.before_and_after(large)[1]),
        "kinder": (kinder[small][1], kinder[large][1]),
        "base": (kinder[small][0], kinder[large][0]),
    }
    record: Record = {"step": f"{small} to {large}"}
    for name, (one, other) in pairs.items():
        found = compare_means(one, other)
        record[name] = found.difference * 100
        record[f"{name} interval"] = between(widest(found)[1])
    return record


def _with_means(chart: alt.Chart, tooltip: Sequence[str], *, ends: bool) -> alt.TopLevelMixin:
    """A line through the mean accuracies, and each accuracy as a point with its interval."""
    title = "execution accuracy"
    shown = ["accuracy", *(["low", "high"] if ends else [])]
    return alt.layer(
        chart.mark_line().encode(
            y=alt.Y("mean(accuracy):Q", axis=alt.Axis(format="%"), title=title)
        ),
        chart.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        chart.mark_point(filled=True, size=50).encode(
            y="accuracy:Q",
            tooltip=[*tooltip, *(alt.Tooltip(name, format=".1%") for name in shown)],
        ),
    )

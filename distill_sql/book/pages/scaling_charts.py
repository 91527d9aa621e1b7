"""The scaling chapter's charts of answers: their form, the conditions, and hardness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book.pages import noise
from distill_sql.book.pages.growth import accuracies
from distill_sql.book.pages.ladder import BARE, Conditions
from distill_sql.book.pages.scaling import Ladder
from distill_sql.book.shown import Figure
from distill_sql.models.folders import parameters
from distill_sql.scoring import LEVELS
from distill_sql.scoring.breakdown import ALL
from distill_sql.scoring.columns import but_for_columns

Record = dict[str, Any]


def forms_chart(ladder: Ladder) -> Figure:
    """Right answers, and those that are wrong only because of further columns, of one seed."""
    dev = ladder.setup.dev
    records = []
    for name, runs in ladder.runs.items():
        report = runs[0].report
        right = report.accuracy()
        counts = {
            "right": right.correct,
            "right but for further columns": len(but_for_columns(report, dev)),
        }
        records += [
            {
                "student": name,
                "counts": what,
                "order": order,
                "share": count / right.n,
                "parameters": parameters(runs[0].experiment.recipe),
            }
            for order, (what, count) in enumerate(counts.items())
        ]
    records.sort(key=lambda one: (one["parameters"], one["student"], one["order"]))
    chart = (
        alt.Chart(pd.DataFrame(records))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", axis=alt.Axis(format="%"), title="share of dev questions"),
            y=alt.Y("student:N", sort=_distinct(records, "student"), title=None),
            color=alt.Color("counts:N", sort=_distinct(records, "counts"), title=None),
            order="order:Q",
            tooltip=["student", "counts", alt.Tooltip("share", format=".1%")],
        )
        .properties(height=alt.Step(24))
    )
    return Figure(
        chart,
        f"Of {len(dev):,} dev questions, the share of right answers, and of those that are wrong "
        f"only because of further columns; seed {ladder.seeds[0]}.",
        "A stacked bar per model: "
        + "; ".join(f"{one['student']} {one['counts']} {one['share']:.0%}" for one in records),
    )


def conditions_chart(ladder: Ladder, found: Conditions) -> Figure:
    """Accuracy of every model by group of questions and condition."""
    records = [
        {name: one[name] for name in ("model", "group", "questions")}
        | {"way": way, "accuracy": one[way]}
        for way in found.names
        for one in found.records
        if one["group"] != ALL and one[way] is not None
    ]
    names = ladder.names + [name for name in found.models if name not in ladder.names]
    chart = (
        alt.Chart(pd.DataFrame(records))
        .mark_point(filled=True, size=60)
        .encode(
            x=alt.X(
                "accuracy:Q",
                axis=alt.Axis(format="%"),
                title="execution accuracy",
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("model:N", sort=names, title=None),
            color=alt.Color("way:N", sort=found.names, title=None),
            shape=alt.Shape("way:N", sort=found.names, title=None),
            tooltip=["model", "group", "way", "questions", alt.Tooltip("accuracy", format=".1%")],
        )
        .properties(width=260, height=alt.Step(24))
    )
    groups = list(dict.fromkeys(found.groups.values()))
    return Figure(
        chart.facet(column=alt.Column("group:N", sort=groups, title=None)),
        f"{_conditions_caption(BARE in found.names)} Nearest question is a baseline: the query of "
        "the most similar training question, with this database's names. Distilled students: "
        f"{ladder.seeds_in_words}.",
        "Points of accuracy by model and group of questions: "
        + "; ".join(
            f"{one['model']} {one['group']} {one['way']} {one['accuracy']:.0%}" for one in records
        ),
    )


def hardness_chart(ladder: Ladder) -> Figure:
    """The mean accuracy of every model at each level of hardness, as a grid."""
    counts = noise.counts(ladder.setup.dev)
    titles = {level: f"{level} ({counts[level]})" for level in LEVELS}
    shares: dict[tuple[str, str], list[float]] = {}
    for one in accuracies(ladder.outcomes, over_databases=False):
        if one["questions"] != "all":
            name = (one["student"], titles[one["questions"]])
            shares.setdefault(name, []).append(one["accuracy"])
    grid = [
        {"student": student, "questions": level, "accuracy": sum(found) / len(found)}
        for (student, level), found in shares.items()
    ]
    top = alt.Axis(orient="top", labelAngle=0)
    cells = alt.Chart(pd.DataFrame(grid)).encode(
        x=alt.X("questions:N", sort=list(titles.values()), title=None, axis=top),
        y=alt.Y("student:N", sort=ladder.names, title=None),
    )
    return Figure(
        cells.mark_rect().encode(
            color=alt.Color("accuracy:Q", legend=None, scale=alt.Scale(domain=[0, 1])),
            tooltip=["student", "questions", alt.Tooltip("accuracy", format=".1%")],
        )
        + cells.mark_text().encode(
            text=alt.Text("accuracy:Q", format=".0%"),
            color=alt.condition("datum.accuracy > 0.5", alt.value("white"), alt.value("black")),
        ),
        "Execution accuracy by hardness, with the number of dev questions; distilled students: "
        f"{ladder.seeds_in_words}. With so few questions, differences of a few points are noise.",
        "A grid of accuracies, models by hardness: "
        + "; ".join(f"{one['student']} {one['questions']} {one['accuracy']:.0%}" for one in grid),
    )


def _distinct(records: Sequence[Record], name: str) -> list[str]:
    return list(dict.fromkeys(one[name] for one in records))


def _conditions_caption(pocket: bool) -> str:
    if pocket:
        return (
            "Execution accuracy by source of the question: as asked elsewhere in this book, "
            "without the synonyms that pocket's schemas list, and with answers that must be right "
            "on neighbours of each database as well."
        )
    return (
        "Execution accuracy by hardness: on the one database, and with answers that must be right "
        "on its neighbours as well."
    )

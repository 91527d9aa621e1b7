"""How wide the interval of an accuracy is on a dev split, before any model is run."""

from __future__ import annotations

import altair as alt
import pandas as pd

from distill_sql.book.shown import Figure
from distill_sql.data.datasets import Dataset
from distill_sql.scoring import LEVELS, Accuracy, hardness

#: About how many accuracies a line of the chart goes through.
STEPS = 40


def counts(dev: Dataset) -> dict[str, int]:
    """The number of questions, of all and of each level of hardness."""
    levels = [hardness(example.query) for example in dev]
    return {"all": len(dev)} | {level: levels.count(level) for level in LEVELS}


def in_words(dev: Dataset) -> str:
    """The interval of a model that is right on 70 % of the questions, as Markdown."""
    low, high = Accuracy(len(dev), round(0.7 * len(dev))).interval
    return (
        f"A model that is right on 70 % of the {len(dev):,} questions has an interval from "
        f"**{low:.1%} to {high:.1%}**. Within one level of hardness it is wider. So two models are "
        "compared by their paired difference on the same questions."
    )


def chart(dev: Dataset) -> Figure:
    """The half-width of the Wilson interval against the accuracy."""
    widths = [
        {
            "questions": f"{name} ({n:,})",
            "accuracy": correct / n,
            "half-width": (found.interval[1] - found.interval[0]) / 2,
        }
        for name, n in counts(dev).items()
        if n
        for correct in range(0, n + 1, max(n // STEPS, 1))
        for found in [Accuracy(n, correct)]
    ]
    return Figure(
        alt.Chart(pd.DataFrame(widths))
        .mark_line()
        .encode(
            x=alt.X("accuracy:Q", axis=alt.Axis(format="%"), title="measured accuracy"),
            y=alt.Y(
                "half-width:Q", axis=alt.Axis(format=".1%"), title="half-width of the interval"
            ),
            color=alt.Color("questions:N", sort=None, title=None),
            tooltip=[
                "questions",
                alt.Tooltip("accuracy", format=".0%"),
                alt.Tooltip("half-width", format=".1%"),
            ],
        ),
        f"Half-width of the 95 % Wilson interval on the dev split of {dev.name}, for all questions "
        "and for each level of hardness.",
        "Lines of the interval's half-width against accuracy: widest at 50 %, and wider for fewer "
        "questions.",
    )

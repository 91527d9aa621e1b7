"""The replication chapter: which differences between adjacent models are more than noise."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import altair as alt
import pandas as pd

from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.book.survey import Record
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.comparison import Comparison, compare

#: The level below which a difference is reported as more than noise.
LEVEL = 0.05
#: What the two intervals of a difference are over.
OVER = ("questions", "databases")


def adjacent(reports: Mapping[str, ScoreReport]) -> dict[str, Comparison]:
    """Each model compared with the next better one, from the worst pair to the best."""
    ranked = sorted(reports, key=lambda name: reports[name].accuracy().share)
    return {
        f"{better} over {worse}": compare(reports[worse], reports[better])
        for worse, better in pairwise(ranked)
    }


def differences(reports: Mapping[str, ScoreReport]) -> list[Shown]:
    """The differences of adjacent models as a chart and as a table, and how many have a small p."""
    pairs = adjacent(reports)
    return [_chart(pairs), _table(pairs), _verdict(pairs)]


def _spans(pairs: Mapping[str, Comparison]) -> list[Record]:
    """One record per pair and interval."""
    return [
        {"pair": pair, "over": over, "difference": found.difference, "low": low, "high": high}
        for pair, found in pairs.items()
        for over, (low, high) in zip(OVER, (found.interval, found.clustered_interval), strict=True)
    ]


def _chart(pairs: Mapping[str, Comparison]) -> Figure:
    spans = _spans(pairs)
    base = alt.Chart(pd.DataFrame(spans)).encode(
        y=alt.Y("pair:N", sort=list(pairs), title=None, axis=alt.Axis(labelLimit=320)),
        yOffset=alt.YOffset("over:N", sort=list(OVER)),
        color=alt.Color("over:N", sort=list(OVER), title="95 % interval over"),
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(strokeDash=[4, 4]).encode(x="zero:Q")
    title = "difference in execution accuracy"
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", axis=alt.Axis(format="%"), title=title), x2="high:Q"
    )
    numbers = [alt.Tooltip(name, format="+.1%") for name in ("difference", "low", "high")]
    points = base.mark_point(filled=True, size=50).encode(
        x="difference:Q", tooltip=["pair", "over", *numbers]
    )
    return Figure(
        (zero + intervals + points).properties(height=44 * len(pairs)),
        "Execution accuracy of each model minus that of the next worse one, with 95 % intervals of "
        "the paired difference.",
        "Differences with intervals over questions and over databases: "
        + "; ".join(
            f"{s['pair']} {s['difference']:+.1%}, over {s['over']} {s['low']:+.1%} to "
            f"{s['high']:+.1%}"
            for s in spans
        ),
    )


def _table(pairs: Mapping[str, Comparison]) -> Table:
    return Table(
        [
            {
                "pair": pair,
                "difference": found.difference,
                "worse": found.only_a,
                "better": found.only_b,
                "p": found.p_value,
                "databases": found.clustered_p_value,
            }
            for pair, found in pairs.items()
        ],
        "The same differences as numbers, with the questions that only one of the two models "
        "answers correctly, the p of McNemar's exact test, and the p of the exact test that "
        f"exchanges the models on whole databases. The {len(pairs)} tests are not corrected for "
        "multiple comparisons.",
        columns={
            "pair": "pair",
            "difference": "difference",
            "worse": "only worse",
            "better": "only better",
            "p": "p over questions",
            "databases": "p over databases",
        },
        formats={"difference": "+.1%", "p": ".2g", "databases": ".2g"},
    )


def _verdict(pairs: Mapping[str, Comparison]) -> str:
    questions = [pair for pair, found in pairs.items() if found.p_value < LEVEL]
    databases = [pair for pair, found in pairs.items() if found.clustered_p_value < LEVEL]
    named = f": {'; '.join(databases)}" if databases else ""
    return (
        f"By McNemar's test, **{len(questions)} of {len(pairs)} differences** have "
        f"p < {LEVEL}. Over databases, **{len(databases)}** have{named}. The others may come from "
        "the choice of databases."
    )

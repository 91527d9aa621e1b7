"""What the failure chapter shows of each system: accuracies, how predictions end, why they fail."""

from __future__ import annotations

from collections import Counter

import altair as alt
import pandas as pd

from distill_sql.book.pages.failure_answers import Scores
from distill_sql.book.pages.failure_rule import cause_matrix
from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.data.datasets import load_dataset
from distill_sql.scoring import FAILURE_MODES, LEVELS
from distill_sql.scoring.bird import score_bird
from distill_sql.scoring.breakdown import SEEN, group_by, side_by_side
from distill_sql.scoring.columns import forgiven


def accuracies(scores: Scores) -> Shown:
    """The execution accuracy of each system, with both intervals, on neighbours too, and strict."""
    if not scores.reports:
        return "There are no answers to analyse, so the rest of the page is empty."
    data, between = scores.data, "{:.1%} to {:.1%}"
    many = len(data.db_ids) > 1
    rows = []
    for name, report in scores.reports.items():
        total = report.accuracy()
        rows.append(
            {
                "model": name,
                "accuracy": total.share,
                "interval": between.format(*total.interval),
                "databases": between.format(*total.clustered_interval) if many else None,
                "neighbours": scores.wide[name].accuracy().share,
                "strict": scores.strict[name].accuracy().share,
            }
        )
    return Table(
        rows,
        f"Execution accuracy of one run of each model on {len(data):,} questions (databases: "
        f"{len(data.db_ids)}), with 95 % intervals: over other questions on these databases "
        "(Wilson), and over other databases"
        + ("" if many else " (none, with one database)")
        + ". *Neighbours*: also right on these variants of the database. *Strict*: without the "
        "official evaluator's leniencies.",
        columns={
            "model": "model", "accuracy": "accuracy", "interval": "over questions",
            "databases": "over databases", "neighbours": f"{scores.neighbours} neighbours too",
            "strict": "strict",
        },
        formats=dict.fromkeys(["accuracy", "neighbours", "strict"], ".1%"),
    )  # fmt: skip


def by_source(scores: Scores) -> Table | None:
    """On pocket, the accuracies on generated and on handwritten questions; else None."""
    data = scores.data
    if not scores.reports or data.name != "pocket":
        return None
    sources = group_by("source", data)
    forms = group_by("skeleton", data, load_dataset("pocket", split="train"))
    hand = [forms[question] for question, source in sources.items() if source == "handwritten"]
    seen = hand.count(SEEN) / len(hand) if hand else 0
    kinder = {name: forgiven(report, data) for name, report in scores.reports.items()}
    every = {
        "one database": scores.reports,
        f"{scores.neighbours} neighbours too": scores.wide,
        "further columns forgiven": kinder,
        "no synonyms in the schema": scores.no_synonyms,
    }
    conditions = {what: reports for what, reports in every.items() if reports}
    models = {
        name: {what: found[name] for what, found in conditions.items() if name in found}
        for name in scores.names
    }
    return Table(
        side_by_side(models, sources),
        "Execution accuracy by the source of the questions. Generated questions share their "
        "patterns with the training questions. Handwritten ones are phrased differently, and "
        f"{seen:.0%} of their gold queries have a form that occurs in training. *Further columns "
        "forgiven*: an answer with more columns than asked for counts as right.",
        columns={"model": "model", "group": "questions", "questions": "number"}
        | {what: what for what in conditions},
        formats=dict.fromkeys(conditions, ".1%"),
        filters=["group"],
    )


def bird_metrics(scores: Scores, *, timings: int, deadline: float) -> Table | None:
    """On BIRD, its own metrics; else None. ``timings`` of 0 leave R-VES out."""
    data = scores.data
    if not scores.reports or data.name != "bird":
        return None
    rows = []
    for name in scores.names:
        one = score_bird(scores.answers[name], data, iterations=timings, deadline=deadline)
        rows.append({"model": name, "EX": one.ex, "soft F1": one.soft_f1, "R-VES": one.r_ves})
    return Table(
        rows,
        f"BIRD's own metrics on {len(data):,} questions, in per cent. EX compares sets of rows, so "
        "it differs from execution accuracy above. Soft F1 counts cells. R-VES rewards speed (each "
        f"right answer timed {timings} times; published: 100) and depends on the machine.",
        formats=dict.fromkeys(["EX", "soft F1", "R-VES"], ".1f"),
    )


def by_hardness(scores: Scores) -> Figure | None:
    """The accuracies by Spider's level of hardness; None if no gold query has a level."""
    rows, levels = [], []
    for name, report in scores.reports.items():
        for level in LEVELS:
            part = report.accuracy(level)
            if part.n:
                levels.append(level)
                low, high = part.interval
                rows.append(
                    {"model": name, "hardness": level, "accuracy": part.share}
                    | {"low": low, "high": high}
                )
    if not rows:
        return None
    levels = [level for level in LEVELS if level in levels]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("model:N", sort=scores.names[::-1], title=None),
        yOffset=alt.YOffset("hardness:N", sort=levels),
    )
    points = base.mark_point().encode(
        x=alt.X("accuracy:Q", axis=alt.Axis(format="%"), title="execution accuracy"),
        color=alt.Color("hardness:N", sort=levels, title=None),
        tooltip=["model:N", "hardness:N", alt.Tooltip("accuracy:Q", format=".1%")],
    )
    lines = base.mark_rule().encode(x="low:Q", x2="high:Q")
    return Figure(
        (lines + points).properties(height=60 * len(scores.names)),
        caption="Execution accuracy by Spider's hardness of the gold query. Lines are 95 % "
        "intervals over questions on these databases.",
        alt="Points of execution accuracy by model and hardness: "
        + "; ".join(f"{row['model']} {row['hardness']} {row['accuracy']:.0%}" for row in rows),
    )


def endings(scores: Scores) -> list[Shown]:
    """How many predictions of each system end in each failure mode: chart and text."""
    if not scores.reports:
        return []
    rows = [
        {"model": name, "mode": mode, "predictions": count}
        for name, report in scores.reports.items()
        for mode, count in report.failure_modes().items()
        if count
    ]
    modes = list(FAILURE_MODES)
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar().encode(
        y=alt.Y("model:N", sort=scores.names[::-1], title=None),
        x=alt.X("predictions:Q", stack="zero"),
        color=alt.Color("mode:N", sort=modes, title=None),
        order=alt.Order("rank:Q"),
        tooltip=["model:N", "mode:N", "predictions:Q"],
    ).transform_calculate(rank=f"indexof({modes}, datum.mode)")  # fmt: skip
    correct = [v for report in scores.reports.values() for v in report.verdicts if v.exec]
    stricter = sum(verdict.failure_mode != "ok" for verdict in correct)
    return [
        Figure(
            chart.properties(height=34 * len(scores.names)),
            caption="How each model's predictions end: "
            + "; ".join(f"{mode}: {meaning}" for mode, meaning in FAILURE_MODES.items())
            + ".",
            alt="Stacked bars of failure modes by model: "
            + "; ".join(f"{row['model']} {row['mode']} {row['predictions']}" for row in rows),
        ),
        f"So **{stricter}** of {len(correct):,} correct answers do not end as *ok*.",
    ]


def causes(scores: Scores) -> Figure | None:
    """Each system's wrong predictions by the cause that the rule names; None if all are right."""
    counts = Counter((name, str(verdict.cause)) for name, verdict in scores.wrong)
    totals = Counter(name for name, _ in scores.wrong)
    rows = [
        {"model": name, "cause": cause, "predictions": count, "share": count / totals[name]}
        for (name, cause), count in sorted(counts.items())
    ]
    if not rows:
        return None
    return Figure(
        cause_matrix(
            rows, row="model", cause="cause", count="predictions", order=scores.names[::-1],
            white_above=0.25, height=34 * len(scores.names),
        ),
        caption="Wrong predictions of each model by the primary cause that the rule names. Darker: "
        "a larger share of the model's wrong predictions.",
        alt="Wrong predictions by model and cause: "
        + "; ".join(f"{row['model']} {row['cause']} {row['predictions']}" for row in rows),
    )  # fmt: skip


def all_wrong(scores: Scores) -> Table | None:
    """Every wrong prediction, to filter and search; None if there is none."""
    if not scores.wrong:
        return None
    questions = {example.question_id: example.question for example in scores.data}
    columns = {
        "model": "model", "hardness": "hardness", "cause": "cause", "db_id": "database",
        "question": "question", "pred_sql": "prediction", "gold_sql": "gold query",
        "error": "the database's message",
    }  # fmt: skip
    rows = [
        {"model": name, "question": questions[verdict.question_id]}
        | {key: getattr(verdict, key) for key in columns if hasattr(verdict, key)}
        for name, verdict in scores.wrong
    ]
    return Table(
        rows,
        f"All wrong predictions ({len(rows):,}).",
        columns=columns,
        filters=["model", "hardness", "cause"],
        search=True,
        code=["pred_sql", "gold_sql"],
        page=10,
    )

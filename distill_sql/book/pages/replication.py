"""The replication chapter: the published predictions on Spider dev, scored again by three rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book import survey
from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.book.systems import of_dataset
from distill_sql.data.datasets import Dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.files import read_json
from distill_sql.scoring import (
    Judge,
    Prediction,
    Rules,
    ScoreReport,
    read_predictions,
    score_with,
)
from distill_sql.scoring.predictions import prediction_files
from distill_sql.sql.failures import facets


@dataclass(frozen=True)
class Published:
    """A model of the study: its name here, and its published execution accuracy on Spider dev.

    The accuracy, a share, is on the database that ships with the question.
    """

    name: str
    accuracy: float


#: The models by the stem of their prediction files, from the lowest accuracy to the highest.
PUBLISHED: Mapping[str, Published] = {
    "base_qwen_0p5b": Published("0.5B untrained", 0.339),
    "distilled_ablation_direct": Published("0.5B direct-only", 0.594),
    "distilled_primary": Published("0.5B", 0.600),
    "distilled_1p5b_q4": Published("1.5B fused, 4-bit", 0.625),
    "distilled_1p5b": Published("1.5B", 0.692),
    "distilled_3b": Published("3B on a 4-bit base", 0.726),
    "distilled_7b": Published("7B", 0.750),
    "gpt_4o_mini_reference": Published("GPT-4o-mini (teacher)", 0.801),
}


@dataclass(frozen=True)
class Rescored:
    """The published predictions, scored again.

    Mappings are by the model's name, in the order of :data:`PUBLISHED`. ``official`` reports follow
    the official rules, ``strict`` ones drop their leniencies, and ``wide`` ones follow the official
    rules on ``neighbours`` variants of each database, too. ``gold`` and ``gold_strict`` are the
    reports of the gold queries, scored as predictions. ``summaries`` are those of the study's own
    results file, empty if it is not there.
    """

    dataset: Dataset
    files: Mapping[str, Path]
    neighbours: int
    official: Mapping[str, ScoreReport]
    strict: Mapping[str, ScoreReport]
    wide: Mapping[str, ScoreReport]
    gold: ScoreReport
    gold_strict: ScoreReport
    summaries: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        """The models whose predictions were found."""
        return list(self.files)

    @property
    def published(self) -> dict[str, float]:
        """The published accuracies of these models."""
        by_name = {model.name: model.accuracy for model in PUBLISHED.values()}
        return {name: by_name[name] for name in self.files}


def published_files(dataset: Dataset, folder: str = "") -> dict[str, Path]:
    """The published prediction files that answer ``dataset``, by the model's name.

    The folder beside a dataset may hold predictions on another one. :func:`prediction_files` says
    where they are looked for if ``folder`` is empty.
    """
    found = {path.stem: path for path in of_dataset(prediction_files(dataset, folder), dataset)}
    return {model.name: found[stem] for stem, model in PUBLISHED.items() if stem in found}


def rescore(dataset: Dataset, files: Mapping[str, Path], *, neighbours: int) -> Rescored | None:
    """Score the published predictions again; None if there are no files."""
    if not files:
        return None
    answers = {name: read_predictions(path, dataset) for name, path in files.items()}
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in dataset]
    variants = build_neighbours(dataset, count=neighbours)
    with (
        Judge(dataset) as official,
        Judge(dataset, Rules(etype="exec", strict=True)) as strict,
        Judge(dataset, Rules(etype="exec"), neighbours=variants) as wide,
    ):
        return Rescored(
            dataset=dataset,
            files=files,
            neighbours=neighbours,
            official={name: score_with(official, answer) for name, answer in answers.items()},
            strict={name: score_with(strict, answer) for name, answer in answers.items()},
            wide={name: score_with(wide, answer) for name, answer in answers.items()},
            gold=score_with(official, gold),
            gold_strict=score_with(strict, gold),
            summaries=_summaries(files),
        )


def _summaries(files: Mapping[str, Path]) -> dict[str, Mapping[str, Any]]:
    """What the study's results file, beside the predictions, says of each of these models."""
    path = next(iter(files.values())).parent / "results.json"
    if not path.exists():
        return {}
    results = read_json(path)
    return {
        model.name: results[stem]["summary"]
        for stem, model in PUBLISHED.items()
        if model.name in files and stem in results
    }


def found(dataset: Dataset, scored: Rescored | None) -> str:
    """How many prediction files were found, and what the page shows."""
    if scored is None:
        return (
            f"**There are no published predictions for {dataset.name}**, so this page shows only "
            "the published accuracies. With Spider and its prediction files, it scores every "
            "prediction again."
        )
    return (
        f"**{len(scored.files)} of {len(PUBLISHED)} prediction files were found.** All "
        f"{len(dataset):,} predictions of each are scored again below."
    )


def headline(scored: Rescored | None) -> Table:
    """The published accuracies and ours; without predictions, the published ones alone."""
    if scored is None:
        return Table(
            [{"model": model.name, "published": model.accuracy} for model in PUBLISHED.values()],
            "Published execution accuracy on Spider dev.",
            formats={"published": ".1%"},
        )
    dataset = scored.dataset
    return Table(
        [_headline_row(scored, name) for name in scored.names],
        f"Execution accuracy on Spider dev ({len(dataset):,} questions, {len(dataset.db_ids)} "
        "databases), one run of each model: as published; as we score the same predictions, with "
        "95 % intervals over questions and over databases; and without the official evaluator's "
        "leniencies (*strict*). The last column is exact set match.",
        columns={
            "model": "model",
            "published": "published",
            "ours": "ours",
            "interval": "over questions",
            "databases": "over databases",
            "strict": "strict",
            "exact": "exact set match",
        },
        formats=dict.fromkeys(["published", "ours", "strict", "exact"], ".1%"),
    )


def _headline_row(scored: Rescored, name: str) -> dict[str, Any]:
    report = scored.official[name]
    ours = report.accuracy()
    return {
        "model": name,
        "published": scored.published[name],
        "ours": ours.share,
        "interval": "{:.1%} to {:.1%}".format(*ours.interval),
        "databases": "{:.1%} to {:.1%}".format(*ours.clustered_interval),
        "strict": scored.strict[name].accuracy().share,
        "exact": report.accuracy(metric="exact").share,
    }


def read_empty_tables(dataset: Dataset) -> dict[int, list[str]]:
    """The tables without rows that gold queries read, as ``database.table``, by question id.

    Only questions that read such a table are in it.
    """
    empty = {
        row["database"]: set(filter(None, row["empty tables"].lower().split(", ")))
        for row in survey.databases(dataset)
    }
    read = {}
    for example in dataset:
        parts = facets(example.query)
        if parts and (tables := parts.tables & empty[example.db_id]):
            read[example.question_id] = [f"{example.db_id}.{table}" for table in sorted(tables)]
    return read


def luck(scored: Rescored) -> str:
    """Whether questions about empty tables explain the difference from the published accuracies."""
    read = read_empty_tables(scored.dataset)
    n = len(scored.dataset)
    gaps = [
        scored.official[name].accuracy().correct - round(accuracy * n)
        for name, accuracy in scored.published.items()
    ]
    lucky = [
        sum(bool(verdict.exec) for verdict in report.only(read.keys()).verdicts)
        for report in scored.official.values()
    ]
    enough = all(gap <= right for gap, right in zip(gaps, lucky, strict=True))
    text = f"Ours is {min(gaps)} to {max(gaps)} right answers above the published figure. "
    if read:
        names = sorted({name for tables in read.values() for name in tables})
        text += (
            f"In this copy of Spider **{len(read)} gold queries read a table without rows** "
            f"({', '.join(f'`{name}`' for name in names)}), and a wrong query passes easily there. "
            f"By model, {min(lucky)} to {max(lucky)} of these questions count as right. "
        ) + (
            "For every model that is at least the difference, so a different copy of the database "
            "is enough to explain it. "
            if enough
            else "That does not explain all of the difference. "
        )
    empty = sum(verdict.gold_is_empty for verdict in scored.gold.verdicts)
    return text + (
        f"In total, **{empty}** gold queries return no rows on this copy; for these, any query "
        "without rows counts as right."
    )


def leniencies(scored: Rescored) -> list[Shown]:
    """What strict rules and neighbour databases change."""
    n = len(scored.dataset)
    right = {name: report.accuracy().correct for name, report in scored.official.items()}
    moved = [scored.strict[name].accuracy().correct - right[name] for name in scored.names]
    lost = [(right[name] - scored.wide[name].accuracy().correct) / n for name in scored.names]
    text = (
        f"Strict rules change a score by {min(moved):+d} to {max(moved):+d} answers. Scored as "
        f"predictions, {scored.gold_strict.accuracy().correct:,} of {n:,} gold queries are right "
        f"by the strict rules and {scored.gold.accuracy().correct:,} by the official ones. "
        f"With {scored.neighbours} neighbours, {min(lost):.1%} to {max(lost):.1%} of all answers "
        "become wrong: they return the gold rows on the database that ships with the question, but "
        "not on every neighbour."
    )
    return [_leniency_chart(scored), text]


def _leniency_chart(scored: Rescored) -> Figure:
    levels: Mapping[str, Mapping[str, ScoreReport]] = {
        "official": scored.official,
        "strict": scored.strict,
        f"{scored.neighbours} neighbours too": scored.wide,
    }
    points: Sequence[dict[str, Any]] = [
        {"model": name, "scored": level, "accuracy": reports[name].accuracy().share}
        for name in scored.names
        for level, reports in levels.items()
    ]
    base = alt.Chart(pd.DataFrame(points)).encode(
        y=alt.Y("model:N", sort=scored.names[::-1], title=None)
    )
    accuracy = alt.X(
        "accuracy:Q",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format="%"),
        title="execution accuracy",
    )
    marks = base.mark_point(filled=True, size=70).encode(
        x=accuracy,
        color=alt.Color("scored:N", sort=list(levels), title=None),
        shape=alt.Shape("scored:N", sort=list(levels), legend=None),
        tooltip=["model", "scored", alt.Tooltip("accuracy", format=".1%")],
    )
    lines = base.mark_line(color="gray").encode(x=alt.X("accuracy:Q"), detail="model:N")
    return Figure(
        (lines + marks).properties(height=34 * len(scored.names)),
        "The same predictions by the official rules, by the strict ones, and by the official ones "
        "on the neighbours of each database, too.",
        "Points of accuracy by model: "
        + "; ".join(f"{p['model']} {p['scored']} {p['accuracy']:.1%}" for p in points),
    )

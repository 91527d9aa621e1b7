"""The data chapter: splits, hardness, databases and gold queries of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from distill_sql.book import survey
from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.data.datasets import Dataset
from distill_sql.prompting.recall import gold_tables
from distill_sql.scoring import LEVELS, hardness
from distill_sql.sql.skeletons import skeleton, skeletons

#: The bins of :func:`result_sizes`: the largest number of rows of each, and its name.
SIZES: Mapping[float, str] = {
    0: "none", 1: "1", 5: "2-5", 20: "6-20", 100: "21-100", float("inf"): "more",
}  # fmt: skip
#: The rows that `rankings` of Spider's `wta_1` has in the original data.
RANKINGS = 510_437


def overlap(dev: Dataset, train: Dataset | None) -> str:
    """What training questions and ``dev`` share: databases, and skeletons of gold queries."""
    if train is None:
        return (
            f"There are no training questions of {dev.name} here, so this page shows only its "
            f"{dev.split} split."
        )
    shared = set(train.db_ids) & set(dev.db_ids)
    seen = seen_forms(dev, train)
    return (
        f"**{len(shared)}** of the {len(dev.db_ids)} {dev.split} databases also occur in "
        f"{train.split}. **{len(seen) / len(dev):.1%}** of the {dev.split} questions have a gold "
        f"query whose skeleton occurs in {train.split}. A student can answer these correctly "
        "without composing a form of query that is new to it."
    )


def seen_forms(dev: Dataset, train: Dataset) -> frozenset[int]:
    """Ids of the questions of ``dev`` whose gold query has the skeleton of a training query."""
    known = skeletons(example.query for example in train)
    return frozenset(e.question_id for e in dev if skeleton(e.query) in known)


def overview(splits: Sequence[Dataset]) -> Table:
    """The sizes of the splits."""
    names = " and ".join(data.split for data in splits)
    return Table(
        survey.overview(splits),
        f"The splits of {splits[0].name}: {names}. Sizes are means.",
        formats={
            "tables per database": ".1f",
            "columns per database": ".1f",
            "words per question": ".1f",
            "words per query": ".1f",
            "questions": ",d",
        },
    )


def by_source(dev: Dataset, train: Dataset) -> Table:
    """The questions of ``dev`` by source, with the share of each whose skeleton training has."""
    source = {example.question_id: example.source for example in dev}
    seen = Counter(source[question_id] for question_id in seen_forms(dev, train))
    shown = ("source", "questions", "words per question", "words per query")
    return Table(
        [
            record | {"seen": seen[record["source"]] / record["questions"]}
            for record in survey.by_source(dev, source)
        ],
        f"The {dev.split} questions of {dev.name} by source. The last column is the share of a "
        "source's questions whose gold query has a skeleton that occurs in training. The training "
        "chapter shows accuracy by source.",
        columns={name: name for name in shown} | {"seen": "skeleton in training"},
        formats={"words per question": ".1f", "words per query": ".1f", "seen": ".1%"},
    )


def levels(splits: Sequence[Dataset]) -> Figure:
    """The share of each split's questions at each level of hardness."""
    shares = survey.levels(splits)
    shown = [data.split for data in splits]
    chart = alt.Chart(pd.DataFrame(shares)).mark_bar()
    return Figure(
        chart.encode(
            x=alt.X("hardness:N", sort=list(LEVELS), title=None),
            xOffset=alt.XOffset("split:N", sort=shown),
            y=alt.Y("share:Q", axis=alt.Axis(format="%"), title="share of questions"),
            color=alt.Color("split:N", sort=shown, title=None),
            tooltip=["split", "hardness", "questions", alt.Tooltip("share", format=".1%")],
        ),
        f"Share of {splits[0].name}'s questions at each hardness level: {_with_sizes(splits)}.",
        "Bars of the share of easy, medium, hard and extra hard questions: "
        + "; ".join(f"{r['split']} {r['hardness']} {r['share']:.0%}" for r in shares),
    )


def constructs(splits: Sequence[Dataset]) -> Figure:
    """The share of each split's gold queries that use each SQL construct."""
    shares = survey.constructs(splits)
    shown = [data.split for data in splits]
    last = [record for record in shares if record["split"] == shown[-1]]
    frequent = sorted(last, key=lambda record: -float(record["share"]))[:4]
    chart = alt.Chart(pd.DataFrame(shares)).mark_bar()
    return Figure(
        chart.encode(
            y=alt.Y("construct:N", sort=list(survey.CONSTRUCTS), title=None),
            yOffset=alt.YOffset("split:N", sort=shown),
            x=alt.X("share:Q", axis=alt.Axis(format="%"), title="share of gold queries"),
            color=alt.Color("split:N", sort=shown, title=None),
            tooltip=["split", "construct", alt.Tooltip("share", format=".1%")],
        ).properties(height=480),
        f"SQL constructs in the gold queries of {splits[0].name}: {_with_sizes(splits)}. A query "
        "counts for every construct that it uses.",
        "Bars of the share of gold queries that use each SQL construct; the most frequent in "
        f"{shown[-1]} are {', '.join(record['construct'] for record in frequent)}",
    )


def _with_sizes(splits: Sequence[Dataset]) -> str:
    return " and ".join(f"{data.split} ({len(data):,})" for data in splits)


def examples(dataset: Dataset) -> list[str]:
    """One question of each level of hardness, with its gold query."""
    return [
        f"**{(hardness(example.query) or survey.UNPARSED).capitalize()}**, database "
        f"`{example.db_id}`: {example.question}\n"
        + (f"\nHint: {example.evidence}\n" if example.evidence else "")
        + f"```sql\n{example.query}\n```"
        for example in survey.one_per_level(dataset)
    ]


def databases(dataset: Dataset) -> Table:
    """The databases that the questions are about."""
    return Table(
        survey.databases(dataset),
        f"The databases of {dataset.name}'s {dataset.split} split ({len(dataset.db_ids)}).",
        formats={"rows": ",d"},
    )


def gold_results(dataset: Dataset, answers: Sequence[survey.Record]) -> list[Shown]:
    """How many gold queries run, how many return no rows, and how many rows the others return.

    ``answers`` are the records of :func:`~distill_sql.book.survey.answers`.
    """
    run = sum(record["outcome"] == "ok" for record in answers)
    empty = sum(record["rows"] == 0 for record in answers)
    text = (
        f"Of {len(answers):,} gold queries of {dataset.split}, **{run:,} run** and **{empty:,} "
        f"return no rows** ({empty / len(answers):.1%})."
    )
    return [text, empty_rankings(dataset), result_sizes(dataset, answers)]


def empty_rankings(dataset: Dataset) -> str:
    """What a copy of Spider without the rows of `rankings` in `wta_1` means for every score.

    Empty for other data, and for a copy that has the rows.
    """
    asked = [example for example in dataset if example.db_id == "wta_1"]
    if not asked:
        return ""
    (record,) = survey.databases(dataset.with_examples(asked))
    if "rankings" not in record["empty tables"]:
        return ""
    lost = sum("rankings" in gold_tables(e.query, dataset.schema("wta_1")) for e in asked)
    return (
        f"{lost} of the gold queries read `rankings` of `wta_1`. In this copy of Spider that table "
        f"is empty (the original has {RANKINGS:,} rows), so these questions cannot be scored "
        f"faithfully. In every score on this copy, up to {lost} verdicts may differ from those on "
        "the original data."
    )


def result_sizes(dataset: Dataset, answers: Sequence[survey.Record]) -> Figure:
    """How many gold queries return how many rows; one that fails counts as none."""
    counts = Counter(
        next(name for most, name in SIZES.items() if record["rows"] <= most) for record in answers
    )
    sizes = [{"size": name, "questions": counts[name]} for name in SIZES.values()]
    chart = alt.Chart(pd.DataFrame(sizes)).mark_bar()
    return Figure(
        chart.encode(
            x=alt.X("size:N", sort=list(SIZES.values()), title="rows in the gold result"),
            y=alt.Y("questions:Q", title=f"{dataset.split} questions"),
            tooltip=["size", "questions"],
        ),
        f"Number of rows that the {len(answers):,} gold queries of {dataset.split} return.",
        f"Bars of the number of {dataset.split} questions by the rows of their gold result: "
        + ", ".join(f"{r['size']} rows {r['questions']}" for r in sizes),
    )

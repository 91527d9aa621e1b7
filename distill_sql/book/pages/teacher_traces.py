"""Chapter 2: which of the teacher's answers were kept, and which were dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import pandas as pd

from distill_sql.book.shown import Figure, Table
from distill_sql.data.datasets import Dataset
from distill_sql.models.recipes import recipe_for, size_for
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.scoring import LEVELS, hardness
from distill_sql.teacher.traces import REASONS, Judged, Trace
from distill_sql.training import splits

#: Kinds of questions of which the chapter shows one each.
KINDS = ("all right", "one right", "none right")


def traces_of(judged: Iterable[Judged]) -> list[Trace]:
    """The traces that were kept."""
    return [trace for one in judged for trace in one.kept]


def kept_share(judged: Sequence[Judged]) -> float:
    """The share of the questions of which an answer was kept."""
    return sum(bool(one.kept) for one in judged) / len(judged)


def outcomes_figure(judged: Sequence[Judged]) -> Figure:
    """Samples by outcome: kept, or the reason why they were dropped."""
    counts = Counter(reason or "kept" for one in judged for reason in one.reasons)
    order = ["kept", *reversed(list(REASONS))]
    rows = [
        {
            "outcome": name,
            "samples": counts[name],
            "meaning": REASONS.get(name, "it was kept"),
        }
        for name in order
        if counts[name]
    ]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            y=alt.Y("outcome:N", sort=order, title=None),
            x=alt.X("samples:Q", axis=alt.Axis(tickMinStep=1)),
            tooltip=["outcome", "samples", "meaning"],
        )
        .properties(height=alt.Step(26))
    )
    return Figure(
        chart,
        f"Outcomes of the {counts.total():,} samples: "
        + "; ".join(f"{row['outcome']}: {row['meaning']}" for row in rows)
        + ".",
        "Bars of samples by outcome: "
        + ", ".join(f"{row['outcome']} {row['samples']}" for row in rows),
    )


# --- What was kept --------------------------------------------------------------------------------


def shares_table(judged: Sequence[Judged], questions: Dataset) -> Table:
    """Shares of questions with a trace and of samples that pass, by hardness and by mode."""
    queries = {example.question_id: example.query for example in questions}
    by_level: dict[str, list[Judged]] = {level: [] for level in LEVELS}
    by_mode: dict[str, list[Judged]] = {}
    for one in judged:
        level = hardness(queries[one.question_id])
        if level:
            by_level[level].append(one)
        by_mode.setdefault(one.mode, []).append(one)
    groups: list[tuple[str, Mapping[str, Sequence[Judged]]]] = [
        ("hardness", by_level), ("mode", dict(sorted(by_mode.items()))),
    ]  # fmt: skip
    return Table(
        [
            {
                "by": by,
                "group": name,
                "questions": len(group),
                "kept": kept_share(group),
                "passed": _mean(one.n_passed / len(one.reasons) for one in group),
                "agreement": _mean(one.agreement / len(one.reasons) for one in group),
            }
            for by, found in groups
            for name, group in found.items()
            if group
        ],
        f"By hardness and by mode, for {len(judged):,} questions: the share of questions of which "
        "an answer was kept, the share of their samples that pass, and the share of samples that "
        "give the question's most frequent result. The two modes were asked of different "
        "questions.",
        columns={
            "by": "by", "group": "group", "questions": "questions", "kept": "kept",
            "passed": "samples passing", "agreement": "agreement",
        },
        formats={"kept": ".0%", "passed": ".0%", "agreement": ".0%"},
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def databases_note(judged: Sequence[Judged]) -> str:
    """How much the share of questions with a trace varies by database."""
    by_database: dict[str, list[Judged]] = {}
    for one in judged:
        by_database.setdefault(one.db_id, []).append(one)
    shares = [kept_share(each) for each in by_database.values()]
    return (
        f"The questions are on {len(shares)} databases; {shares.count(0)} of them have no trace. "
        f"The share of questions with a trace ranges from {min(shares):.0%} to {max(shares):.0%} "
        "by database, so differences of a few points between the rows above mean little."
    )


def training_note(
    judged: Iterable[Judged], tokenizer: ChatTokenizer, dev: Dataset, *, dataset: str
) -> str:
    """How many traces the training set has, and whether any has a dev question or its query."""
    traces = traces_of(judged)
    longest = recipe_for(size_for(dataset)).length
    prepared = splits.training_set(traces, tokenizer, max_tokens=longest)
    leaked = splits.leaks(traces, dev)
    return (
        f"Of {len(traces):,} traces, {prepared.near_duplicates:,} are near duplicates (same "
        "database, same words in the question and same query) and "
        f"{prepared.too_long:,} exceed the {longest:,} tokens that the students' recipes allow for "
        f"prompt and answer. {len(prepared.train):,} are for training and "
        f"{len(prepared.validation):,}, on other databases, for validation. The training chapters "
        f"use exactly these. **{len(leaked)}** share a question or a query, word for word, with "
        f"one of the {len(dev):,} {dev.split} questions; forms of queries are shared, as the data "
        "chapter shows."
    )


# --- Three questions ------------------------------------------------------------------------------


def examples(judged: Iterable[Judged], questions: Dataset) -> list[Table | str]:
    """The samples of the first question of each of :data:`KINDS`, and a text for those missing."""
    asked = {example.question_id: example for example in questions}
    first: dict[str, Judged] = {}
    for one in judged:
        first.setdefault(_kind(one), one)
    shown: list[Table | str] = []
    for kind in KINDS:
        if kind in first:
            one = first[kind]
            example = asked[one.question_id]
            shown.append(
                Table(
                    [
                        {"sample": number, "what came back": text, "verdict": reason or "kept"}
                        for number, (text, reason) in enumerate(
                            zip(one.texts, one.reasons, strict=True), start=1
                        )
                    ],
                    f"{kind.capitalize()} ({one.mode}), database {one.db_id}: {example.question} "
                    f"Gold: {example.query}",
                    code=["what came back"],
                )
            )
    if missing := [kind for kind in KINDS if kind not in first]:
        shown.append(f"*No question of this build is an example of: {', '.join(missing)}.*")
    return shown


def _kind(one: Judged) -> str:
    if one.n_passed == len(one.reasons):
        return "all right"
    return {0: "none right", 1: "one right"}.get(one.n_passed, "some right")

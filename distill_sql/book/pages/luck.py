"""How often a wrong query passes by luck: on one database, on its neighbours, on empty results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from distill_sql.book.pages.failure_answers import Scores
from distill_sql.book.pages.failure_rule import Broken
from distill_sql.book.shown import Figure, Shown
from distill_sql.scoring import Judge, Rules


@dataclass(frozen=True)
class Passing:
    """How many broken queries still give the gold rows.

    ``counts`` has the number that pass on the original databases, then with one neighbour of each
    database too, with two, and so on; it is empty if there are no broken queries. ``left`` are the
    queries that pass on all of them. ``unmade`` are databases of which no neighbour could be made.
    """

    broken: int
    counts: tuple[int, ...]
    left: tuple[Broken, ...]
    unmade: tuple[str, ...]

    @property
    def shares(self) -> tuple[float, float]:
        """The shares that pass on the original databases, and with all neighbours."""
        return self.counts[0] / self.broken, self.counts[-1] / self.broken


def passing(broken: Sequence[Broken], scores: Scores, *, deadline: float) -> Passing:
    """Run broken queries by the strict rules, each time on one neighbour more.

    A query that has failed is not run again: with more databases it cannot pass.
    """
    counts, left = [], list(broken)
    for number in range(scores.neighbours + 1) if broken else ():
        some = {db_id: paths[:number] for db_id, paths in scores.variants.items()}
        rules = Rules(etype="exec", strict=True)
        with Judge(scores.data, rules, neighbours=some, deadline=deadline) as judge:
            verdicts = list(judge.verdicts((each.example, each.sql) for each in left))
        left = [each for each, verdict in zip(left, verdicts, strict=True) if verdict.exec]
        counts.append(len(left))
    unmade = [d for d in scores.data.db_ids if scores.neighbours and not scores.variants[d]]
    return Passing(len(broken), tuple(counts), tuple(left), tuple(unmade))


def by_neighbours(found: Passing) -> list[Shown]:
    """How many broken queries pass, by the number of neighbours: text and chart."""
    unmade = (
        f"**No neighbours could be made** of {', '.join(found.unmade)}." if found.unmade else ""
    )
    if not found.counts:
        return [unmade, "There are no broken queries here, so this part is empty."]
    first, last, neighbours = found.counts[0], found.counts[-1], len(found.counts) - 1
    rows = [{"neighbours": n, "passing": count} for n, count in enumerate(found.counts)]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("neighbours:O", title="neighbours of each database"),
            y=alt.Y("passing:Q", title="broken queries that pass"),
            tooltip=["neighbours:O", "passing:Q"],
        )
        .properties(height=200)
    )
    figure = Figure(
        chart,
        caption=f"How many of {found.broken:,} broken gold queries still give the gold rows, by "
        "the number of neighbours of each database on which they must do so, too (strict rules).",
        alt=f"A falling line: {first} pass without neighbours, {last} with {neighbours}.",
    )
    return [unmade, _in_words(found), figure]


def _in_words(found: Passing) -> str:
    first, last, neighbours = found.counts[0], found.counts[-1], len(found.counts) - 1
    text = (
        f"**{first}** of {found.broken:,} broken queries ({found.shares[0]:.1%}) give the gold "
        "rows on the original databases."
    )
    if first:
        text += (
            f" {neighbours} neighbours of each database detect **{first - last}** of them "
            f"({1 - last / first:.0%})."
        )
    if last:
        kinds = Counter(each.kind for each in found.left).most_common(3)
        text += (
            f" The most frequent kinds among the {last} that still pass: "
            + "; ".join(f"*{kind}* ({count})" for kind, count in kinds)
            + ". Some of these are no mistakes, such as a DISTINCT dropped where no row repeats; "
            "how many was not counted."
        )
    return text


def shared_answers(scores: Scores) -> str:
    """How many questions no system answers rightly, how many all do, and right answers by luck.

    Where a gold query gives no rows, any query that finds nothing counts as right.
    """
    if not scores.reports:
        return ""
    verdicts = [v for name in scores.models for v in scores.reports[name].verdicts]
    right: Counter[int] = Counter()
    for verdict in verdicts:
        right[verdict.question_id] += bool(verdict.exec)
    correct = [verdict for verdict in verdicts if verdict.exec]
    models = len(scores.models)
    return (
        ("" if scores.wrong else "Every answer is right. ")
        + f"Of {len(right):,} questions, **{sum(n == 0 for n in right.values())}** are answered "
        f"correctly by none of {models} systems"
        + (" (the floor not counted)" if set(scores.names) - set(scores.models) else "")
        + f", and **{sum(n == models for n in right.values())}** by all. Of the {len(correct):,} "
        f"correct answers, **{sum(v.gold_is_empty for v in correct)}** are to questions whose gold "
        "query returns no rows. There any query that returns nothing counts as correct."
    )

"""The rule that names causes of failure, and how far it can be trusted.

It is compared with labels given by reading, and with gold queries that were broken on purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from distill_sql.book.pages.failure_answers import Scores
from distill_sql.book.shown import Figure, Shown, Table
from distill_sql.data.datasets import Dataset, Example
from distill_sql.files import read_json
from distill_sql.scoring import labels
from distill_sql.scoring.labels import Labelled
from distill_sql.scoring.mutants import KINDS, mutants
from distill_sql.settings import book_root
from distill_sql.sql.failures import CAUSES, STEPS, deciding_step, primary_cause


def steps(scores: Scores) -> Table:
    """The rule's questions in their order, and how many wrong predictions each of them decides."""
    rows: list[dict[str, Any]] = [
        {"step": number, "question": step.question, "cause": step.cause}
        for number, step in enumerate(STEPS, start=1)
    ]
    columns = {"step": "", "question": "question", "cause": "cause if not"}
    if not scores.reports:
        return Table(rows, "The rule's questions in their order.", columns)
    mistakes = [v for name, v in scores.wrong if name in scores.models]
    decided = Counter(deciding_step(v.pred_sql, v.gold_sql, error=v.error) for v in mistakes)
    return Table(
        [row | {"decides": decided[step]} for row, step in zip(rows, STEPS, strict=True)],
        "The rule's questions in their order, and how many of the "
        f"{len(mistakes):,} wrong predictions each decides. Systems: {'; '.join(scores.models)}.",
        columns | {"decides": "decides"},
    )


@dataclass(frozen=True)
class LabelledSet:
    """The labelled errors, and their manifest's record of the rule as it was before them."""

    errors: Sequence[Labelled]
    labelled_by: str
    before: Mapping[str, Sequence[int]]

    @cached_property
    def parts(self) -> dict[str, Sequence[Labelled]]:
        """All errors, each half, and those on each dataset."""
        halves = (labels.TUNING, labels.HELD_OUT)
        return {
            "all": self.errors,
            **{half: [one for one in self.errors if one.half == half] for half in halves},
            **{
                f"on {name}": [one for one in self.errors if one.dataset == name]
                for name in ("pocket", "spider")
            },
        }

    def share_before(self, part: str) -> float:
        """How often the rule agreed on a part before it was improved."""
        agreed, n = self.before[part.removeprefix("on ")]
        return agreed / n


def labelled(folder: Path | None = None) -> LabelledSet:
    """The labelled set of the book, or of another folder with the same files."""
    place = folder or (book_root() or Path()) / "book" / "results" / "failure_labels"
    about = read_json(place / "manifest.json")
    return LabelledSet(
        errors=labels.read_labels(place / "labels.jsonl"),
        labelled_by=about["labelled_by"].partition(",")[0],
        before=about["rule_before"]["agreement"],
    )


def agreement(found: LabelledSet) -> list[Shown]:
    """How well the rule agrees with labels given by reading: text, table, confusion matrix."""
    return [_agreement_in_words(found), _agreement_table(found), _confusion(found.errors)]


def _agreement_in_words(found: LabelledSet) -> str:
    share = "{0.agreed} of {0.n} ({0.share:.0%})".format
    read, parts = found.errors, found.parts
    readers, second = labels.between_readers(read), labels.with_second(read)
    pocket, spider = (labels.agreement(parts[f"on {name}"]) for name in ("pocket", "spider"))
    missed = Counter(one.named for one in parts["on spider"] if one.label != one.named)
    models = len({(one.dataset, one.model) for one in read})
    often = ", ".join(f"{cause} ({count})" for cause, count in missed.most_common(3))
    lines = [
        f"**{len(read)} wrong predictions of {models} models were labelled by reading**, by "
        f"{found.labelled_by}, before the rule was run on any of them. No person labelled them. "
        "The errors were sampled so that no kind dominates. `book/results/failure_labels` says "
        "how, and holds the guidelines and the labels.",
        "The first reader knew the rule's text. The second, another instance of the assistant, saw "
        f"neither the rule nor the first labels. They agree on {share(readers)}, kappa "
        f"{readers.kappa:.2f}.",
        "The rule was improved on one half of the labels. On the held-out half it agrees with the "
        f"first reader on **{share(labels.agreement(parts[labels.HELD_OUT]))}**; before, it agreed "
        f"on {found.share_before(labels.HELD_OUT):.0%}. It agrees with the second reader on "
        f"{share(second)} of all errors.",
        f"With the first reader it agrees on **{pocket.share:.0%} of the pocket errors and "
        f"{spider.share:.0%} of the Spider errors**. On the {missed.total()} Spider errors where "
        f"they disagree, the rule most often names {often}. So for Spider's models the counts of "
        "these causes are likely too high.",
        "Of several mistakes in a query, the guidelines and the rule both take the first in the "
        "order above. So agreement does not show that this order is the best one.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _agreement_table(found: LabelledSet) -> Table:
    rows = []
    for part, errors in found.parts.items():
        now = labels.agreement(errors)
        rows.append(
            {
                "labels": part,
                "errors": now.n,
                "before": found.share_before(part),
                "now": now.share,
                "interval": "{:.0%} to {:.0%}".format(*now.interval),
                "kappa": now.kappa,
                "readers": labels.between_readers(errors).share,
            }
        )
    return Table(
        rows,
        "How often the rule names the first reader's label, with Wilson's 95 % interval over "
        "errors and Cohen's kappa, and how often the second reader gives the same label. *tuning*: "
        "the half on which the rule was improved.",
        columns={
            "labels": "labels", "errors": "errors", "before": "rule before", "now": "rule now",
            "interval": "95 % interval", "kappa": "kappa now", "readers": "second reader",
        },
        formats={"before": ".1%", "now": ".1%", "kappa": ".2f", "readers": ".1%"},
    )  # fmt: skip


def _confusion(errors: Sequence[Labelled]) -> Figure:
    rows = labels.confusion(errors)
    off = (
        f"{row['label']} named {row['named']} {row['errors']}"
        for row in rows
        if row["label"] != row["named"]
    )
    return Figure(
        cause_matrix(
            rows, row="label", cause="named", count="errors", order=CAUSES, top=1, white_above=0.5,
            titles=("cause labelled", "cause named"), height=340,
        ),
        caption="Errors by the cause labelled by reading (rows) and the cause that the rule names "
        "(columns).",
        alt="Matrix of labelled against named causes, most on the diagonal. Off it: "
        + "; ".join(off),
    )  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """A gold query with one mistake of a known kind, a key of :data:`KINDS`."""

    example: Example
    kind: str
    sql: str

    @cached_property
    def named(self) -> str:
        """The cause that the rule names."""
        return primary_cause(self.sql, self.example.query)

    @property
    def agrees(self) -> bool:
        """Whether that is the cause that the kind of mistake stands for."""
        return self.named == KINDS[self.kind]


def broken_queries(data: Dataset) -> list[Broken]:
    """Every mutant of the gold queries of a dataset."""
    return [
        Broken(example, mutant.kind, mutant.sql)
        for example in data
        for mutant in mutants(example.query, data.schema(example.db_id))
    ]


def causes_of_broken(broken: Sequence[Broken]) -> list[Shown]:
    """How often the rule names the intended cause of broken queries: text and matrix."""
    if not broken:
        return ["**No gold query here can be broken in one of these ways**, so this part is empty."]
    share = sum(each.agrees for each in broken) / len(broken)
    others = Counter((each.kind, each.named) for each in broken if not each.agrees)
    text = (
        f"The rule names the intended cause for **{share:.1%}** of {len(broken):,} broken queries."
    )
    if others:
        text += (
            f" The most frequent of the {others.total()} others: "
            + "; ".join(
                f"*{k}* named {named} ({count})" for (k, named), count in others.most_common(3)
            )
            + ". A condition may contain a subquery or stand in HAVING, and the rule asks about "
            "those first."
        )
    pairs, kinds = Counter((b.kind, b.named) for b in broken), Counter(b.kind for b in broken)
    rows = [
        {"mistake": kind, "named": named, "queries": count, "share": count / kinds[kind]}
        for (kind, named), count in sorted(pairs.items())
    ]
    chart = cause_matrix(
        rows, row="mistake", cause="named", count="queries", order=list(KINDS), top=1,
        titles=("mistake made", "cause named"), height=340,
    )  # fmt: skip
    caption = (
        f"Causes that the rule names for each kind of mistake in {len(broken):,} broken gold "
        "queries; each row adds up to 100 %."
    )
    alternative = f"Matrix of mistakes against causes named; {share:.0%} are named as intended."
    return [text, Figure(chart, caption, alternative)]


def cause_matrix(
    rows: Iterable[Mapping[str, Any]],
    *,
    row: str,
    cause: str,
    count: str,
    order: Sequence[str],
    height: int,
    titles: tuple[str | None, str | None] = (None, None),
    top: float | None = None,
    white_above: float | None = None,
) -> alt.TopLevelMixin:
    """A matrix with causes as columns, shaded by ``share``; ``order`` is that of its rows.

    ``row``, ``cause`` and ``count`` are keys of the records, ``titles`` those of rows and columns.
    The scale ends at ``top`` (default: the largest share). ``white_above`` writes each count into
    its cell, in white where the share is above it.
    """
    across = alt.X(f"{cause}:N", sort=list(CAUSES), title=titles[1], axis=alt.Axis(labelAngle=-40))
    down = alt.Y(f"{row}:N", sort=list(order), title=titles[0])
    cells = alt.Chart(pd.DataFrame(list(rows))).encode(x=across, y=down)
    scale = alt.Scale(domainMin=0) if top is None else alt.Scale(domain=[0, top])
    tips = [f"{row}:N", f"{cause}:N", f"{count}:Q", alt.Tooltip("share:Q", format=".1%")]
    layers = [
        cells.mark_rect().encode(color=alt.Color("share:Q", legend=None, scale=scale), tooltip=tips)
    ]
    if white_above is not None:
        ink = alt.condition(f"datum.share > {white_above}", alt.value("white"), alt.value("black"))
        layers.append(cells.mark_text().encode(text=f"{count}:Q", color=ink))
    return alt.layer(*layers).properties(height=height)

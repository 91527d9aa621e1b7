"""Chapter 3: table recall of schema linking against the budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import altair as alt
import pandas as pd

from distill_sql.book.shown import Figure, Table
from distill_sql.data.datasets import Dataset
from distill_sql.prompting.linking import Strategy
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.recall import Recall, gold_tables, recall_curve
from distill_sql.prompting.rendering import Style

#: What the chapter calls each order of tables.
NAMES: Mapping[Strategy, str] = {
    "closure": "ours", "bm25": "BM25 alone", "schema-order": "schema order",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What linking is measured on: questions, the budgets of the curve, and the prompts' style.

    ``count`` counts tokens as the student will.
    """

    data: Dataset
    count: Callable[[str], int]
    style: Style
    budgets: tuple[int, ...]

    @property
    def smallest(self) -> int:
        """The smallest budget."""
        return min(self.budgets)

    @property
    def has_synonyms(self) -> bool:
        """Whether any schema lists synonyms of its tables."""
        schemas = map(self.data.schema, self.data.db_ids)
        return any(table.synonyms for schema in schemas for table in schema.tables)

    def curve(self, *strategies: Strategy, ignored: Iterable[str] | None = None) -> list[Recall]:
        """Table recall at all budgets, of these strategies (default: all)."""
        options = {} if ignored is None else {"ignored": frozenset(ignored)}
        return recall_curve(
            self.data, self.count, budgets=sorted(self.budgets),
            strategies=strategies or tuple(NAMES), style=self.style, **options,
        )  # fmt: skip

    def at(self, budget: int) -> Recall:
        """Table recall of our order at one budget."""
        [found] = replace(self, budgets=(budget,)).curve("closure")
        return found


def _by_budget(curve: Iterable[Recall], strategy: Strategy) -> dict[int, Recall]:
    return {one.budget: one for one in curve if one.strategy == strategy}


# --- Recall against budget ------------------------------------------------------------------------


def curve_figure(setting: Setting, curve: Sequence[Recall]) -> Figure:
    """Lines of table recall against the budget, one per order."""
    data, names = setting.data, list(NAMES.values())
    rows = [
        {
            "order": NAMES[one.strategy],
            "budget": one.budget,
            "recall": one.recall,
            "pruned": one.pruned,
            "tables": one.kept,
        }
        for one in curve
    ]
    lines = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X(
            "budget:Q",
            title="budget, tokens of the schema block",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(values=sorted(setting.budgets)),
        ),
        y=alt.Y(
            "recall:Q",
            axis=alt.Axis(format="%"),
            title="table recall",
            scale=alt.Scale(zero=False),
        ),
        color=alt.Color("order:N", sort=names, title=None),
        tooltip=[
            "order", "budget", alt.Tooltip("recall", format=".2%"),
            alt.Tooltip("pruned", format=".0%"), alt.Tooltip("tables", format=".2f"),
        ],
    )  # fmt: skip
    return Figure(
        lines.mark_line() + lines.mark_point(),
        f"Share of {len(data):,} {data.split} questions of {data.name} whose gold tables are all "
        f"kept, by budget, in the {setting.style} style. Ours is BM25 with foreign keys.",
        "Lines of table recall against token budget for three orders: "
        + "; ".join(f"{r['order']} at {r['budget']} tokens {r['recall']:.1%}" for r in rows),
    )


def curve_table(setting: Setting, curve: Sequence[Recall]) -> Table:
    """Table recall by budget, and what our order keeps."""
    data, names = setting.data, list(NAMES.values())
    ours = _by_budget(curve, "closure")
    return Table(
        [
            {"budget": budget}
            | {NAMES[one.strategy]: one.recall for one in curve if one.budget == budget}
            | {"possible": one.possible, "pruned": one.pruned, "tables": one.kept}
            for budget, one in sorted(ours.items())
        ],
        f"Table recall on {len(data):,} {data.split} questions by budget, in tokens. Possible is "
        "the upper bound for any order. Pruned is the share of questions that lose a table and "
        "kept the mean number of tables, both for our order.",
        columns={name: name for name in ["budget", *names, "possible", "pruned"]}
        | {"tables": "kept"},
        formats={**dict.fromkeys([*names, "possible", "pruned"], ".1%"), "tables": ".2f"},
    )


def curve_note(setting: Setting, curve: Sequence[Recall]) -> str:
    """From which budget on linking does nothing, and how our order compares with the others."""
    data = setting.data
    ours, plain = _by_budget(curve, "closure"), _by_budget(curve, "bm25")
    whole = [budget for budget, one in ours.items() if one.pruned == 0]
    gap = max(one.possible - one.recall for one in ours.values())
    ahead = [round((one.recall - plain[budget].recall) * len(data)) for budget, one in ours.items()]
    return (
        f"From {min(whole):,} tokens on, no {data.split} question of {data.name} loses a table: "
        "there, linking does nothing. "
        if whole
        else ""
    ) + (
        f"Our order is at most **{gap * 100:.1f} points** below the upper bound. Compared with "
        f"BM25 alone, it keeps all gold tables for {min(ahead):+d} to {max(ahead):+d} questions of "
        f"{len(data):,}, depending on the budget."
    )


def budget_note(setting: Setting, at: Recall) -> str:
    """What the budget of ``at`` changes in the prompts."""
    data, style = setting.data, setting.style
    differ = sum(
        prompt_messages(data, example, style=style)
        != prompt_messages(data, example, style=style, schema_tokens=at.budget, count=setting.count)
        for example in data
    )
    return (
        f"With a budget of {at.budget:,} tokens, {differ:,} of {len(data):,} {data.split} prompts "
        f"differ from those with the whole schema, {at.pruned:.1%} lose a table, and recall is "
        f"**{at.recall:.2%}**."
    )


@dataclass(frozen=True)
class Pair:
    """Recall of our order and of BM25 alone at one budget, on questions of one kind."""

    kind: str
    questions: int
    ours: Recall
    plain: Recall

    @property
    def difference(self) -> float:
        """The recall of our order less that of BM25 alone."""
        return self.ours.recall - self.plain.recall


def pairs_by_tables(setting: Setting) -> list[Pair]:
    """Pairs at the three smallest budgets: where the gold query reads one table, and several."""
    data, budgets = setting.data, tuple(sorted(setting.budgets)[:3])
    reads = {e.question_id: len(gold_tables(e.query, data.schema(e.db_id))) for e in data}
    kinds = {
        "one table": data.with_examples(e for e in data if reads[e.question_id] == 1),
        "several tables": data.with_examples(e for e in data if reads[e.question_id] > 1),
    }
    pairs = []
    for kind, some in kinds.items():
        if not len(some):
            continue
        curve = replace(setting, data=some, budgets=budgets).curve("closure", "bm25")
        ours, plain = _by_budget(curve, "closure"), _by_budget(curve, "bm25")
        pairs += [Pair(kind, len(some), ours[budget], plain[budget]) for budget in budgets]
    return pairs


def pairs_table(setting: Setting, pairs: Iterable[Pair]) -> Table:
    """Table recall by how many tables the gold query reads."""
    return Table(
        [
            {
                "kind": pair.kind,
                "n": pair.questions,
                "budget": pair.ours.budget,
                "closure": pair.ours.recall,
                "bm25": pair.plain.recall,
                "possible": pair.ours.possible,
            }
            for pair in pairs
        ],
        "Table recall by how many tables the gold query reads, at the three smallest budgets, on "
        f"{setting.data.split} of {setting.data.name}.",
        columns={
            "kind": "the gold query reads", "n": "questions", "budget": "budget",
            "closure": NAMES["closure"], "bm25": NAMES["bm25"], "possible": "possible",
        },
        formats={"closure": ".1%", "bm25": ".1%", "possible": ".1%"},
    )  # fmt: skip


def pairs_note(pairs: Iterable[Pair]) -> str:
    """The range of the differences, by kind of question."""
    by_kind: dict[str, list[float]] = {}
    for pair in pairs:
        by_kind.setdefault(pair.kind, []).append(pair.difference * 100)
    return (
        "Ours minus BM25 alone is "
        + "; ".join(
            f"{min(points):+.1f} to {max(points):+.1f} points where the query reads {kind}"
            for kind, points in by_kind.items()
        )
        + "."
    )

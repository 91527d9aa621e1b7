"""Chapter 3: function words, the tables that linking loses, and the words a question mentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill_sql.book.pages.linking import NAMES, Setting
from distill_sql.book.shown import Table
from distill_sql.data.datasets import Example
from distill_sql.prompting.linking import Linked
from distill_sql.prompting.mentions import coverage, mentions_of
from distill_sql.prompting.prompts import link
from distill_sql.prompting.recall import LostTable, Match, gold_tables, lost_tables

#: Where a lost table shares a word with the question.
MATCHES: Mapping[Match, str] = {
    "name": "the table's name",
    "column": "a column's name only",
    "value": "a value only",
    "nothing": "no word at all",
}

# --- What function words cost ---------------------------------------------------------------------


def recall_by_words(setting: Setting) -> dict[str, dict[int, float]]:
    """Recall by budget with and without function words, and of ours without synonyms.

    Budgets at which all reach 100 % are left out.
    """
    curves = {
        "": setting.curve("closure", "bm25"),
        ", all words": setting.curve("closure", "bm25", ignored=()),
    }
    if setting.has_synonyms:
        bare = replace(setting, data=setting.data.without_synonyms())
        curves[", no synonyms"] = bare.curve("closure")
    found: dict[str, dict[int, float]] = {}
    for words, curve in curves.items():
        for one in curve:
            found.setdefault(NAMES[one.strategy] + words, {})[one.budget] = one.recall
    budgets = [
        budget
        for budget in sorted(setting.budgets)
        if any(column[budget] < 1 for column in found.values())
    ]
    return {name: {budget: one[budget] for budget in budgets} for name, one in found.items()}


def words_table(setting: Setting, columns: Mapping[str, Mapping[int, float]]) -> Table:
    """Table recall with and without function words."""
    budgets = next(iter(columns.values()))
    return Table(
        [
            {"budget": budget} | {name: one[budget] for name, one in columns.items()}
            for budget in budgets
        ],
        f"Table recall on {setting.data.split} of {setting.data.name} with function words ignored, "
        "and with all words counted"
        + (
            "; the last column is ours where the schema lists no synonyms"
            if setting.has_synonyms
            else ""
        )
        + ". Budgets at which all reach 100 % are left out.",
        columns={name: name for name in ["budget", *columns]},
        formats=dict.fromkeys(columns, ".1%"),
    )


def words_note(columns: Mapping[str, Mapping[int, float]]) -> str:
    """What ignoring function words changes; empty if recall is 100 % throughout."""
    ours, every = columns[NAMES["closure"]], columns[NAMES["closure"] + ", all words"]
    gained = [(ours[budget] - every[budget]) * 100 for budget in ours]
    if not gained:
        return ""
    return (
        f"Ignoring function words changes our recall by {min(gained):+.1f} to {max(gained):+.1f} "
        "points over these budgets."
    )


# --- One question ---------------------------------------------------------------------------------


def most_pruned(setting: Setting) -> tuple[Example, Linked]:
    """The question that loses the most tables at the smallest budget, and what linking decided."""
    linked = [
        (
            example,
            link(
                setting.data, example, schema_tokens=setting.smallest, style=setting.style,
                count=setting.count,
            ),
        )
        for example in setting.data
    ]  # fmt: skip
    return max(linked, key=lambda pair: len(pair[1].dropped))


def decision(setting: Setting, example: Example, linked: Linked) -> list[Table | str]:
    """One question, and why each table was kept or dropped for it."""
    gold = gold_tables(example.query, setting.data.schema(example.db_id))
    return [
        f"> {example.question}\n\nDatabase `{example.db_id}`, {linked.n_tokens} of "
        f"{linked.budget} tokens.",
        Table(
            [
                {
                    "table": name,
                    "decision": verdict,
                    "why": reason,
                    "in the gold query": "yes" if name in gold else "no",
                }
                for verdict, group in (("kept", linked.kept), ("dropped", linked.dropped))
                for name, reason in group.items()
            ],
            "What linking decided for this question, and why.",
        ),
    ]


# --- Where it fails -------------------------------------------------------------------------------


def lost_at_smallest(setting: Setting) -> list[LostTable]:
    """The gold tables that are lost at the smallest budget."""
    return lost_tables(setting.data, setting.count, budget=setting.smallest, style=setting.style)


def lost_note(setting: Setting, lost: Sequence[LostTable]) -> str:
    """How many of the lost tables share a word with the question, and how many losses the budget
    forces; empty if no table is lost."""
    if not lost:
        return ""
    counts = Counter(one.match for one in lost)
    share = {match: counts[match] / len(lost) for match in MATCHES}
    losers = {one.example.question_id for one in lost}
    forced = losers - {one.example.question_id for one in lost if one.avoidable}
    return (
        f"Of the {len(lost):,} tables that are lost at {setting.smallest:,} tokens, "
        f"**{1 - share['nothing']:.0%} share a word with the question**: "
        + ", ".join(
            f"{share[match]:.0%} {words}" for match, words in MATCHES.items() if counts[match]
        )
        + f". But {len(forced):,} of the {len(losers):,} questions that lose a table need more "
        "tables than fit the budget: no order could have kept them all."
    )


def losses_table(setting: Setting, lost: Sequence[LostTable]) -> Table:
    """Every lost table, those that could have been kept first."""
    rows = [
        {
            "database": one.example.db_id,
            "question": one.example.question,
            "lost": one.table,
            "found in the question": MATCHES[one.match],
            "avoidable": "yes" if one.avoidable else "no",
        }
        for one in sorted(lost, key=lambda one: not one.avoidable)
    ]
    none = dict.fromkeys(("question", "lost", "found in the question", "avoidable"), "")
    return Table(
        rows or [{"database": "none"} | none],
        f"The gold tables that are lost at {setting.smallest:,} tokens. Questions whose gold "
        "tables would fit together come first.",
        filters=["database", "found in the question", "avoidable"],
        search=True,
        page=10,
    )


# --- What a question says by itself ---------------------------------------------------------------


def mentions_table(setting: Setting, example: Example) -> Table:
    """How many names and texts of the gold queries are marked in the questions, by source.

    ``example`` is shown as it is marked.
    """
    data, listed = setting.data, setting.has_synonyms
    known = mentions_of(data.schema(example.db_id), data.database_path(example.db_id))
    groups = {
        source or "all": data.with_examples(e for e in data if e.source == source)
        for source in sorted({e.source for e in data})
    }
    return Table(
        [
            {
                "questions": group,
                "gold": own["of"],
                "in gold queries": own["wanted"],
                "own words": own["recall"],
            }
            | ({"with synonyms": found["recall"]} if listed else {})
            | {"precision": found["precision"]}
            for group, some in groups.items()
            for own, found in zip(coverage(some, synonyms=False), coverage(some), strict=True)
        ],
        f"Names and texts in the gold queries of {data.name} {data.split}, each counted once per "
        "question, and the share of them that is marked in the question, by the schema's own words"
        + (" and with synonyms" if listed else "")
        + ". Precision is the share of marks that the gold query uses. A question as marked: "
        + known.mark(example.question),
        formats={"own words": ".1%", "precision": ".1%"}
        | ({"with synonyms": ".1%"} if listed else {}),
    )

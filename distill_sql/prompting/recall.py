"""Table recall of schema linking: for how many questions are the gold query's tables all kept?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Literal, TypeAlias

from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.schema import Schema, Table
from distill_sql.prompting.linking import (
    STRATEGIES,
    CountTokens,
    Linker,
    Strategy,
    linker_for,
    said,
    table_texts,
)
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.words import FUNCTION_WORDS, words

#: Where a table shares a word with a question.
Match: TypeAlias = Literal["name", "column", "value", "nothing"]


@dataclass(frozen=True)
class Recall:
    """Table recall of one strategy at one budget, over the questions of a dataset.

    ``recall`` is the share of questions whose gold tables are all kept, ``possible`` its upper
    bound: the share whose gold tables fit the budget together. Both leave out questions whose gold
    query cannot be parsed or reads no table. ``pruned`` is the share of all questions that lose a
    table, and ``kept`` the mean number of tables kept.
    """

    strategy: Strategy
    budget: int
    recall: float
    possible: float
    pruned: float
    kept: float


@dataclass(frozen=True)
class LostTable:
    """A gold table that linking dropped for a question.

    ``avoidable`` says whether the question's gold tables fit the budget together. ``match`` says
    where the table shares a word with the question: in its name, else in the name of a column, else
    in a value, else nowhere. Function words do not count; synonyms count as names.
    """

    example: Example
    table: str
    avoidable: bool
    match: Match


def gold_tables(query: str, schema: Schema) -> frozenset[str]:
    """Names of the schema's tables that a query reads, as the schema spells them.

    Empty if the query cannot be parsed.
    """
    from sqlglot import exp

    from distill_sql.sql.parsing import parse

    tree = parse(query)
    if tree is None:
        return frozenset()
    return frozenset(
        schema.table(table.name).name for table in tree.find_all(exp.Table) if table.name in schema
    )


def recall_curve(
    dataset: Dataset,
    count_tokens: CountTokens,
    *,
    budgets: Sequence[int],
    strategies: Sequence[Strategy] = STRATEGIES,
    style: Style = "full",
    ignored: Collection[str] = FUNCTION_WORDS,
) -> list[Recall]:
    """Table recall of each strategy at each budget, over all questions of a dataset.

    ``style`` and ``ignored`` are those of :class:`~distill_sql.prompting.linking.Linker`.
    """
    linkers = {
        db_id: Linker(
            dataset.schema(db_id), dataset.database_path(db_id), count_tokens, style=style,
            ignored=ignored,
        )
        for db_id in dataset.db_ids
    }  # fmt: skip
    gold = [gold_tables(example.query, dataset.schema(example.db_id)) for example in dataset]
    possible = {
        budget: _share(
            _fit(linkers[example.db_id], tables, budget)
            for example, tables in zip(dataset, gold, strict=True)
            if tables
        )
        for budget in budgets
    }
    return [
        _recall(dataset, linkers, gold, strategy, budget, possible[budget])
        for strategy in strategies
        for budget in budgets
    ]


def _recall(
    dataset: Dataset,
    linkers: Mapping[str, Linker],
    gold: Sequence[frozenset[str]],
    strategy: Strategy,
    budget: int,
    possible: float,
) -> Recall:
    linked = [
        linkers[example.db_id].link(said(example), budget=budget, strategy=strategy)
        for example in dataset
    ]
    return Recall(
        strategy,
        budget,
        recall=_share(
            tables <= set(link.kept) for tables, link in zip(gold, linked, strict=True) if tables
        ),
        possible=possible,
        pruned=mean(bool(link.dropped) for link in linked),
        kept=mean(len(link.kept) for link in linked),
    )


def _share(found: Iterable[bool]) -> float:
    return mean(list(found) or [math.nan])


def _fit(linker: Linker, tables: frozenset[str], budget: int) -> bool:
    """Whether the tables fit the budget; a single one is kept in any case (:meth:`Linker.link`)."""
    return len(tables) == 1 or linker.fits(tables, budget)


def lost_tables(
    dataset: Dataset, count_tokens: CountTokens, *, budget: int, style: Style = "full"
) -> list[LostTable]:
    """The gold tables that linking drops at a budget, in the order of the questions."""
    lost = []
    for example in dataset:
        schema, path = dataset.schema(example.db_id), dataset.database_path(example.db_id)
        linker = linker_for(schema, path, count_tokens, style)
        gold = gold_tables(example.query, schema)
        linked = linker.link(said(example), budget=budget)
        lost += [
            LostTable(
                example,
                name,
                avoidable=_fit(linker, gold, budget),
                match=_match(said(example), path, schema.table(name)),
            )
            for name in sorted(gold & set(linked.dropped))
        ]
    return lost


def _match(question: str, path: Path, table: Table) -> Match:
    asked = set(words(question, ignored=FUNCTION_WORDS))
    names, columns, values = table_texts(path, table)
    kinds: tuple[tuple[Match, list[str]], ...] = (
        ("name", names), ("column", columns), ("value", values),
    )  # fmt: skip
    for kind, texts in kinds:
        if any(term in asked for text in texts for term in words(text)):
            return kind
    return "nothing"

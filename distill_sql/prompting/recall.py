"""How good linking is without any model: are the tables of the gold query kept?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.data.schema import Schema, Table
from distill_sql.prompting.linking import (
    STRATEGIES,
    Counter,
    Linker,
    Strategy,
    linker_for,
    said,
    table_texts,
    words,
)
from distill_sql.prompting.mentions import FUNCTION_WORDS
from distill_sql.prompting.rendering import Style


def gold_tables(query: str, schema: Schema) -> frozenset[str]:
    """Names of the schema's tables that a query reads, as the schema spells them.

    There are none if the query cannot be parsed.
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
    count_tokens: Counter,
    *,
    budgets: Sequence[int],
    strategies: Sequence[Strategy] = STRATEGIES,
    style: Style = "full",
    ignored: Collection[str] = FUNCTION_WORDS,
) -> list[dict[str, Any]]:
    """Table recall of each strategy at each budget, over all questions of a dataset.

    A question is right if every table of its gold query is kept; one whose gold query names none,
    or cannot be parsed, does not count for recall. Each record has ``strategy``,
    ``budget``, ``recall``, ``possible`` (the recall of the best choice there is: the gold tables
    alone), ``pruned`` (share of questions that lost a table) and ``tables`` (mean number kept).
    ``style`` and ``ignored`` are those of :class:`Linker`.
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
            _possible(linkers[example.db_id], tables, budget)
            for example, tables in zip(dataset, gold, strict=True)
            if tables
        )
        for budget in budgets
    }
    records = []
    for strategy in strategies:
        for budget in budgets:
            linked = [
                linkers[example.db_id].link(said(example), budget=budget, strategy=strategy)
                for example in dataset
            ]
            records.append(
                {
                    "strategy": strategy,
                    "budget": budget,
                    "recall": _share(
                        tables <= set(link.kept)
                        for tables, link in zip(gold, linked, strict=True)
                        if tables
                    ),
                    "possible": possible[budget],
                    "pruned": mean(bool(link.dropped) for link in linked),
                    "tables": mean(len(link.kept) for link in linked),
                }
            )
    return records


def _share(found: Iterable[bool]) -> float:
    return mean(list(found) or [math.nan])


def _possible(linker: Linker, tables: frozenset[str], budget: int) -> bool:
    """Whether a budget has room for the tables; for one there always is (:meth:`Linker.link`)."""
    return len(tables) == 1 or linker.fits(tables, budget)


def lost_tables(
    dataset: Dataset, count_tokens: Counter, *, budget: int, style: Style = "full"
) -> list[dict[str, Any]]:
    """The gold tables that linking drops at a budget, a record each: ``example``, ``table``,
    ``possible``, ``named_by``.

    ``possible`` says whether the question's gold tables alone would fit. ``named_by`` says where
    the table has a word of the question: in its ``name``, else in the name of a ``column``, else in
    a ``value``, else there is none (``nothing``). Function words do not count, synonyms are names.
    """
    records = []
    for example in dataset:
        schema, path = dataset.schema(example.db_id), dataset.database_path(example.db_id)
        linker, gold = (
            linker_for(schema, path, count_tokens, style),
            gold_tables(example.query, schema),
        )
        linked = linker.link(said(example), budget=budget)
        for name in sorted(gold & set(linked.dropped)):
            records.append(
                {
                    "example": example,
                    "table": name,
                    "possible": _possible(linker, gold, budget),
                    "named_by": _named_by(said(example), path, schema.table(name)),
                }
            )
    return records


def _named_by(question: str, path: Path, table: Table) -> str:
    asked = set(words(question, ignored=FUNCTION_WORDS))
    names, columns, values = table_texts(path, table)
    for kind, texts in (("name", names), ("column", columns), ("value", values)):
        if any(term in asked for text in texts for term in words(text)):
            return kind
    return "nothing"

"""Counts, shares and examples that describe a dataset.

Most functions return records (a list of dictionaries), ready for a table or a chart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import mean
from typing import Any

from sqlglot import exp

from distill_sql.data.databases import Reader
from distill_sql.data.datasets import Dataset, Example
from distill_sql.scoring.execution import prepare_gold
from distill_sql.scoring.hardness import LEVELS, hardness
from distill_sql.sql.names import quote_identifier
from distill_sql.sql.parsing import parse
from distill_sql.sql.sandbox import Sandbox

Record = dict[str, Any]

#: The hardness level of a gold query that cannot be parsed.
UNPARSED = "not parsed"

#: SQL constructs, each with a function that finds it in a parsed query.
CONSTRUCTS: Mapping[str, Callable[[exp.Expr], bool]] = {
    "one table": lambda tree: _tables(tree) == 1,
    "two tables": lambda tree: _tables(tree) == 2,
    "three tables or more": lambda tree: _tables(tree) > 2,
    "aggregate": lambda tree: tree.find(exp.AggFunc) is not None,
    "WHERE": lambda tree: tree.find(exp.Where) is not None,
    "GROUP BY": lambda tree: tree.find(exp.Group) is not None,
    "HAVING": lambda tree: tree.find(exp.Having) is not None,
    "ORDER BY": lambda tree: tree.find(exp.Order) is not None,
    "LIMIT": lambda tree: tree.find(exp.Limit) is not None,
    "DISTINCT": lambda tree: tree.find(exp.Distinct) is not None,
    "OR": lambda tree: tree.find(exp.Or) is not None,
    "LIKE": lambda tree: tree.find(exp.Like) is not None,
    "BETWEEN": lambda tree: tree.find(exp.Between) is not None,
    "IS NULL": lambda tree: tree.find(exp.Is) is not None,
    "subquery": lambda tree: _selects(tree) > 1 + _set_operations(tree),
    "set operation": lambda tree: _set_operations(tree) > 0,
}


def _tables(tree: exp.Expr) -> int:
    return len({table.name.lower() for table in tree.find_all(exp.Table)})


def _selects(tree: exp.Expr) -> int:
    return sum(1 for _ in tree.find_all(exp.Select))


def _set_operations(tree: exp.Expr) -> int:
    return sum(1 for _ in tree.find_all(exp.SetOperation))


@lru_cache(maxsize=32768)
def _constructs_of(query: str) -> frozenset[str]:
    tree = parse(query)
    if tree is None:
        return frozenset()
    return frozenset(name for name, found in CONSTRUCTS.items() if found(tree))


def overview(datasets: Iterable[Dataset]) -> list[Record]:
    """One record per split: numbers of questions and databases, and their mean sizes."""
    return [
        {
            "split": dataset.split,
            "questions": len(dataset),
            "databases": len(dataset.db_ids),
            "tables per database": mean(len(dataset.schema(d).tables) for d in dataset.db_ids),
            "columns per database": mean(
                sum(len(table.columns) for table in dataset.schema(d).tables)
                for d in dataset.db_ids
            ),
            "words per question": mean(len(example.question.split()) for example in dataset),
            "words per query": mean(len(example.query.split()) for example in dataset),
        }
        for dataset in datasets
    ]


def by_source(dataset: Dataset, sources: Mapping[int, str]) -> list[Record]:
    """One record of :func:`overview` per source of the questions.

    ``sources`` has the source of each question, by its id.
    """
    return [
        {"source": source}
        | overview([dataset.with_examples(e for e in dataset if sources[e.question_id] == source)])[
            0
        ]
        for source in sorted(set(sources.values()))
    ]


def left_out(*datasets: Dataset) -> str:
    """One sentence per split with missing databases: which, and how many questions they have.

    Empty if no database is missing. Chapters use the other questions (:meth:`Dataset.present`).
    """
    return " ".join(
        f"{len(missing)} of the {len(dataset.db_ids)} databases of {dataset.name}'s "
        f"{dataset.split} split {'is' if len(missing) == 1 else 'are'} not in this copy "
        f"({', '.join(f'`{db_id}`' for db_id in missing)}), so "
        f"{sum(example.db_id in missing for example in dataset):,} of its {len(dataset):,} "
        "questions are left out of this page."
        for dataset in datasets
        if (missing := dataset.missing_databases)
    )


def levels(datasets: Iterable[Dataset]) -> list[Record]:
    """Share of each split's questions at each hardness level.

    If gold queries cannot be parsed, they have a record of their own, ``not parsed``.
    """
    records = []
    for dataset in datasets:
        counts = Counter(hardness(example.query) or UNPARSED for example in dataset)
        records += [
            {
                "split": dataset.split,
                "hardness": level,
                "questions": counts[level],
                "share": counts[level] / len(dataset),
            }
            for level in (*LEVELS, UNPARSED)
            if level in LEVELS or counts[level]
        ]
    return records


def constructs(datasets: Iterable[Dataset]) -> list[Record]:
    """Share of each split's gold queries that use each of :data:`CONSTRUCTS`.

    A query that cannot be parsed counts as using none.
    """
    records = []
    for dataset in datasets:
        counts = Counter(name for example in dataset for name in _constructs_of(example.query))
        records += [
            {"split": dataset.split, "construct": name, "share": counts[name] / len(dataset)}
            for name in CONSTRUCTS
        ]
    return records


def databases(dataset: Dataset) -> list[Record]:
    """One record per database of the split: its size, and its number of questions."""
    questions = Counter(example.db_id for example in dataset)
    records = []
    for db_id in dataset.db_ids:
        schema = dataset.schema(db_id)
        names = [table.name for table in schema.tables]
        with Reader(dataset.database_path(db_id)) as reader:
            counts = [
                reader.rows(name, f"SELECT count(*) FROM {quote_identifier(name)}")
                for name in names
            ]
        rows = [count[0][0] if count else 0 for count in counts]
        records.append(
            {
                "database": db_id,
                "tables": len(schema.tables),
                "columns": sum(len(table.columns) for table in schema.tables),
                "foreign keys": len(schema.foreign_keys),
                "rows": sum(rows),
                "empty tables": ", ".join(
                    name for name, count in zip(names, rows, strict=True) if not count
                ),
                "questions": questions[db_id],
            }
        )
    return records


def answers(dataset: Dataset) -> list[Record]:
    """One record per question: how many rows its gold query returns, and its seconds."""
    with Sandbox() as sandbox:
        results = [
            sandbox.run(
                dataset.database_path(example.db_id),
                prepare_gold(example.query, keep_distinct=True),
            )
            for example in dataset
        ]
    return [
        {
            "question_id": example.question_id,
            "db_id": example.db_id,
            "question": example.question,
            "gold_sql": example.query,
            "outcome": result.kind,
            "rows": len(result.rows),
            "seconds": result.seconds,
        }
        for example, result in zip(dataset, results, strict=True)
    ]


def one_per_level(dataset: Dataset) -> list[Example]:
    """For each hardness level, the question whose gold query has the level's median length."""
    chosen = []
    for level in LEVELS:
        members = sorted(
            (example for example in dataset if hardness(example.query) == level),
            key=lambda example: (len(example.query), example.question_id),
        )
        chosen += members[len(members) // 2 : len(members) // 2 + 1]
    return chosen


def histogram(values: Sequence[float], *, bins: int = 30) -> list[Record]:
    """Counts of ``values`` in bins of equal width: records with ``from``, ``to`` and ``count``.

    >>> histogram([0, 1, 1, 4], bins=2)
    [{'from': 0.0, 'to': 2.0, 'count': 3}, {'from': 2.0, 'to': 4.0, 'count': 1}]
    """
    import numpy

    counts, edges = numpy.histogram(values, bins=bins)
    return [
        {"from": float(low), "to": float(high), "count": int(count)}
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]

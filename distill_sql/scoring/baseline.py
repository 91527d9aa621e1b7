"""A baseline without a model: the query of the nearest training question, with names replaced.

BM25 finds the nearest training question. The tables, columns and values of its query are replaced
by those of the question's database, chosen by the words that they share with the question. A
student that scores no better has learned no more than this. The baseline uses no sample rows, only
text values that occur in the question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rank_bm25 import BM25Plus
from sqlglot import exp

from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.schema import Column, Schema, Table
from distill_sql.prompting.linking import VALUES_PER_COLUMN, Linker
from distill_sql.prompting.mentions import text_values
from distill_sql.prompting.words import words
from distill_sql.scoring.predictions import Prediction
from distill_sql.sql.parsing import parse_query


class NearestQuestion:
    """Predicts queries from the examples of a training split.

    Examples whose query cannot be parsed, or reads no table, are skipped. If no other example is
    left, the prediction is empty.
    """

    def __init__(self, train: Dataset) -> None:
        self._train = train
        self._index = BM25Plus([words(example.question) for example in train], delta=0)

    def predict(self, dataset: Dataset) -> list[Prediction]:
        """One prediction per example of ``dataset``, in its order."""
        linkers = {
            db_id: Linker(dataset.schema(db_id), dataset.database_path(db_id), len)
            for db_id in dataset.db_ids
        }
        values = {
            db_id: {
                table.name: [
                    value
                    for _, value in text_values(
                        dataset.database_path(db_id), table, VALUES_PER_COLUMN
                    )
                ]
                for table in dataset.schema(db_id).tables
            }
            for db_id in dataset.db_ids
        }
        return [
            Prediction(
                example.question_id,
                example.db_id,
                self._answer(
                    example,
                    dataset.schema(example.db_id),
                    [name for name, _ in linkers[example.db_id].rank(example.question)],
                    values[example.db_id],
                ),
            )
            for example in dataset
        ]

    def _answer(
        self, example: Example, schema: Schema, ranked: Sequence[str], values: dict[str, list[str]]
    ) -> str:
        scores = self._index.get_scores(words(example.question))
        for place in (-scores).argsort(kind="stable"):
            nearest = self._train.examples[int(place)]
            tree = parse_query(nearest.query)
            if tree is not None and tree.find(exp.Table):
                break
        else:
            return ""
        source = self._train.schema(nearest.db_id)
        tables = _exchange_tables(tree, schema, ranked)
        _exchange_columns(tree, source, tables, schema, example.question)
        _exchange_values(tree, example.question, [v for name in ranked for v in values[name]])
        return tree.sql("sqlite")


def _exchange_tables(tree: exp.Expr, schema: Schema, ranked: Sequence[str]) -> dict[str, str]:
    """Replace the tables by the best ranked ones, those joined to the first one first."""
    names = list(dict.fromkeys(table.name for table in tree.find_all(exp.Table)))
    near = set(schema.neighbours(ranked[0]))
    order = [ranked[0], *sorted(ranked[1:], key=lambda name: name not in near)]
    chosen = {name: order[min(place, len(order) - 1)] for place, name in enumerate(names)}
    for table in tree.find_all(exp.Table):
        table.set("this", exp.to_identifier(chosen[table.name]))
    return chosen


def _exchange_columns(
    tree: exp.Expr, source: Schema, tables: dict[str, str], schema: Schema, question: str
) -> None:
    asked = set(words(question))
    back = {new: old for old, new in tables.items()}
    taken: dict[tuple[str, str], str] = {}
    for column in list(tree.find_all(exp.Column)):
        select = column.find_ancestor(exp.Select)
        aliases = {t.alias_or_name: t.name for t in (select or tree).find_all(exp.Table)}
        name = aliases.get(column.table) or next(iter(aliases.values()))
        key = name, column.name.lower()
        if key not in taken:
            old = _column(source, back.get(name, ""), column.name)
            used = {new for (table, _), new in taken.items() if table == name}
            taken[key] = _best(schema.table(name), old, asked, used)
        column.set("this", exp.to_identifier(taken[key]))
    for join in tree.find_all(exp.Join):
        _exchange_join(join, schema)


def _exchange_join(join: exp.Expr, schema: Schema) -> None:
    """Replace a join's columns by the foreign key between the two tables, if there is one."""
    select = join.find_ancestor(exp.Select)
    condition: Any = join.args.get("on")
    if select is None or not isinstance(condition, exp.EQ):
        return
    aliases = {t.alias_or_name: t.name.lower() for t in select.find_all(exp.Table)}
    left: Any = condition.left
    right: Any = condition.right
    for key in schema.foreign_keys:
        ends = key.table.lower(), key.ref_table.lower()
        for first, second in ((left, right), (right, left)):
            if (aliases.get(first.table), aliases.get(second.table)) == ends:
                first.set("this", exp.to_identifier(key.columns[0]))
                second.set("this", exp.to_identifier(key.ref_columns[0]))
                return


def _column(schema: Schema, table: str, name: str) -> Column | None:
    if table not in schema:
        return None
    columns = schema.table(table).columns
    return next((column for column in columns if column.name.lower() == name.lower()), None)


def _best(table: Table, old: Column | None, asked: set[str], used: set[str]) -> str:
    """The column that shares the most words with the question; ties prefer the same type."""

    def rank(column: Column) -> tuple[bool, int, bool, bool]:
        shared = len(asked & set(words(f"{column.name} {column.description}")))
        same = old is not None and column.type == old.type
        key = old is not None and (column.name in table.primary_key) == old.name.endswith("id")
        return same and shared > 0, shared, same, key

    free = [column for column in table.columns if column.name not in used] or list(table.columns)
    return max(free, key=rank).name


def _exchange_values(tree: exp.Expr, question: str, values: Sequence[str]) -> None:
    """Replace literals by the values and numbers in the question, in its order."""
    lower = question.lower()
    named = [
        value
        for value in dict.fromkeys(values)
        if re.search(rf"\b{re.escape(value.lower())}\b", lower)
    ]
    numbers = re.findall(r"\d+(?:\.\d+)?(?!-)\b", question)
    for literal in list(tree.find_all(exp.Literal)):
        if literal.find_ancestor(exp.Limit):
            continue
        if literal.is_string and named:
            literal.replace(exp.Literal.string(named.pop(0)))
        elif not literal.is_string and numbers:
            literal.replace(exp.Literal.number(numbers.pop(0)))

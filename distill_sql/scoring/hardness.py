"""Spider's hardness of a gold query: easy, medium, hard or extra.

The official evaluator (taoyds/test-suite-sql-eval, commit e97acc5, ``evaluation.py``) counts the
components of the outermost, leftmost SELECT. This module counts the same on sqlglot's tree,
including the quirks: a ``NOT`` in WHERE and an ``AND`` in HAVING count as aggregates.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, TypeAlias

from sqlglot import exp

from distill_sql.sql.parsing import parse_query

Hardness: TypeAlias = Literal["easy", "medium", "hard", "extra"]
#: The four levels, in order.
LEVELS: tuple[Hardness, ...] = ("easy", "medium", "hard", "extra")


@lru_cache(maxsize=16384)
def hardness(sql: str) -> Hardness | None:
    """The hardness of a query; None if it cannot be parsed or is not a SELECT (``VALUES``).

    >>> hardness("SELECT count(*) FROM singer")
    'easy'
    >>> hardness("SELECT name FROM singer WHERE age > (SELECT avg(age) FROM singer)")
    'hard'
    """
    tree: exp.Expr | None = parse_query(sql)
    set_operations = 0
    while isinstance(tree, exp.SetOperation | exp.Subquery):
        set_operations += isinstance(tree, exp.SetOperation)
        tree = tree.this
    if not isinstance(tree, exp.Select):
        return None

    on = [
        leaf for join in tree.args.get("joins") or () for leaf in _conditions(join.args.get("on"))
    ]
    where = list(_conditions(_clause(tree, "where")))
    having = list(_conditions(_clause(tree, "having")))
    group = _expressions(tree, "group")
    order = _expressions(tree, "order")
    conditions = [*on, *where, *having]

    clauses = (
        bool(where)
        + bool(group)
        + bool(order)
        + bool(tree.args.get("limit"))
        + len(tree.args.get("joins") or ())
        + sum(_ors(join.args.get("on")) for join in tree.args.get("joins") or ())
        + _ors(_clause(tree, "where"))
        + _ors(_clause(tree, "having"))
        + sum(isinstance(_positive(leaf), exp.Like) for leaf in conditions)
    )
    nested = min(set_operations, 1) + sum(map(_subqueries, conditions))
    aggregates = (
        sum(_is_aggregate(item.unalias()) for item in tree.expressions)
        + sum(isinstance(leaf, exp.Not) for leaf in where)
        + sum(_is_aggregate(item.this) for item in order)
        + sum(isinstance(leaf, exp.Not) for leaf in having)
        + max(len(having) - 1, 0)
    )
    others = (aggregates > 1) + (len(tree.expressions) > 1) + (len(where) > 1) + (len(group) > 1)
    return _level(clauses, nested, others)


def _level(clauses: int, nested: int, others: int) -> Hardness:
    if nested == 0:
        if clauses <= 1 and others == 0:
            return "easy"
        if (clauses <= 1 and others <= 2) or (clauses <= 2 and others < 2):
            return "medium"
        if (clauses <= 2 and others > 2) or (2 < clauses <= 3 and others <= 2):
            return "hard"
    if clauses <= 1 and others == 0 and nested <= 1:
        return "hard"
    return "extra"


def _clause(select: exp.Select, name: str) -> exp.Expr | None:
    clause = select.args.get(name)
    return clause.this if clause else None


def _expressions(select: exp.Select, name: str) -> list[exp.Expr]:
    clause = select.args.get(name)
    return clause.expressions if clause else []


def _conditions(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """The leaves of a tree of AND and OR, from left to right."""
    return (part for part in _parts(node) if not isinstance(part, exp.And | exp.Or))


def _ors(node: exp.Expr | None) -> int:
    return sum(isinstance(part, exp.Or) for part in _parts(node))


def _parts(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """The nodes of a tree of AND and OR, from left to right; iterative, since trees can be deep."""
    waiting = [node] if node is not None else []
    while waiting:
        part = waiting.pop().unnest()
        yield part
        if isinstance(part, exp.And | exp.Or):
            waiting += (part.right, part.left)


def _positive(leaf: exp.Expr) -> exp.Expr:
    return leaf.this.unnest() if isinstance(leaf, exp.Not) else leaf


def _subqueries(node: exp.Expr) -> int:
    """The number of subqueries in a condition; nested ones do not count."""
    count, waiting = 0, [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, exp.Select | exp.SetOperation):
            count += 1
        else:
            waiting += part.iter_expressions()
    return count


def _is_aggregate(node: exp.Expr) -> bool:
    return isinstance(node, exp.AggFunc)

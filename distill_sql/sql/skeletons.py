"""Skeletons: queries without their names and values.

A model can fill in a skeleton that it saw in training; answering unseen skeletons takes more.
Equivalent queries can have different skeletons, for example one with ``IN`` and one with ``JOIN``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sqlglot import exp

from distill_sql.sql.parsing import parse_query


@lru_cache(maxsize=16384)
def skeleton(sql: str) -> str | None:
    """The query with ``_`` for every name and ``?`` for every value; None if it does not parse.

    Aliases, qualifiers, ``INNER`` and ``ASC`` are removed. The number and order of tables, columns
    and conditions stay, as do functions, comparisons and NULL.

    >>> skeleton("SELECT s.name FROM singer AS s WHERE s.age > 30 ORDER BY s.age ASC LIMIT 3")
    'SELECT _ FROM _ WHERE _ > ? ORDER BY _ LIMIT ?'
    """
    tree = parse_query(sql)
    if tree is None:
        return None
    try:
        for node in list(tree.walk()):
            _make_bare(node)
        return tree.sql("sqlite")
    except RecursionError:  # a tree that is parsed iteratively can have any depth
        return None


def skeletons(queries: Iterable[str]) -> frozenset[str]:
    """The skeletons of the queries that have one."""
    return frozenset(found for sql in queries if (found := skeleton(sql)) is not None)


def _make_bare(node: exp.Expr) -> None:
    if isinstance(node, exp.Identifier):
        node.set("this", "_")
        node.set("quoted", False)
    elif isinstance(node, exp.Column | exp.Table | exp.Subquery):
        for part in ("table", "db", "alias"):
            node.set(part, None)
    elif isinstance(node, exp.Alias):
        node.replace(node.this)
    elif isinstance(node, exp.Literal):
        above = node.parent
        negative = isinstance(above, exp.Neg)
        (above if negative and above else node).replace(exp.Placeholder())
    elif isinstance(node, exp.Join) and node.args.get("kind") == "INNER":
        node.set("kind", None)
    elif isinstance(node, exp.Ordered) and not node.args.get("desc"):
        node.set("desc", None)

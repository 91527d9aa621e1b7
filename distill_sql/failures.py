"""What went wrong in a query that gave the wrong rows: one primary cause, by a rule to follow.

Both queries are taken apart with sqlglot into the facets of :data:`CAUSES`. The facets are compared
in that order, from the shape of the query down to its details, and the first that differs is the
cause: a query on the wrong tables differs in its columns too, and the tables come first. A
difference is not a proof, since two spellings can mean the same; the rule is only applied to
queries that are known to be wrong. Left out: a measure of how far off a query is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from distill_sql.sandbox import SQL_BYTES

#: Every cause and the question that decides it, in the order in which they are asked.
CAUSES: Mapping[str, str] = {
    "unparsable": "Is there a query at all, that parses?",
    "set operation": "Are the same queries combined by UNION, INTERSECT, EXCEPT?",
    "missing join": "Does it read all the tables that the gold query reads?",
    "spurious join": "Does it read none beside them?",
    "wrong table": "Does it read other tables instead?",
    "nesting": "Does it have as many subqueries?",
    "aggregate": "Does it select the same aggregate functions, as often?",
    "grouping": "Does it group by the same columns, with the same HAVING?",
    "filter": "Do its conditions compare the same columns in the same way?",
    "value": "Do they compare with the same values?",
    "ordering": "Does it order by the same columns, in the same direction, with the same LIMIT?",
    "wrong column": "Does it select and join on the same columns?",
    "distinct": "Does it remove duplicates in the same places?",
    "other": "None of these: it differs in an expression, or in a spelling that matters.",
}

_COMPARISONS = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between, exp.Is,
    exp.Not, exp.Or,
)  # fmt: skip


@dataclass(frozen=True)
class Facets:
    """A query taken apart. Names are lower case, aliases are gone, order is forgotten."""

    set_operation: Hashable
    tables: frozenset[str]
    nesting: Hashable
    aggregate: Hashable
    grouping: Hashable
    filter: Hashable
    value: Hashable
    ordering: Hashable
    column: Hashable
    distinct: Hashable


def primary_cause(pred_sql: str, gold_sql: str, *, error: str = "") -> str:
    """The primary cause of a wrong query: a key of :data:`CAUSES`.

    ``error`` is what the database said of it, if it failed: SQLite names the table or column that
    does not exist, which settles the question. The gold query must parse; ``unparsable`` is said of
    the prediction only.

    >>> primary_cause("SELECT name FROM singer", "SELECT count(*) FROM singer")
    'aggregate'
    >>> primary_cause("SELECT nam FROM singer", "SELECT name FROM singer",
    ...               error="no such column: nam")
    'wrong column'
    """
    if re.search(r"no such column|ambiguous column", error):
        return "wrong column"
    if "no such table" in error:
        return "wrong table"
    pred, gold = facets(pred_sql), facets(gold_sql)
    if pred is None or gold is None:
        return "unparsable"
    if pred.set_operation != gold.set_operation:
        return "set operation"
    if pred.tables != gold.tables:
        if pred.tables < gold.tables:
            return "missing join"
        return "spurious join" if pred.tables > gold.tables else "wrong table"
    for facet in ("nesting", "aggregate", "grouping", "filter", "value", "ordering"):
        if getattr(pred, facet) != getattr(gold, facet):
            return facet
    if pred.column != gold.column:
        return "wrong column"
    return "distinct" if pred.distinct != gold.distinct else "other"


@lru_cache(maxsize=4096)
def facets(sql: str) -> Facets | None:
    """Take a query apart; None if it does not parse as one query, or is too long to be run."""
    if len(sql) > SQL_BYTES:
        return None
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (SqlglotError, RecursionError):
        return None
    if not isinstance(tree, exp.Query):
        return None
    selects = list(tree.find_all(exp.Select))
    return Facets(
        set_operation=_counted(type(node).__name__ for node in tree.find_all(exp.SetOperation)),
        tables=frozenset(table.name.lower() for table in tree.find_all(exp.Table)),
        nesting=len(selects) - sum(1 for _ in tree.find_all(exp.SetOperation)),
        aggregate=_counted(
            type(node).__name__
            for select in selects
            for item in select.expressions
            for node in item.find_all(exp.AggFunc)
        ),
        grouping=_counted(
            _shape(node) for select in selects for node in _parts(select, "group", "having")
        ),
        filter=_counted(
            _comparison(node)
            for select in selects
            for where in _parts(select, "where")
            for node in where.find_all(*_COMPARISONS)
            if node.find_ancestor(exp.Select) is select
        ),
        value=_counted(
            literal.this.lower() for literal in tree.find_all(exp.Literal) if not _in_limit(literal)
        ),
        ordering=tuple(
            _shape(node) for select in (tree, *selects) for node in _parts(select, "order", "limit")
        ),
        column=_counted(column.name.lower() for column in tree.find_all(exp.Column, exp.Star)),
        distinct=_counted(
            "count" if isinstance(node.parent, exp.Count) else "select"
            for node in tree.find_all(exp.Distinct)
        ),
    )


def _parts(query: exp.Expr, *names: str) -> Iterable[exp.Expr]:
    return (query.args[name] for name in names if query.args.get(name))


def _shape(node: exp.Expr) -> str:
    """The text of a clause without qualifiers, aliases and case."""
    bare = node.copy()
    for column in bare.find_all(exp.Column):
        column.set("table", None)
    return bare.sql("sqlite").lower().replace('"', "")


def _comparison(node: exp.Expr) -> tuple[str, ...]:
    """A condition as its operator and the columns directly in it, without its values."""
    columns = sorted(
        column.name.lower()
        for column in node.find_all(exp.Column)
        if isinstance(node, exp.Predicate) and _nearest(column) is node
    )
    return (type(node).__name__, *columns)


def _nearest(column: exp.Expr) -> exp.Expr | None:
    return column.find_ancestor(*_COMPARISONS, exp.Select)


def _in_limit(literal: exp.Expr) -> bool:
    return literal.find_ancestor(exp.Limit, exp.Offset) is not None


def _counted(items: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(items).items())

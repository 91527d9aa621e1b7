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

from sqlglot import exp

from distill_sql.parsing import parse_query

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
    does not exist, which settles the question. ``unparsable`` is said of the prediction only: if
    the gold query does not parse, the cause is ``other``.

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
    if pred is None:
        return "unparsable"
    if gold is None:
        return "other"
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
    """Take a query apart; None if it does not parse as a query, or is too long or deep for it."""
    tree = parse_query(sql)
    if tree is None:
        return None
    try:
        return _facets(tree)
    except RecursionError:  # a tree that was parsed in a loop, as ``1 + 1 + ...`` is, has no bound
        return None


def _facets(tree: exp.Query) -> Facets:
    selects = list(tree.find_all(exp.Select))
    found = _Found()
    found.visit(tree)
    return Facets(
        set_operation=_counted(found.set_operations),
        tables=frozenset(found.tables),
        nesting=len(selects) - len(found.set_operations),
        aggregate=_counted(
            type(node).__name__
            for select in selects
            for item in select.expressions
            for node in item.find_all(exp.AggFunc)
        ),
        grouping=_counted(
            _shape(node) for select in selects for node in _parts(select, "group", "having")
        ),
        filter=_counted(found.comparisons()),
        value=_counted(found.values),
        ordering=tuple(
            _shape(node) for select in (tree, *selects) for node in _parts(select, "order", "limit")
        ),
        column=_counted(found.columns),
        distinct=_counted(found.distinct),
    )


class _Found:
    """What one walk over a tree finds; no node is looked at twice."""

    def __init__(self) -> None:
        self.set_operations: list[str] = []
        self.tables: list[str] = []
        self.values: list[str] = []
        self.columns: list[str] = []
        self.distinct: list[str] = []
        self._compared: dict[int, tuple[exp.Expr, list[str]]] = {}

    def visit(self, tree: exp.Expr) -> None:
        # A node, whether it stands in a WHERE and in a LIMIT, and the comparison it stands in.
        waiting: list[tuple[exp.Expr, bool, bool, exp.Expr | None]] = [(tree, False, False, None)]
        while waiting:
            node, in_where, in_limit, comparison = waiting.pop()
            if isinstance(node, exp.Select):
                in_where, comparison = False, None
            elif isinstance(node, exp.Where):
                in_where = in_where or isinstance(node.parent, exp.Select)
            elif isinstance(node, _COMPARISONS):
                comparison = node
                if in_where:
                    self._compared[id(node)] = node, []
            elif isinstance(node, exp.Limit | exp.Offset):
                in_limit = True
            self._note(node, in_limit, comparison)
            for child in node.iter_expressions():
                waiting.append((child, in_where, in_limit, comparison))

    def comparisons(self) -> list[tuple[str, ...]]:
        """Each condition as its operator and the columns directly in it, without its values."""
        return [(type(node).__name__, *sorted(names)) for node, names in self._compared.values()]

    def _note(self, node: exp.Expr, in_limit: bool, comparison: exp.Expr | None) -> None:
        if isinstance(node, exp.Column | exp.Star):
            self.columns.append(node.name.lower())
            # OR and NOT compare nothing themselves.
            if isinstance(node, exp.Column) and isinstance(comparison, exp.Predicate):
                _, names = self._compared.get(id(comparison), (None, []))
                names.append(node.name.lower())
        elif isinstance(node, exp.Table):
            self.tables.append(node.name.lower())
        elif isinstance(node, exp.SetOperation):
            self.set_operations.append(type(node).__name__)
        elif isinstance(node, exp.Literal):
            if not in_limit:
                self.values.append(node.this.lower())
        elif isinstance(node, exp.Distinct):
            self.distinct.append("count" if isinstance(node.parent, exp.Count) else "select")


def _parts(query: exp.Expr, *names: str) -> Iterable[exp.Expr]:
    return (query.args[name] for name in names if query.args.get(name))


def _shape(node: exp.Expr) -> str:
    """The text of a clause without qualifiers, aliases and case."""
    bare = node.copy()
    for column in bare.find_all(exp.Column):
        column.set("table", None)
    return bare.sql("sqlite").lower().replace('"', "")


def _counted(items: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(items).items())

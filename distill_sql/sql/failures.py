"""The primary cause of failure of a query that gave the wrong rows, by a fixed rule.

Both queries are parsed with sqlglot and reduced to :class:`Facets`. The rule asks the questions of
:data:`STEPS` in order, from the shape of the query down to its details. The first question answered
with no names the cause. The order matters: a query on the wrong tables also differs in its columns,
and the tables come first. A difference does not prove a mistake, since two spellings can mean the
same, so the rule is only applied to queries that are known to be wrong. The failure chapter
measures its agreement with labels given by reading. Left out: a measure of how far off a query is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from distill_sql.sql.parsing import parse_query


@dataclass(frozen=True)
class Step:
    """A question of the rule, and the cause that it names if the answer is no."""

    cause: str
    question: str


#: The questions in the order in which they are asked. Columns and aggregates are asked about twice,
#: early and late: an unknown column decides early, an aggregate beside the right ones late.
STEPS: tuple[Step, ...] = (
    Step("unparsable", "Is there a query, and does it parse?"),
    Step("other", "Does the gold query parse?"),
    Step("set operation", "Does it use the same set operations (UNION, INTERSECT, EXCEPT)?"),
    Step("missing join", "Does it read all tables of the gold query, or others in their place?"),
    Step("spurious join", "If it reads all of them, does it read no further tables?"),
    Step("wrong table", "Does it read exactly the gold query's tables?"),
    Step("wrong column", "Does the database accept its column names? (Judged by its message.)"),
    Step("nesting", "Does it have the same number of subqueries?"),
    Step("aggregate", "Does it select all aggregate functions of the gold query, each as often?"),
    Step("grouping", "Does it group by the same columns, with the same HAVING?"),
    Step("filter", "Do its conditions compare the same columns with the same operators?"),
    Step("value", "Do they compare with the same values?"),
    Step(
        "ordering", "Does it order by the same columns in the same direction, with the same LIMIT?"
    ),
    Step("aggregate", "Does it select no further aggregate functions?"),
    Step("wrong column", "Does it select and join on the same columns?"),
    Step("distinct", "Does it use DISTINCT in the same places?"),
    Step("other", "None of these: it differs in an expression, or in a spelling that matters."),
)
#: Every cause, in the order of the last question about each.
CAUSES: tuple[str, ...] = tuple(reversed(dict.fromkeys(step.cause for step in reversed(STEPS))))

_COMPARISONS = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between, exp.Is,
    exp.Not, exp.Or,
)  # fmt: skip


@dataclass(frozen=True)
class Facets:
    """The parts of a query that the rule compares. Names are lower case, without aliases or order.

    Values keep their case, since ``=`` is case-sensitive.
    """

    set_operation: Hashable
    tables: frozenset[str]
    nesting: Hashable
    aggregate: frozenset[tuple[Hashable, int]]
    grouping: Hashable
    filter: Hashable
    value: Hashable
    ordering: Hashable
    column: Hashable
    distinct: Hashable


def primary_cause(pred_sql: str, gold_sql: str, *, error: str = "") -> str:
    """The primary cause of a wrong query: one of :data:`CAUSES`.

    ``error`` is the database's message if the query failed.

    >>> primary_cause("SELECT name FROM singer", "SELECT count(*) FROM singer")
    'aggregate'
    >>> primary_cause("SELECT nam FROM singer", "SELECT name FROM singer",
    ...               error="no such column: nam")
    'wrong column'
    """
    return deciding_step(pred_sql, gold_sql, error=error).cause


def deciding_step(pred_sql: str, gold_sql: str, *, error: str = "") -> Step:
    """The first of :data:`STEPS` whose answer is no; the arguments are :func:`primary_cause`'s."""
    answers = _answers(facets(pred_sql), facets(gold_sql), error)
    return next((step for step, yes in zip(STEPS, answers, strict=False) if not yes), STEPS[-1])


def _answers(pred: Facets | None, gold: Facets | None, error: str) -> Iterator[bool]:
    """Answer all questions of :data:`STEPS` but the last; the caller stops at the first no."""
    yield pred is not None
    yield gold is not None
    assert pred is not None
    assert gold is not None
    yield pred.set_operation == gold.set_operation
    yield not pred.tables < gold.tables
    yield not pred.tables > gold.tables
    yield pred.tables == gold.tables
    yield not re.search(r"no such column|ambiguous column", error)
    yield pred.nesting == gold.nesting
    yield gold.aggregate <= pred.aggregate
    yield pred.grouping == gold.grouping
    yield pred.filter == gold.filter
    yield pred.value == gold.value
    yield pred.ordering == gold.ordering
    yield pred.aggregate == gold.aggregate
    yield pred.column == gold.column
    yield pred.distinct == gold.distinct


@lru_cache(maxsize=4096)
def facets(sql: str) -> Facets | None:
    """The facets of a query; None if it does not parse as one, or is too long or too deep."""
    tree = parse_query(sql)
    if tree is None:
        return None
    try:
        return _facets(tree)
    except RecursionError:  # sqlglot parses ``1 + 1 + ...`` in a loop, so depth is unbounded
        return None


def _facets(tree: exp.Query) -> Facets:
    selects = list(tree.find_all(exp.Select))
    found = _Found()
    found.visit(tree)
    return Facets(
        set_operation=_counted(found.set_operations),
        tables=frozenset(found.tables),
        nesting=len(selects) - len(found.set_operations),
        aggregate=_numbered(
            type(node).__name__
            for select in selects
            for item in select.expressions
            for node in item.find_all(exp.AggFunc)
        ),
        grouping=_counted(
            text for select in selects for text in _clauses(select, "group", "having")
        ),
        filter=_counted(found.comparisons()),
        value=_counted(found.values),
        ordering=tuple(
            text for select in (tree, *selects) for text in _clauses(select, "order", "limit")
        ),
        column=_counted(found.columns),
        distinct=_counted(found.distinct),
    )


class _Found:
    """What one walk over a tree finds; each node is visited once."""

    def __init__(self) -> None:
        self.set_operations: list[str] = []
        self.tables: list[str] = []
        self.values: list[str] = []
        self.columns: list[str] = []
        self.distinct: list[str] = []
        self._compared: dict[int, tuple[exp.Expr, list[str]]] = {}

    def visit(self, tree: exp.Expr) -> None:
        # A node, whether it is inside a WHERE and a LIMIT, and the comparison that it is inside.
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
        """Each condition as its operator and the columns directly inside it, without its values."""
        return [(type(node).__name__, *sorted(names)) for node, names in self._compared.values()]

    def _note(self, node: exp.Expr, in_limit: bool, comparison: exp.Expr | None) -> None:
        if _is_text(node):
            self.values.append(node.name)
        elif isinstance(node, exp.Column | exp.Star):
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
                self.values.append(node.this)
        elif isinstance(node, exp.Distinct):
            self.distinct.append("count" if isinstance(node.parent, exp.Count) else "select")


def _is_text(node: exp.Expr) -> bool:
    """Whether a quoted name is the value that a column is compared with.

    SQLite reads ``"Ann"`` in ``name = "Ann"`` as a string if no column is called Ann, and Spider's
    gold queries rely on it.
    """
    return (
        isinstance(node, exp.Column)
        and not node.table
        and node.this.args.get("quoted") is True
        and isinstance(node.parent, _COMPARISONS)
        and node.arg_key != "this"
    )


def _clauses(query: exp.Query, *names: str) -> Iterator[str]:
    """Clauses of a query as lower-case text without qualifiers, aliases replaced by expressions."""
    aliases = {item.alias.lower(): item.this for item in query.selects if item.alias}
    for name in names:
        if not query.args.get(name):
            continue
        bare = query.args[name].copy()
        for column in list(bare.find_all(exp.Column)):
            if not column.table and column.name.lower() in aliases:
                column.replace(aliases[column.name.lower()].copy())
        for column in bare.find_all(exp.Column):
            column.set("table", None)
        for ordered in bare.find_all(exp.Ordered):
            ordered.set("desc", ordered.args.get("desc") or None)  # ASC may be written or left out
        yield bare.sql("sqlite").lower().replace('"', "")


def _counted(items: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(items).items())


def _numbered(items: Iterable[Hashable]) -> frozenset[tuple[Hashable, int]]:
    """Each item with the number of equal items before it: fewer items then make a subset."""
    return frozenset(
        (item, number) for item, count in Counter(items).items() for number in range(count)
    )

"""What went wrong in a query that gave the wrong rows: one primary cause, by a rule to follow.

Both queries are taken apart with sqlglot into :class:`Facets`. The rule asks the questions of
:data:`STEPS` in their order, from the shape of the query down to its details, and the first that is
answered with no names the cause: a query on the wrong tables differs in its columns too, and the
tables come first. A difference is not a proof, since two spellings can mean the same; the rule is
only applied to queries that are known to be wrong. How well it agrees with labels given by reading
is measured in the failure chapter. Left out: a measure of how far off a query is.
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
    """A question of the rule, and the cause it names where the answer is no."""

    cause: str
    question: str


#: The questions in the order in which they are asked. Two are asked for twice, early and late: a
#: column that the database does not know decides early, an aggregate beside the right ones late.
STEPS: tuple[Step, ...] = (
    Step("unparsable", "Is there a query at all, that parses?"),
    Step("other", "Does the gold query parse?"),
    Step("set operation", "Are the same queries combined by UNION, INTERSECT, EXCEPT?"),
    Step("missing join", "Does it read all tables of the gold query, or others in their place?"),
    Step("spurious join", "Where it reads all of them, does it read no others?"),
    Step("wrong table", "Does it read these, and not others in their place?"),
    Step(
        "wrong column", "Does the database find its columns, each in one table? (By its message.)"
    ),
    Step("nesting", "Does it have as many subqueries?"),
    Step("aggregate", "Does it select the gold query's aggregate functions, as often?"),
    Step("grouping", "Does it group by the same columns, with the same HAVING?"),
    Step("filter", "Do its conditions compare the same columns in the same way?"),
    Step("value", "Do they compare with the same values?"),
    Step("ordering", "Does it order by the same columns and direction, with the same LIMIT?"),
    Step("aggregate", "Does it select no aggregate function beside them?"),
    Step("wrong column", "Does it select and join on the same columns?"),
    Step("distinct", "Does it remove duplicates in the same places?"),
    Step("other", "None of these: it differs in an expression, or in a spelling that matters."),
)
#: Every cause, in the order in which they are last asked for.
CAUSES: tuple[str, ...] = tuple(reversed(dict.fromkeys(step.cause for step in reversed(STEPS))))

_COMPARISONS = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between, exp.Is,
    exp.Not, exp.Or,
)  # fmt: skip


@dataclass(frozen=True)
class Facets:
    """A query taken apart. Names are lower case, aliases are gone, order is forgotten.

    Values keep their case, since ``=`` tells cases apart.
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

    ``error`` is what the database said of it, if it failed.

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
    """The answers to the questions of :data:`STEPS` but the last, as far as they can be given."""
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
    """Whether a quoted name is what a column is compared with: in Spider that is a text.

    SQLite reads ``name = "Ann"`` so where no column is called Ann.
    """
    return (
        isinstance(node, exp.Column)
        and not node.table
        and node.this.args.get("quoted") is True
        and isinstance(node.parent, _COMPARISONS)
        and node.arg_key != "this"
    )


def _clauses(query: exp.Query, *names: str) -> Iterator[str]:
    """Clauses of a query as text without qualifiers and case; an alias is what it stands for."""
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
            ordered.set("desc", ordered.args.get("desc") or None)  # ASC is said or not
        yield bare.sql("sqlite").lower().replace('"', "")


def _counted(items: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(items).items())


def _numbered(items: Iterable[Hashable]) -> frozenset[tuple[Hashable, int]]:
    """Each item with how many of its kind came before: a part of the items is a subset."""
    return frozenset(
        (item, number) for item, count in Counter(items).items() for number in range(count)
    )

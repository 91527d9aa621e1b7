"""Mutants: gold queries broken on purpose, each with one small, plausible mistake of a known kind.

They test questions, databases and rules. A question whose mutants all give the gold rows tests
nothing. A database on which a mutant passes has too few telling rows. A rule that names causes of
failure must name these. Mutants are edits of sqlglot's tree; the caller finds out whether one gives
other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlglot import exp

from distill_sql.data.schema import Schema
from distill_sql.sql.parsing import parse_query

#: Every kind of edit, and the cause of failure that it imitates
#: (:data:`distill_sql.sql.failures.CAUSES`).
KINDS: Mapping[str, str] = {
    "drop a condition": "filter",
    "other comparison": "filter",
    "other value": "value",
    "other aggregate": "aggregate",
    "drop HAVING": "grouping",
    "other direction": "ordering",
    "drop LIMIT": "ordering",
    "other column": "wrong column",
    "other table": "wrong table",
    "drop DISTINCT": "distinct",
    "other set operation": "set operation",
    "half a set operation": "set operation",
}

#: The most places of a query that are broken for each kind of mistake. Each place takes a copy of
#: the whole query, so hundreds of conditions would take minutes. Spider's and BIRD's gold queries
#: have 39 at most.
MOST = 40

_COMPARISON = {
    exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE, exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
}  # fmt: skip
_AGGREGATE = {
    exp.Max: exp.Min, exp.Min: exp.Max, exp.Avg: exp.Sum, exp.Sum: exp.Avg, exp.Count: exp.Max,
}  # fmt: skip
_SET_OPERATION = {exp.Union: exp.Intersect, exp.Intersect: exp.Except, exp.Except: exp.Union}

Edit = Callable[[exp.Expr], bool]


@dataclass(frozen=True)
class Mutant:
    """A broken query and the kind of its mistake, a key of :data:`KINDS`."""

    kind: str
    sql: str


def mutants(sql: str, schema: Schema | None = None) -> list[Mutant]:
    """All distinct mutants of a query; those with another column or table need its ``schema``.

    A query that cannot be parsed has none. In a long query, only the first :data:`MOST` places are
    broken for each kind.

    >>> [mutant.sql for mutant in mutants("SELECT max(age) FROM singer WHERE age > 3")][:2]
    ['SELECT MAX(age) FROM singer', 'SELECT MAX(age) FROM singer WHERE age < 3']
    """
    tree = parse_query(sql)
    try:
        return _mutants(tree, schema) if tree else []
    except RecursionError:  # too deep to be written as text
        return []


def _mutants(tree: exp.Query, schema: Schema | None) -> list[Mutant]:
    plain = tree.sql("sqlite")
    found: dict[str, Mutant] = {}
    nodes = list(enumerate(tree.walk()))
    for kind, types, edit in _edits(schema):
        positions = (number for number, node in nodes if isinstance(node, types))
        for position in islice(positions, MOST):
            copy = tree.copy()
            if edit(next(islice(copy.walk(), position, None))):
                text = copy.sql("sqlite")
                if text != plain:
                    found.setdefault(text, Mutant(kind, text))
    if isinstance(tree, exp.SetOperation):
        for side in (tree.left, tree.right):
            text = side.sql("sqlite")
            found.setdefault(text, Mutant("half a set operation", text))
    return list(found.values())


def _edits(schema: Schema | None) -> Iterator[tuple[str, tuple[type[exp.Expr], ...], Edit]]:
    yield "drop a condition", (exp.Where, exp.And, exp.Or), _drop_condition
    yield "other comparison", tuple(_COMPARISON), _other_comparison
    yield "other value", (exp.Literal,), _other_value
    yield "other aggregate", tuple(_AGGREGATE), _other_aggregate
    yield "drop HAVING", (exp.Having,), _drop
    yield "other direction", (exp.Ordered,), _other_direction
    yield "drop LIMIT", (exp.Limit,), _drop
    if schema is not None:
        yield "other column", (exp.Column,), lambda node: _other_column(node, schema)
        yield "other table", (exp.Table,), lambda node: _other_table(node, schema)
    yield "drop DISTINCT", (exp.Select, exp.Count), _drop_distinct
    yield "other set operation", tuple(_SET_OPERATION), lambda n: _retype(n, _SET_OPERATION)


def _retype(node: exp.Expr, kinds: Mapping[type[Any], type[Any]]) -> bool:
    kind = kinds[type(node)]
    new = kind(**node.args)
    if node.parent is None:
        # The root cannot be replaced in place: turn the node itself into the other kind.
        node.__class__ = kind
    else:
        node.replace(new)
    return True


def _drop(node: exp.Expr) -> bool:
    node.pop()
    return True


def _drop_condition(node: exp.Expr) -> bool:
    if isinstance(node, exp.Where):
        node.pop()
        return True
    if node.find_ancestor(exp.Where, exp.Having):
        node.replace(node.this)
        return True
    return False


def _other_comparison(node: exp.Expr) -> bool:
    if all(isinstance(side, exp.Column) for side in node.args.values()):
        return False  # two columns: a join condition, not a filter
    return _retype(node, _COMPARISON)


def _other_value(node: exp.Expr) -> bool:
    clause = node.find_ancestor(exp.Where, exp.Having, exp.Limit)
    if not isinstance(clause, exp.Where):
        return False
    if node.is_string:
        node.replace(exp.Literal.string(node.this + "x"))
    else:
        try:
            value = float(node.this) * 2 + 1
        except ValueError:  # a number that SQLite can read and Python cannot
            return False
        node.replace(exp.Literal.number(value))
    return True


def _other_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.Count) and not isinstance(node.this, exp.Column):
        return False  # count(*) has no other aggregate
    return _retype(node, _AGGREGATE)


def _other_direction(node: exp.Expr) -> bool:
    descending = not node.args.get("desc")
    node.set("desc", descending)
    node.set(
        "nulls_first", not descending
    )  # SQLite's default, so that NULLS FIRST or LAST is not written
    return True


def _drop_distinct(node: exp.Expr) -> bool:
    if isinstance(node, exp.Select) and node.args.get("distinct"):
        node.set("distinct", None)
        return True
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct):
        node.set("this", node.this.expressions[0])
        return True
    return False


def _other_column(node: Any, schema: Schema) -> bool:
    """Select the next column of the same table instead."""
    select = node.find_ancestor(exp.Select)
    if select is None or node.parent is not select or node.arg_key != "expressions":
        return False
    tables = {t.alias_or_name.lower(): t.name for t in select.find_all(exp.Table)}
    table = tables.get(node.table.lower()) if node.table else next(iter(tables.values()), None)
    if table is None or table not in schema:
        return False
    names = [column.name for column in schema.table(table).columns]
    lower = [name.lower() for name in names]
    if node.name.lower() not in lower or len(names) < 2:
        return False
    other = names[(lower.index(node.name.lower()) + 1) % len(names)]
    node.set("this", exp.to_identifier(other, quoted=not other.isidentifier()))
    return True


def _other_table(node: Any, schema: Schema) -> bool:
    """Count the rows of the next table instead, if the query names no column."""
    if node.root().find(exp.Column) or len(schema.tables) < 2 or node.name not in schema:
        return False
    names = [table.name for table in schema.tables]
    place = [name.lower() for name in names].index(node.name.lower())
    node.set("this", exp.to_identifier(names[(place + 1) % len(names)]))
    return True

"""The structure of a query as Spider's official evaluator sees it, which exact set match compares.

The components and their names are those of taoyds/test-suite-sql-eval (commit e97acc5,
``process_sql.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from distill_sql.errors import DistillSqlError


class SpiderSqlError(DistillSqlError):
    """A query that Spider's parser does not accept; it may be correct SQL."""


@dataclass(frozen=True, slots=True)
class ColumnUnit:
    """A column, optionally aggregated: ``count(DISTINCT t.c)``.

    ``column`` is ``table.column`` in lower case, or ``*``; ``aggregate`` is ``none`` without one.
    ``distinct`` is None in a query that is ready for comparison.
    """

    aggregate: str
    column: str
    distinct: bool | None = False


@dataclass(frozen=True, slots=True)
class ValueUnit:
    """One column unit with the operator ``none``, or two with an arithmetic operator."""

    operator: str
    left: ColumnUnit
    right: ColumnUnit | None = None


@dataclass(frozen=True, slots=True)
class SelectItem:
    """An item of SELECT, with its aggregate, which is not in the column unit."""

    aggregate: str
    value: ValueUnit


@dataclass(frozen=True, slots=True)
class Condition:
    """``left [NOT] operator value``, and ``AND second`` for BETWEEN."""

    negated: bool
    operator: str
    left: ValueUnit
    value: Value
    second: Value = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a clause and the ``and``/``or`` between them, in order and not nested.

    A clause that ends on AND or OR has as many connectors as conditions.
    """

    terms: tuple[Condition, ...] = ()
    connectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderBy:
    """ORDER BY: all items have one direction, the last one in the text (default ``asc``)."""

    direction: str
    items: tuple[ValueUnit, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query as Spider sees it. The default is the empty query, which represents a failed parse.

    ``tables`` holds table names in lower case and queries in FROM. ``limit`` is whether there is a
    LIMIT: the official parser reads every limit as 1 (``parse_limit``).
    """

    select: tuple[SelectItem, ...] = ()
    distinct: bool | None = False
    tables: tuple[str | Query, ...] = ()
    on: Conditions = field(default_factory=Conditions)
    where: Conditions = field(default_factory=Conditions)
    group_by: tuple[ColumnUnit, ...] = ()
    having: Conditions = field(default_factory=Conditions)
    order_by: OrderBy | None = None
    limit: bool = False
    intersect: Query | None = None
    union: Query | None = None
    except_: Query | None = None


#: The right side of a condition: a number, a string with its quotes, a column or a query.
Value: TypeAlias = float | str | ColumnUnit | Query | None

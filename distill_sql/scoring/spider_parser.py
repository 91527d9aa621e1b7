"""Spider's parser: it reads a query into the components that exact set match compares.

The official evaluator (taoyds/test-suite-sql-eval, commit e97acc5, ``process_sql.py``) has a small
tokenizer and parser. Their behaviour decides the verdict, so it is reproduced here with its quirks,
each with the name of the official function it comes from. The parser reads a subset of SQL:

- A table is referred to by its name or by an alias introduced with AS. ``FROM a, b``, ``a LEFT JOIN
  b``, ``a x`` and CROSS, INNER or NATURAL joins do not parse. (LEFT after an ON condition between
  columns is silently skipped: see :meth:`_Parser.value`.)
- There are no aliases in SELECT, no ``IS NULL``, no ``IN (1, 2)``, no CASE, and no functions except
  the five aggregates.
- An operator needs spaces around it: ``a=1`` is one token. ``<>`` and ``==`` are not operators.
- Text after the last known clause (OFFSET, a second statement) is ignored.

One case differs: two conditions with neither AND nor OR between them. The official parser accepts
them, then crashes or never matches them; here they do not parse.
"""

from __future__ import annotations

from typing import NoReturn

from distill_sql.data.schema import Schema
from distill_sql.scoring.spider_query import (
    ColumnUnit,
    Condition,
    Conditions,
    OrderBy,
    Query,
    SelectItem,
    SpiderSqlError,
    Value,
    ValueUnit,
)
from distill_sql.scoring.spider_tokens import tokenize

AGGREGATES = frozenset({"none", "max", "min", "count", "sum", "avg"})
ARITHMETIC = frozenset({"none", "-", "+", "*", "/"})
COMPARISONS = frozenset(
    {"not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists"}
)
SET_OPERATIONS = ("intersect", "union", "except")
_CLAUSES = frozenset({"select", "from", "where", "group", "order", "limit", *SET_OPERATIONS})
_JOIN_WORDS = frozenset({"join", "on", "as"})
_CLAUSE_ENDS = _CLAUSES | {")", ";"}
_CONDITION_ENDS = _CLAUSE_ENDS | _JOIN_WORDS
_VALUE_ENDS = _CLAUSES | _JOIN_WORDS | {",", ")", "and"}


def parse_query(sql: str, schema: Schema) -> Query:
    """Parse a query on a schema.

    Raises :class:`SpiderSqlError` if and only if the official parser fails.

    The official evaluator reads tables and columns from the SQLite file and foreign keys from
    ``tables.json``. The two agree in all of Spider's databases, so one ``schema`` is used here.

    Time and memory are linear in the length of the text. Nesting deeper than Python's recursion
    limit is an error, as in the official parser.
    """
    tokens = tokenize(sql)
    names = _Names(schema)
    try:
        return _Parser(tokens, names, _aliases(tokens, names)).query()
    except RecursionError:
        raise SpiderSqlError(
            f"A query of {len(tokens)} tokens is nested too deeply for Spider's parser, which "
            "reads about 200 levels. Score it by execution."
        ) from None


# --- Names --------------------------------------------------------------------------------------


class _Names:
    """The schema's names in lower case: the columns of each table, and all names that exist."""

    def __init__(self, schema: Schema) -> None:
        self.columns = {
            table.name.lower(): {column.name.lower() for column in table.columns}
            for table in schema.tables
        }
        self.known = {"*", *self.columns}
        self.known.update(
            f"{table}.{name}" for table in self.columns for name in self.columns[table]
        )


def _aliases(tokens: list[str], names: _Names) -> dict[str, str]:
    """The table of each alias and table name (``scan_alias``, ``get_tables_with_alias``).

    Every token after an AS, anywhere in the query, is an alias of the token before it. There is one
    scope: if a subquery redefines an alias, its meaning changes everywhere. An alias that equals a
    table's name is an error.
    """
    aliases = {}
    for index, token in enumerate(tokens):
        if token == "as":
            if index + 1 == len(tokens):
                raise SpiderSqlError("The query ends on AS; expected an alias after it.")
            aliases[tokens[index + 1]] = tokens[index - 1]
    for table in names.columns:
        if table in aliases:
            raise SpiderSqlError(f"The alias {table!r} is the name of a table; choose another.")
        aliases[table] = table
    return aliases


# --- Clauses ------------------------------------------------------------------------------------

_END = ""  # the parser's token after the last one; no real token is empty


class _Parser:
    """A recursive descent over the tokens of a query.

    ``scope`` holds the tables of the current FROM clause. An unqualified column belongs to the
    first of them that has it. A subquery does not see the tables of the outer query.
    """

    def __init__(self, tokens: list[str], names: _Names, aliases: dict[str, str]) -> None:
        self.tokens = tokens
        self.names = names
        self.aliases = aliases
        self.at = 0

    @property
    def token(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self, word: str) -> bool:
        if self.token != word:
            return False
        self.at += 1
        return True

    def expect(self, word: str) -> None:
        if not self.take(word):
            self.fail(f"{word!r}")

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.token[:60]) if self.token else "the end"
        raise SpiderSqlError(
            f"Found {found} at token {self.at}; expected {expected}. Spider's parser reads a "
            "subset of SQL; score a query outside it by execution."
        )

    def query(self) -> Query:
        """A query (``parse_sql``): FROM first, because the other clauses need its tables.

        In a query in parentheses, a set operation may follow the closing one but not precede it.
        """
        block = self.take("(")
        select_at = self.at
        tables, on, scope = self.from_clause()
        after_from, self.at = self.at, select_at
        distinct, select = self.select(scope)
        self.at = after_from
        where = self.conditions(scope) if self.take("where") else Conditions()
        group_by = self.group_by(scope)
        having = self.conditions(scope) if self.take("having") else Conditions()
        order_by = self.order_by(scope)
        limit = self.limit()
        self.skip_semicolons()
        if block:
            self.expect(")")
        self.skip_semicolons()
        following: dict[str, Query] = {}
        if self.token in SET_OPERATIONS:
            operation = self.token
            self.at += 1
            following[operation] = self.query()
        return Query(
            select,
            distinct,
            tables,
            on,
            where,
            group_by,
            having,
            order_by,
            limit,
            following.get("intersect"),
            following.get("union"),
            following.get("except"),
        )

    def from_clause(self) -> tuple[tuple[str | Query, ...], Conditions, tuple[str, ...]]:
        """The tables, the ON conditions and the scope (``parse_from``).

        The clause starts at the next FROM token; if SELECT contains a subquery, that is the wrong
        FROM. The ON conditions of all joins form one list. A query in FROM can have no alias.
        """
        try:
            self.at = self.tokens.index("from", self.at) + 1
        except ValueError:
            self.fail("a FROM clause")
        tables: list[str | Query] = []
        scope: list[str] = []
        terms: list[Condition] = []
        connectors: list[str] = []
        while self.token != _END:
            block = self.take("(")
            if self.token == "select":
                tables.append(self.query())
            else:
                self.take("join")
                table = self.table()
                tables.append(table)
                scope.append(table)
            if self.take("on"):
                on = self.conditions(tuple(scope))
                connectors.extend(["and"] * bool(terms))
                terms.extend(on.terms)
                connectors.extend(on.connectors)
            if block:
                self.expect(")")
            if self.token in _CLAUSE_ENDS:
                break
        return tuple(tables), Conditions(tuple(terms), tuple(connectors)), tuple(scope)

    def table(self) -> str:
        """A table, by its name or its alias (``parse_table_unit``)."""
        table = self.aliases.get(self.token)
        if table not in self.names.known:
            self.fail("a table or an alias introduced with AS")
        self.at += 1
        if self.take("as"):
            self.at += 1
        return table

    def select(self, scope: tuple[str, ...]) -> tuple[bool, tuple[SelectItem, ...]]:
        """The items of SELECT (``parse_select``); the commas between them are optional.

        An aggregate is read separately from its parenthesis, so ``max(a - b)`` parses here and
        nowhere else, and ``max(a) - b`` does not parse.
        """
        self.expect("select")
        distinct = self.take("distinct")
        items = []
        while self.token != _END and self.token not in _CLAUSES:
            aggregate = "none"
            if self.token in AGGREGATES:
                aggregate = self.token
                self.at += 1
            items.append(SelectItem(aggregate, self.value_unit(scope)))
            self.take(",")
        return distinct, tuple(items)

    def group_by(self, scope: tuple[str, ...]) -> tuple[ColumnUnit, ...]:
        """The columns of GROUP BY (``parse_group_by``)."""
        units: list[ColumnUnit] = []
        if self.take("group"):
            self.expect("by")
            while self.token != _END and self.token not in _CLAUSE_ENDS:
                units.append(self.column_unit(scope))
                if not self.take(","):
                    break
        return tuple(units)

    def order_by(self, scope: tuple[str, ...]) -> OrderBy | None:
        """ORDER BY (``parse_order_by``)."""
        if not self.take("order"):
            return None
        self.expect("by")
        direction = "asc"
        items = []
        while self.token != _END and self.token not in _CLAUSE_ENDS:
            items.append(self.value_unit(scope))
            if self.token in ("asc", "desc"):
                direction = self.token
                self.at += 1
            if not self.take(","):
                break
        return OrderBy(direction, tuple(items))

    def limit(self) -> bool:
        """Whether a LIMIT comes next; one token after it is skipped, whatever it is."""
        if not self.take("limit"):
            return False
        if self.token == _END:
            self.fail("a number after LIMIT")
        self.at += 1
        return True

    def skip_semicolons(self) -> None:
        while self.take(";"):
            pass

    def conditions(self, scope: tuple[str, ...]) -> Conditions:
        """Conditions up to the end of their clause (``parse_condition``).

        Parentheses around conditions do not parse. ``NOT`` may only precede the operator. EXISTS
        and NOT EXISTS do not parse without a column before them.
        """
        terms: list[Condition] = []
        connectors: list[str] = []
        while self.token != _END:
            left = self.value_unit(scope)
            negated = self.take("not")
            operator = self.token
            if operator not in COMPARISONS:
                self.fail("a comparison")
            self.at += 1
            value = self.value(scope)
            second = None
            if operator == "between":
                self.expect("and")
                second = self.value(scope)
            terms.append(Condition(negated, operator, left, value, second))
            if self.token == _END or self.token in _CONDITION_ENDS:
                break
            if self.token not in ("and", "or"):
                self.fail("AND, OR or the end of the conditions")
            connectors.append(self.token)
            self.at += 1
        return Conditions(tuple(terms), tuple(connectors))

    def value(self, scope: tuple[str, ...]) -> Value:
        """The right side of a condition (``parse_value``): a query, string, number or column.

        A number is whatever Python's ``float`` accepts, so ``nan`` and ``1_000`` are numbers. After
        a column, everything up to the next comma, closing parenthesis, AND, clause or join word is
        skipped: ``a = b OR c = d`` is one condition, and ``ON a = b LEFT JOIN c`` a plain join.
        Inside parentheses, only a query or a single string or number parses.
        """
        start = self.at
        block = self.take("(")
        value: Value
        if self.token == "select":
            value = self.query()
        elif '"' in self.token:
            value = self.token
            self.at += 1
        elif (number := _number(self.token)) is not None:
            value = number
            self.at += 1
        else:
            end = self.at
            while end < len(self.tokens) and self.tokens[end] not in _VALUE_ENDS:
                end += 1
            value = _Parser(self.tokens[start:end], self.names, self.aliases).column_unit(scope)
            self.at = end
        if block:
            self.expect(")")
        return value

    def value_unit(self, scope: tuple[str, ...]) -> ValueUnit:
        """One column unit, or two with an operator between them (``parse_val_unit``)."""
        block = self.take("(")
        operator = "none"
        left = self.column_unit(scope)
        right = None
        if self.token in ARITHMETIC:
            operator = self.token
            self.at += 1
            right = self.column_unit(scope)
        if block:
            self.expect(")")
        return ValueUnit(operator, left, right)

    def column_unit(self, scope: tuple[str, ...]) -> ColumnUnit:
        """A column, optionally in an aggregate or parentheses (``parse_col_unit``).

        The closing parenthesis of ``(count(a))`` is not read, so the caller fails on it.
        """
        block = self.take("(")
        if self.token in AGGREGATES:
            aggregate = self.token
            self.at += 1
            self.expect("(")
            distinct = self.take("distinct")
            column = self.column(scope)
            self.expect(")")
            return ColumnUnit(aggregate, column, distinct)
        distinct = self.take("distinct")
        column = self.column(scope)
        if block:
            self.expect(")")
        return ColumnUnit("none", column, distinct)

    def column(self, scope: tuple[str, ...]) -> str:
        """``*``, ``alias.column`` or an unqualified column, as ``table.column`` (``parse_col``)."""
        token = self.token
        if token == "*":
            self.at += 1
            return token
        if "." in token:
            alias, _, name = token.partition(".")
            found = f"{self.aliases.get(alias, '')}.{name}" if "." not in name else ""
        else:
            homes = (t for t in scope if token in self.names.columns.get(t, ()))
            found = f"{next(homes, '')}.{token}"
        if found not in self.names.known:
            self.fail(f"a column of {', '.join(scope) or 'a table in FROM'}")
        self.at += 1
        return found


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None

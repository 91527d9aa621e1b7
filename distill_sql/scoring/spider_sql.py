"""Spider's own reading of a query: the component structure that exact set match compares.

The official evaluator (taoyds/test-suite-sql-eval, commit e97acc5, ``process_sql.py``) has a small
tokenizer and parser. What they accept and how they read it decides the verdict, so their habits are
kept here, each with the name of the official function it comes from. They read a subset of SQL:

- a table must be named by its name or by an alias introduced with AS; ``FROM a, b``, ``a LEFT JOIN
  b``, ``a x`` and CROSS, INNER or NATURAL joins do not parse. (LEFT after an ON condition between
  columns is skipped without notice: see :meth:`_Parser.value`);
- no alias in SELECT, no ``IS NULL``, no ``IN (1, 2)``, no CASE, no function but the five
  aggregates;
- an operator must stand between spaces: ``a=1`` is one token. ``<>`` and ``==`` are no operators;
- whatever follows the last clause it knows (OFFSET, a second statement) is left unread.

Left out: two conditions with neither AND nor OR between them. The official parser accepts them,
then crashes or can never match them; here they do not parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from distill_sql.data.schema import Schema
from distill_sql.errors import DistillSqlError

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


class SpiderSqlError(DistillSqlError):
    """A query that Spider's parser does not accept. Many a correct SQL query is one."""


@dataclass(frozen=True, slots=True)
class ColumnUnit:
    """A column, perhaps aggregated: ``count(DISTINCT t.c)``.

    ``column`` is ``table.column`` in lower case, or ``*``; ``aggregate`` is ``none`` without one.
    ``distinct`` is None once it has been set aside for comparison.
    """

    aggregate: str
    column: str
    distinct: bool | None = False


@dataclass(frozen=True, slots=True)
class ValueUnit:
    """A column unit, or two of them with an arithmetic operator (``none`` if there is one)."""

    operator: str
    left: ColumnUnit
    right: ColumnUnit | None = None


@dataclass(frozen=True, slots=True)
class SelectItem:
    """An item of SELECT. Its aggregate stands here, not in the column unit: ``_Parser.select``."""

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
    """The conditions of one clause and the ``and``/``or`` between them, both in order, no nesting.

    A query that ends on AND or OR has as many connectors as conditions.
    """

    terms: tuple[Condition, ...] = ()
    connectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderBy:
    """ORDER BY: one direction for all items, the last one written (``asc`` if none is)."""

    direction: str
    items: tuple[ValueUnit, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query as Spider sees it. The default is the empty query, which stands for a failed parse.

    ``tables`` holds table names in lower case and queries in FROM. ``limit`` says whether there is
    a LIMIT: the official parser reads every limit as 1, whatever follows (``parse_limit``).
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


#: What a condition compares with: a number, a string with its quotes, a column or a query.
Value: TypeAlias = float | str | ColumnUnit | Query | None


def parse_query(sql: str, schema: Schema) -> Query:
    """Read a query against a schema.

    Raises :class:`SpiderSqlError` where the official parser fails, and there only.

    The official evaluator takes tables and columns from the SQLite file, with ``tables.json`` only
    for foreign keys; in all of Spider's databases the two agree, and one ``schema`` serves here.

    Time and memory are linear in the text, save that nesting deeper than Python's recursion limit
    is an error (as it is there).
    """
    tokens = tokenize(sql)
    names = _Names(schema)
    try:
        return _Parser(tokens, names, _aliases(tokens, names)).query()
    except RecursionError:
        raise SpiderSqlError(
            f"A query of {len(tokens)} tokens is nested too deeply for Spider's parser, which can "
            "read about 200 levels. Score it by execution."
        ) from None


# --- Tokens -------------------------------------------------------------------------------------

# Set off by spaces wherever they stand. Two backquotes are one token; a single one, as in `name`,
# is a token too, so a name between backquotes never parses.
_SEPARATE = re.compile(
    r"``|[`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e]|[;@#$%&?!*\[\](){}<>]|[\u2012-\u2015]"
)
_COMMA = re.compile(r"([:,])([^\d])")
_LAST_COMMA = re.compile(r"([:,])$")
_DOTS = re.compile(r"\.{2,}")
_FUSED = re.compile(
    r"\b(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(wan)(na)(?=\s|$))\b", re.IGNORECASE
)
_MERGES_WITH_EQUALS = frozenset("!<>")


def tokenize(sql: str) -> list[str]:
    """Split a query as the official ``tokenize`` does; an odd number of quotes is an error.

    Both kinds of quotes are string quotes there, names included, and a doubled quote inside a
    string ends it and begins another (two strings without a space are one unknown token). Strings
    keep their case, the rest is lowered. ``=`` joins a ``!``, ``<`` or ``>`` before it, with or
    without space between, if it is a token by itself: ``a >=1`` is ``a``, ``>``, ``=1``.

    >>> tokenize("SELECT Name FROM t WHERE a ! = 'It' AND b>1,2")
    ['select', 'name', 'from', 't', 'where', 'a', '!=', '"It"', 'and', 'b', '>', '1,2']
    """
    pieces = sql.replace("'", '"').split('"')
    if len(pieces) % 2 == 0:
        raise SpiderSqlError(
            f"Found {len(pieces) - 1} quotes in a query; expected an even number. "
            "An apostrophe inside a string is the usual cause."
        )
    strings = {}
    for index in range(1, len(pieces), 2):
        key = f"__val_{index}_{index}__"
        strings[key] = f'"{pieces[index]}"'
        pieces[index] = key
    tokens: list[str] = []
    for word in split_words("".join(pieces)):
        token = word.lower()
        token = strings.get(token, token)
        if token == "=" and tokens and tokens[-1] in _MERGES_WITH_EQUALS:
            tokens[-1] += "="
        else:
            tokens.append(token)
    return tokens


def split_words(text: str) -> list[str]:
    """Split text without quotes into words, as NLTK's ``word_tokenize`` splits one sentence.

    The rules that can matter to SQL, in NLTK's order: a final period is a token; brackets, ``;``,
    ``*``, ``%``, ``!`` and the like are tokens; so are a comma and a colon unless a digit follows
    (``1,2`` stays whole); two periods or more are a token; ``--`` is one; ``cannot``, ``gimme``,
    ``gonna``, ``gotta``, ``lemme`` and ``wanna`` are two. ``=``, ``+``, ``-`` and ``/`` split
    nothing.

    >>> split_words("count(*), a,1 b=2 T1.c.")
    ['count', '(', '*', ')', ',', 'a,1', 'b=2', 'T1.c', '.']
    """
    body = text.rstrip()
    core = body.rstrip("])}>\u00bb\u201d\u2019 ")
    if len(core) > 1 and core.endswith(".") and not core.endswith(".."):
        text = f"{core[:-1]} . {body[len(core) :]}"
    text = _COMMA.sub(r" \1 \2", text)
    text = _LAST_COMMA.sub(r" \1 ", text)
    if ".." in text:
        text = _DOTS.sub(r" \g<0> ", text)
    text = _SEPARATE.sub(r" \g<0> ", text)
    if "--" in text:
        text = text.replace("--", " -- ")
    text = _FUSED.sub(lambda match: f" {' '.join(filter(None, match.groups()))} ", text)
    return text.split()


# --- Names --------------------------------------------------------------------------------------


class _Names:
    """The schema's names in lower case: columns by table, and everything FROM may resolve to."""

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
    """What each alias and each table name stands for (``scan_alias``, ``get_tables_with_alias``).

    Every token after an AS, anywhere in the query, is an alias of the token before it. There is one
    scope: an alias that a subquery uses again changes its meaning everywhere. An alias that is also
    a table's name is an error.
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

_END = ""  # what the parser sees after the last token; no token is empty


class _Parser:
    """One pass over the tokens of a query.

    ``scope`` is the tables of the FROM clause at hand, in which a bare column is looked up; the
    first that has the column wins. A subquery does not see the tables around it.
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
            f"Found {found} at token {self.at}; expected {expected}. Spider's parser reads a part "
            "of SQL; a query outside it can only be scored by execution."
        )

    def query(self) -> Query:
        """A whole query (``parse_sql``): FROM first, to know the tables, then the other clauses.

        In a query between parentheses, a set operation may follow the closing one, not precede it.
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

        The clause begins at the next FROM, wherever that is: with a query in SELECT, it is the
        wrong one. ON conditions of all joins are one list. No alias can follow a query in FROM.
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
        """The items of SELECT (``parse_select``); a comma between them may be missing.

        An aggregate is read apart from its parenthesis, so ``max(a - b)`` works here and nowhere
        else, and ``max(a) - b`` does not.
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
        """Whether a LIMIT stands here; one token after it is skipped, whatever it is."""
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

        Parentheses around conditions do not parse. ``NOT`` may precede the operator only, and NOT
        EXISTS and EXISTS without a column before them do not parse.
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
        """What a condition compares with (``parse_value``): a query, a string, a number, a column.

        A number is what Python's ``float`` accepts, so ``nan`` and ``1_000`` are numbers. A column
        takes with it, unread, everything up to the next comma, closing parenthesis, AND, clause or
        join word: ``a = b OR c = d`` is one condition, ``ON a = b LEFT JOIN c`` a plain join. Of
        values between parentheses, only a single string or number parses, or a query.
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
        """A column unit or two with an operator between (``parse_val_unit``)."""
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
        """A column, perhaps in an aggregate or parentheses (``parse_col_unit``).

        The closing parenthesis of ``(count(a))`` is left for the caller to trip over.
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
        """``*``, ``alias.column`` or a bare column, as ``table.column`` (``parse_col``)."""
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

"""Reading SQL as sqlglot's tree, or finding that it cannot be read: never an error.

SQLite accepts more than sqlglot reads (``WHERE if > 2``, ``CAST(a AS UNSIGNED BIG INT)``), and a
model or a gold query may be anything. What needs a tree asks here and does without where there is
none.
"""

from __future__ import annotations

import re

from sqlglot import TokenType, exp
from sqlglot.dialects import SQLite
from sqlglot.errors import SqlglotError

#: Longest text that is read, in characters: seven times the longest gold query of Spider and BIRD.
#: The time to read and compare such a text stays under a second, whatever it says.
LONGEST = 10_000

_SQLITE = SQLite()
_SEMICOLON = TokenType.SEMICOLON
_LOOSE = re.compile(r"([<>!])\s+=")


def parse(sql: str) -> exp.Expr | None:
    """The tree of the first statement of a text; None if sqlglot cannot read it.

    What follows a semicolon is not looked at. Spider writes ``> =`` for ``>=``, which is tried
    closed up if the text does not parse as it is.

    >>> parse("SELECT a FROM t WHERE b > = 2").sql("sqlite")
    'SELECT a FROM t WHERE b >= 2'
    >>> parse("SELECT a FROM t WHERE if > 2") is None
    True
    """
    if len(sql) > LONGEST:
        return None
    tree = _parsed(sql)
    if tree is None and _LOOSE.search(sql):
        tree = _parsed(_LOOSE.sub(r"\1=", sql))
    return tree


def parse_query(sql: str) -> exp.Query | None:
    """:func:`parse`, and None for what is no query: VALUES, or a statement that changes data."""
    tree = parse(sql)
    return tree if isinstance(tree, exp.Query) else None


def _parsed(sql: str) -> exp.Expr | None:
    try:
        tokens = _SQLITE.tokenize(sql)
        ends = (place for place, token in enumerate(tokens) if token.token_type is _SEMICOLON)
        found = _SQLITE.parser().parse(tokens[: next(ends, len(tokens))], sql)
    except (SqlglotError, RecursionError):
        return None
    return found[0] if found else None

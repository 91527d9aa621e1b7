"""Parsing SQL with sqlglot; a text that cannot be parsed gives None, not an error.

SQLite accepts more than sqlglot parses (``WHERE if > 2``, ``CAST(a AS UNSIGNED BIG INT)``), and
models write anything. Callers must be able to do without a tree.
"""

from __future__ import annotations

import re

from sqlglot import TokenType, exp
from sqlglot.dialects import SQLite
from sqlglot.errors import SqlglotError

#: Longest text that is parsed, in characters: 7 times the longest gold query of Spider and BIRD.
#: Parsing and comparing any text of this length takes less than a second.
LONGEST = 10_000

_SQLITE = SQLite()
_SEMICOLON = TokenType.SEMICOLON
_LOOSE = re.compile(r"([<>!])\s+=")


def parse(sql: str) -> exp.Expr | None:
    """The tree of the first statement of a text; None if sqlglot cannot parse it.

    Text after a semicolon is ignored. Spider writes ``> =`` for ``>=``; the space is removed if the
    text does not parse otherwise.

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
    """:func:`parse`, but None for VALUES and for statements that are not queries."""
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

"""Names of tables and columns: quoting, and comparing them as SQLite does."""

from __future__ import annotations

import re
import string

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
#: Keywords that SQLite does not accept as names everywhere unless they are quoted
#: (see https://sqlite.org/lang_keywords.html).
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "add all alter and as autoincrement between case cast check collate commit constraint "
        "create current_date current_time current_timestamp default deferrable delete distinct "
        "drop else escape except exists foreign from group having if in index insert intersect "
        "into is isnull join limit not nothing notnull null on or order primary raise references "
        "returning select set table then to transaction union unique update using values when "
        "where",
    )
)


def folded(name: str) -> str:
    """A name as SQLite compares it: only the letters A to Z are folded to lower case.

    >>> folded("Straße À")
    'straße À'
    """
    return name.lower() if name.isascii() else name.translate(_LOWER)


def quote_identifier(name: str) -> str:
    """Quote a name for SQLite, doubling the quotes inside it.

    >>> quote_identifier("unit price")
    '"unit price"'
    """
    return '"' + name.replace('"', '""') + '"'


def identifier(name: str) -> str:
    """A name as it is written in a query: quoted only if necessary.

    >>> identifier("price"), identifier("unit price"), identifier("order")
    ('price', '"unit price"', '"order"')
    """
    plain = _PLAIN_NAME.fullmatch(name) and name.lower() not in _KEYWORDS
    return name if plain else quote_identifier(name)

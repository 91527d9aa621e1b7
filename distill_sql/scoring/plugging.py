"""The official evaluator's ``plug_value`` mode: a prediction is right if gold values make it so.

For systems that predict no values, and to see how much of a score is values. Literals in the
prediction become slots, and every way to fill them with the gold query's literals is tried. What is
a literal is decided by the evaluator's own text rules on the tokens of ``sqlparse``
(taoyds/test-suite-sql-eval, commit e97acc5, ``parse.py``), kept here with their oddities: a number
counts only if it stands alone, a word that begins with ``T`` and a number inside a longer name do
not, and the whole text but the values is lowered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from sqlparse.engine import FilterStack
from sqlparse.filters import KeywordCaseFilter, SerializerUnicode
from sqlparse.tokens import Literal, Whitespace

from distill_sql.scoring.clock import UNLIMITED, Clock
from distill_sql.sql.sandbox import SQL_BYTES

#: Stands for a value in a query without values. Fixed by the official evaluator.
SLOT = "VALUERARE"

_STRINGS = {Literal.String.Single, Literal.String.Symbol}
# The evaluator's is ``[-+]?\d*\.\d+``, which finds the same, and looks at a long number again from
# each of its digits.
_DECIMAL = re.compile(r"[-+]?(?:(?<!\d)\d++)?\.\d+")
_INTEGER = re.compile(r"[^tT]\d+")
_ALIAS_DOT = re.compile(r"(T\d+\.)\s")
_ALIAS = re.compile(r"[Tt]\d+\.")
_STARS = ("t1.*", "t2.*", "t3.*", "T1.*", "T2.*", "T3.*")


class _Watch:
    """A filter of ``sqlparse`` that looks at the clock at every token."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def process(self, stream: Iterator[tuple[object, str]]) -> Iterator[tuple[object, str]]:
        for token in stream:
            self._clock.check()
            yield token


def first_statement(sql: str, clock: Clock = UNLIMITED) -> list[tuple[object, str]]:
    """The tokens of the first statement of a text, each with its ``sqlparse`` type."""
    stack = FilterStack()
    if clock is not UNLIMITED:
        stack.preprocess.append(_Watch(clock))
    statement = next(stack.run(sql), None)
    return [(token.ttype, token.value) for token in statement.flatten()] if statement else []


def _upper_keywords(sql: str, clock: Clock) -> str:
    """``sqlparse.format(sql, keyword_case="upper")``."""
    stack = FilterStack()
    stack.preprocess += (_Watch(clock), KeywordCaseFilter("upper"))
    stack.postprocess.append(SerializerUnicode())
    return "".join(stack.run(sql))


def fillings(gold_sql: str, pred_sql: str, clock: Clock = UNLIMITED) -> Iterator[str]:
    """The prediction with gold values in its slots, every way there is; in an order of its own.

    There are ``values ** slots`` of them, so take them one at a time. A prediction without literals
    gives itself, spaced out; one with literals and a gold query without gives nothing, nor does one
    that is too long to be run. Raises :class:`~distill_sql.scoring.clock.OutOfTime` if ``clock``
    runs out on the way.

    >>> list(fillings("SELECT a FROM t WHERE b = 3", "SELECT a FROM t WHERE b > 'x'"))
    ['select a from t where b > 3']
    """
    if len(pred_sql) > SQL_BYTES:
        return
    values = sorted(set(_split(gold_sql, clock)[1]))
    template = _split(pred_sql, clock)[0]
    slots = [place for place, token in enumerate(template) if token == SLOT.lower()]
    for chosen in product(values, repeat=len(slots)):
        clock.check()
        for place, value in zip(slots, chosen, strict=True):
            template[place] = value
        yield " ".join(template)


def _split(sql: str, clock: Clock) -> tuple[list[str], list[str]]:
    """A query's tokens with slots for its values, and the values."""
    sql = sql.strip().replace(";", "").replace("\t", "")
    sql = " ".join(text for kind, text in first_statement(sql, clock) if kind is not Whitespace)
    for star in _STARS:
        sql = sql.replace(star, "*")
    sql = _ALIAS_DOT.sub(r"\1", _upper_keywords(sql, clock))

    values = [text for kind, text in first_statement(sql, clock) if kind in _STRINGS]
    for value in values:
        clock.check()
        sql = sql.replace(value.strip(), SLOT)
    tokens = sql.split()
    decimals = set(_DECIMAL.findall(sql))
    values += [token for token in tokens if token in decimals]
    tokens = [SLOT if token in decimals else token for token in tokens]
    integers = {found.strip() for found in _INTEGER.findall(" ".join(tokens))}
    values += [token for token in tokens if token in integers]
    tokens = [SLOT if token in integers else token for token in tokens]

    words: list[str] = []
    for token in tokens:
        parts = token.replace(".", " . ").split() if _ALIAS.search(token) else [token]
        words += [part.lower() for part in parts]
    return words, values

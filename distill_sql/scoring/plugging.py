"""The official evaluator's ``plug_value`` mode: gold values are plugged into a prediction.

It is meant for systems that predict no values, and shows how much of a score depends on values. The
literals of a prediction become slots, and all combinations of the gold query's literals are tried
in them. The evaluator finds literals by text rules on the tokens of ``sqlparse``
(taoyds/test-suite-sql-eval, commit e97acc5, ``parse.py``), which are kept with their quirks: a
number counts only if it stands alone, and not after ``T`` or inside a longer name; all text except
the values is lower-cased.
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

#: The placeholder of a value, as in the official evaluator.
SLOT = "VALUERARE"

_STRINGS = {Literal.String.Single, Literal.String.Symbol}
# The pattern of the evaluator, ``[-+]?\d*\.\d+``, finds the same in quadratic time.
_DECIMAL = re.compile(r"[-+]?(?:(?<!\d)\d++)?\.\d+")
_INTEGER = re.compile(r"[^tT]\d+")
_ALIAS_DOT = re.compile(r"(T\d+\.)\s")
_ALIAS = re.compile(r"[Tt]\d+\.")
_STARS = ("t1.*", "t2.*", "t3.*", "T1.*", "T2.*", "T3.*")


class _Watch:
    """A filter of ``sqlparse`` that checks the clock at every token."""

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
    """The prediction with every combination of gold values in its slots, in no particular order.

    There are ``values ** slots`` of them, so consume them lazily. A prediction without literals
    yields itself, with spaces between its tokens. Nothing is yielded for a prediction that is too
    long to be run, or that has literals while the gold query has none. Raises
    :class:`~distill_sql.scoring.clock.OutOfTime` if ``clock`` runs out.

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
    """The tokens of a query with slots for its values, and the values."""
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

"""Answers that can only be queries on their database: decoding by a grammar of its schema.

A small model often writes a column that does not exist, or one of a table that the query does not
read. A grammar made from the schema leaves it no such token (constrained decoding; Scholak et al.,
*PICARD*, EMNLP 2021, reject them with a parser instead). Where the likeliest token is allowed,
nothing changes and next to nothing is computed; elsewhere the likeliest of the allowed is taken.

The grammar covers what Spider's queries are made of: SELECT on one table or on joined ones, nested
queries, set operations, the usual functions. An alias is a letter and digits, or few letters and
digits (``T1``). A query on more than two tables, or on two that no foreign key joins, must say
whose each column is. WITH and window functions are outside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distill_sql.data.schema import Schema
from distill_sql.errors import MissingDependencyError, PredictionError
from distill_sql.models.protocol import Writer

if TYPE_CHECKING:
    import numpy as np

    from distill_sql.prompting.tokenizer import ChatTokenizer

#: What SQLite computes, as far as questions of the kind ask for it.
_FUNCTIONS = (
    "sum|avg|min|max|abs|round|length|lower|upper|substr|coalesce|ifnull|date|strftime|julianday"
)
#: What no name may be.
_KEYWORDS = (
    "select|distinct|from|where|group|having|order|by|limit|offset|union|intersect|except|"
    "join|on|as|and|or|not|in|is|null|like|between|exists|case|when|then|else|end|all"
)

#: An answer in llguidance's notation, which is nearly Lark's, but that "word"i means the word in
#: capitals or in small letters. {cores} are the kinds of SELECT that the schema allows.
_ANSWER = r"""
start: open WS query (WS? ";")? WS "```"
open[lazy]: /(?s:.*)```sql/
query: core | core (WS SETS (WS "all"i)? WS core)+ (WS "order by"i WS by)? limit?
core: {cores}
SETS: /union|intersect|except|UNION|INTERSECT|EXCEPT/
limit: WS "limit"i WS NUMBER (WS "offset"i WS NUMBER)?
by: way (COMMA way)*
way: (any_c | NAME | NUMBER | /count/i WS? "(" WS? ("*" | any_c) WS? ")") (WS WAY)?
WAY: /asc|desc|ASC|DESC/
next: WS JOIN WS | COMMA
JOIN: /((left|inner|cross) )?join|((LEFT|INNER|CROSS) )?JOIN/
FUNCTION: /{functions}/
COMPARE: /=|==|!=|<>|<=|>=|<|>/
MATH: /[-+*\/%]|\|\|/
NUMBER: /-?\d+(\.\d+)?/
STRING: /'([^'`\n]|'')*'|"[^"`\n]*"/
ALIAS: /[A-Za-z]\d{0,2}|[A-Za-z]{2,3}\d{1,2}/
NAME: /[A-Za-z_]\w*/ & ~/{keywords}/i
values: (NUMBER | STRING) (COMMA (NUMBER | STRING))*
nested: "(" WS? query WS? ")"
derived: nested (WS ("as"i WS)? ALIAS)?
WS: / |\n {0,12}/
COMMA: / ?,( |\n {0,12})?/
"""

#: A SELECT from {source} whose columns are {column}.
_SELECT = r"""
core_{x}: "select"i WS ("distinct"i WS?)? items_{x} WS "from"i WS {source} rest_{x}
rest_{x}: (WS "where"i WS condition_{x})? groups_{x}? (WS "order by"i WS by_{x})? limit?
on_{x}: WS "on"i WS condition_{x}
groups_{x}: WS "group by"i WS list_{x} (WS "having"i WS condition_{x})?
items_{x}: item_{x} (COMMA item_{x})*
item_{x}: "*" | {owner} "." "*" | value_{x} (WS "as"i WS NAME)?
list_{x}: value_{x} (COMMA value_{x})*
by_{x}: value_{x} (WS WAY)? (COMMA value_{x} (WS WAY)?)*
value_{x}: term_{x} (WS? MATH WS? term_{x})*
term_{x}: {column} | NUMBER | STRING | "null"i | nested | "(" WS? value_{x} WS? ")"
  | /count/i WS? "(" WS? ("*" | ("distinct"i WS?)? value_{x}) WS? ")"
  | FUNCTION WS? "(" WS? ("distinct"i WS?)? list_{x} WS? ")"
  | "cast"i WS? "(" WS? value_{x} WS "as"i WS NAME WS? ")"
  | "iif"i WS? "(" WS? condition_{x} COMMA value_{x} COMMA value_{x} WS? ")"
  | "case"i when_{x}+ (WS "else"i WS value_{x})? WS "end"i
when_{x}: WS "when"i WS condition_{x} WS "then"i WS value_{x}
condition_{x}: test_{x} (WS ("and"i | "or"i) WS test_{x})*
test_{x}: ("not"i WS)? ("(" WS? condition_{x} WS? ")" | "exists"i WS? nested)
  | value_{x} WS? COMPARE WS? value_{x}
  | value_{x} WS "is"i WS ("not"i WS)? "null"i
  | value_{x} WS ("not"i WS)? "in"i WS? (nested | "(" WS? values WS? ")")
  | value_{x} WS ("not"i WS)? "like"i WS value_{x}
  | value_{x} WS ("not"i WS)? "between"i WS value_{x} WS "and"i WS value_{x}
"""


def grammar_of(schema: Schema) -> str:
    """The answers that ask a database something it has, in llguidance's notation."""
    tables = schema.tables
    place = {table.name.lower(): n for n, table in enumerate(tables)}
    rules, cores = [], []

    def select(x: str, source: str, owner: str, column: str) -> None:
        rules.append(_SELECT.format(x=x, source=source, owner=owner, column=column))
        cores.append(f"core_{x}")

    for n, table in enumerate(tables):
        rules += [
            f"t{n}: {_spellings(table.name)}",
            f'a{n}: t{n} WS ("as"i WS)? ALIAS',
            f"c{n}: " + " | ".join(_spellings(column.name) for column in table.columns),
        ]
        select(f"t{n}", f"t{n}", f"t{n}", f'(t{n} ".")? c{n}')
        select(f"a{n}", f"a{n}", "ALIAS", f'(ALIAS ".")? c{n}')
    joined = {
        tuple(sorted((place[key.table.lower()], place[key.ref_table.lower()])))
        for key in schema.foreign_keys
    }
    for one, two in sorted(joined | {(n, n) for n in range(len(tables))}):
        for letter, mine, other in (("t", f"t{one}", f"t{two}"), ("a", "ALIAS", "ALIAS")):
            x, left, right = f"{letter}{one}_{two}", f"{letter}{one}", f"{letter}{two}"
            source = f"({left} next {right} | {right} next {left}) on_{x}?"
            columns = f'({mine} ".")? c{one} | ({other} ".")? c{two}'
            select(x, source, f"({mine} | {other})", columns)
    everyone = range(len(tables))
    rules += [f"any_{letter}: " + " | ".join(f"{letter}{n}" for n in everyone) for letter in "tac"]
    own = " | ".join(f't{n} "." c{n}' for n in everyone)
    select("t", "any_t (next any_t on_t?)+", "any_t", own)
    select("a", "any_a (next any_a on_a?)+", "ALIAS", 'ALIAS "." any_c')
    anything = "derived (next (derived | any_a | any_t) on_d?)*"
    select("d", anything, "(any_t | ALIAS)", '((any_t | ALIAS) ".")? (any_c | ALIAS)')
    answer = _ANSWER.replace("{cores}", " | ".join(cores))
    answer = answer.replace("{functions}", f"{_FUNCTIONS}|{_FUNCTIONS.upper()}").replace(
        "{keywords}", _KEYWORDS
    )
    return re.sub(r'"([a-z ]+)"i', _in_either_case, answer + "\n".join(rules))


def _in_either_case(word: re.Match[str]) -> str:
    return f'("{word[1].upper()}" | "{word[1]}")'


def _spellings(name: str) -> str:
    """A name as SQLite takes it: in any case, in quotes or not."""
    ways = [f'"{name}"', f"`{name}`"]
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        ways.append(name)
    return " | ".join(f"/(?i:{_literal(way)})/" for way in ways)


def _literal(text: str) -> str:
    """A pattern that only ``text`` matches: llguidance knows fewer escapes than re.escape uses."""
    return re.sub(r"[^\w\s]", lambda found: f"\\x{{{ord(found[0]):x}}}", text)


def vocabulary(tokenizer: ChatTokenizer) -> Any:
    """A model's tokens as llguidance takes them, made once for all schemas.

    Raises :class:`MissingDependencyError` without llguidance.
    """
    try:
        from llguidance import LLTokenizer
    except ImportError as error:
        raise MissingDependencyError(
            "Decoding by a grammar needs llguidance: pip install 'distill-sql[train]'."
        ) from error
    return LLTokenizer(tokenizer.backend.to_str(), eos_token=tokenizer.encode("<|im_end|>")[0])


class QueryGrammar:
    """The grammar of one schema over the tokens of one model, which :func:`vocabulary` made.

    Raises :class:`PredictionError` for a schema that it cannot take.
    """

    def __init__(self, schema: Schema, tokens: Any) -> None:
        from llguidance import LLMatcher

        self._tokens = tokens
        self._start = LLMatcher(tokens, LLMatcher.grammar_from_lark(grammar_of(schema)))
        if self._start.is_error():
            raise PredictionError(
                f"No grammar can be made of {schema.db_id}'s schema: {self._start.get_error()} "
                "Answer without one."
            )

    def writer(self) -> Writer:
        """One answer's: scores of all tokens, a vector, to the next token."""
        import numpy as np

        matcher = self._start.deep_copy()

        def choose(scores: np.ndarray[Any, Any]) -> int:
            if matcher.is_stopped():
                return int(self._tokens.eos_token)
            token = int(scores.argmax())
            if not matcher.validate_tokens([token]):
                packed = np.frombuffer(matcher.compute_bitmask(), np.uint8)
                bits = np.unpackbits(packed, bitorder="little")[: len(scores)]
                allowed = np.flatnonzero(bits)
                token = int(allowed[scores[allowed].argmax()])
            matcher.consume_token(token)
            return token

        return choose

    def takes(self, answer: str) -> bool:
        """Whether a whole answer, its code block closed, is one of the grammar's."""
        tokens = self._tokens.tokenize_str(answer)
        return bool(self._start.deep_copy().validate_tokens(tokens) == len(tokens))

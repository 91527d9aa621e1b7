"""Constrained decoding: a grammar built from a schema allows only its tables and columns.

A small model often writes a column that does not exist, or that belongs to a table outside the
query. The grammar excludes such tokens (Scholak et al., *PICARD*, EMNLP 2021, reject them with a
parser instead). If the top token is allowed, it is used, at almost no cost; otherwise the best
allowed token is used.

An answer is a query alone, or any text and then a query in a code block. Both must be possible:
Qwen2.5-Coder-0.5B gives four of five Spider queries without a block, and if only a block could end
an answer, it would go on with text up to the limit of tokens.

The grammar covers the constructs of Spider's queries: SELECT on one table or on joined tables,
nested queries, set operations, common functions. An alias is a letter with up to two digits, or two
to three letters with digits (``T1``). In a query on more than two tables, or on two tables without
a foreign key, every column must be qualified. WITH and window functions are not covered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distill_sql.data.schema import Schema
from distill_sql.errors import MissingDependencyError, PredictionError
from distill_sql.models.protocol import Writer

if TYPE_CHECKING:
    import numpy as np
    from llguidance import LLTokenizer

    from distill_sql.prompting.tokenizer import ChatTokenizer

#: SQLite's functions that such questions need.
_FUNCTIONS = (
    "sum|avg|min|max|abs|round|length|lower|upper|substr|coalesce|ifnull|date|strftime|julianday"
)
#: Keywords, which cannot be names.
_KEYWORDS = (
    "select|distinct|from|where|group|having|order|by|limit|offset|union|intersect|except|"
    "join|on|as|and|or|not|in|is|null|like|between|exists|case|when|then|else|end|all"
)

#: llguidance's limits per token, far above its defaults: on a schema of ten tables or more so many
#: SELECT rules are possible before FROM that the default limits end an answer after its first name.
_LIMITS: dict[str, Any] = {
    "max_items_in_row": 5_000_000, "step_max_items": 50_000_000, "step_lexer_fuel": 50_000_000,
}  # fmt: skip

#: An answer in llguidance's notation, which resembles Lark's. "word"i stands for the word in upper
#: or lower case. {cores} are the SELECT rules of the schema. The text before a code block does not
#: start with SELECT: such an answer is a query alone.
_ANSWER = r"""
start: open WS query (WS? ";")? WS "```" | query (WS? ";")? (WS? "```")?
open[lazy]: /(?s:.*)```sql/ & ~/(SELECT|select)(\W(?s:.*))?/
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
    """The grammar of answers with a query on this schema, in llguidance's notation."""
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
    """A name as SQLite accepts it: in any case, quoted or not."""
    ways = [f'"{name}"', f"`{name}`"]
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        ways.append(name)
    return " | ".join(f"/(?i:{_literal(way)})/" for way in ways)


def _literal(text: str) -> str:
    """A pattern that matches ``text`` only; llguidance lacks some of the escapes of re.escape."""
    return re.sub(r"[^\w\s]", lambda found: f"\\x{{{ord(found[0]):x}}}", text)


def vocabulary(tokenizer: ChatTokenizer) -> LLTokenizer:
    """A model's vocabulary in llguidance's format, for the grammars of all schemas.

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
    """The grammar of one schema over a :func:`vocabulary`.

    Raises :class:`PredictionError` for a schema that llguidance does not support.
    """

    def __init__(self, schema: Schema, tokens: LLTokenizer) -> None:
        from llguidance import LLMatcher, LLParserLimits

        self._tokens = tokens
        self._start = LLMatcher(
            tokens,
            LLMatcher.grammar_from_lark(grammar_of(schema)),
            limits=LLParserLimits(**_LIMITS),
        )
        if self._start.is_error():
            raise PredictionError(
                f"No grammar can be built from {schema.db_id}'s schema: {self._start.get_error()} "
                "Answer without a grammar."
            )

    def writer(self) -> Writer:
        """The constrained choice of tokens for one answer."""
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
        """Whether the grammar accepts an answer as complete."""
        matcher, tokens = self._start.deep_copy(), self._tokens.tokenize_str(answer)
        # A token that is not allowed would print a warning when it is consumed.
        if matcher.validate_tokens(tokens) < len(tokens):
            return False
        return bool(matcher.consume_tokens(tokens) and matcher.is_accepting())

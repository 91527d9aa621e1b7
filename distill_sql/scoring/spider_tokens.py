"""Spider's tokenizer: the official ``tokenize``, and the NLTK word splitter that it calls.

The official code is taoyds/test-suite-sql-eval (commit e97acc5, ``process_sql.py``).
"""

from __future__ import annotations

import re

from distill_sql.scoring.spider_query import SpiderSqlError

# Always tokens of their own. Two backquotes are one token; a single one, as in `name`, is a token
# too, so a name in backquotes never parses.
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

    Single and double quotes both mark strings, also around names. A doubled quote inside a string
    ends it and starts another (two adjacent strings are one unknown token). Strings keep their
    case; the rest is lower-cased. A ``=`` that is a token by itself joins a ``!``, ``<`` or ``>``
    before it, with or without a space: ``a >=1`` is ``a``, ``>``, ``=1``.

    >>> tokenize("SELECT Name FROM t WHERE a ! = 'It' AND b>1,2")
    ['select', 'name', 'from', 't', 'where', 'a', '!=', '"It"', 'and', 'b', '>', '1,2']
    """
    pieces = sql.replace("'", '"').split('"')
    if len(pieces) % 2 == 0:
        raise SpiderSqlError(
            f"Found {len(pieces) - 1} quotes in a query; expected an even number. The usual cause "
            "is an apostrophe inside a string; score such a query by execution."
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

    These rules can matter to SQL, in NLTK's order. A final period is a token. Brackets, ``;``,
    ``*``, ``%``, ``!`` and similar characters are tokens. So are a comma and a colon, unless a
    digit follows (``1,2`` stays whole). Two or more periods are one token, and so is ``--``.
    ``cannot``, ``gimme``, ``gonna``, ``gotta``, ``lemme`` and ``wanna`` are two tokens. ``=``,
    ``+``, ``-`` and ``/`` do not split.

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

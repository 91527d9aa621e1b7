"""The words of lessons: phrasings in two languages, and conditions on drawn values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pocket.patterns import Draft
from distill_sql.pocket.phrases import Filter, Speaker, sql_value
from distill_sql.pocket.questions import polished
from distill_sql.pretraining.lexicon import plural
from distill_sql.pretraining.world_columns import FRONT, draw_values

Language = Literal["rich", "terse"]

#: The share of questions composed from parts, for patterns that also have whole sentences.
COMPOSED = 0.65
#: The share of questions for an aggregate that do not name its function.
IN_OTHER_WORDS = 0.3
#: The share of openings with an arbitrary verb: any verb asks for what follows.
ANY_VERB = 0.1
#: The probability that a value comes before its noun, or replaces it.
FRONTED = 0.25
#: The assumed numbers of rows of a table: groups may be small or large.
ROWS = (12, 12, 40, 300)
#: The slots that hold nouns, and the marker around them while a question is composed.
NOUNS = frozenset(
    ("thing", "things", "child", "children", "parent", "parents", "others", "bridges")
)
NOUN = "\x02"

_SOURCE: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "phrasings.toml").read_text(encoding="utf-8")
)
VARIANTS: dict[str, list[str]] = _SOURCE.pop("variants")
CONDITIONS: dict[str, list[str]] = _SOURCE.pop("conditions")
FUNCTIONS: dict[str, list[str]] = _SOURCE.pop("functions")
ASKS: dict[str, list[str]] = _SOURCE.pop("asks")
FIGURES: dict[str, list[str]] = _SOURCE.pop("figures")
PHRASINGS = _SOURCE


def phrasings(
    random: Random, name: str, language: Language, sql: str, *, unsaid: bool = False
) -> list[str]:
    """The possible templates for a question of pattern ``name`` that ``sql`` answers.

    With ``unsaid``, the question need not name the label column that it asks for.

    >>> phrasings(Random(1), "count all", "terse", "SELECT count(*) FROM tree")
    ['count {things}', '{things} : count']
    """
    words = PHRASINGS[name]
    if language == "terse":
        return list(words["terse"])
    unsaid = unsaid and "unsaid" in words
    whole = words.get("unsaid" if unsaid else "rich", [])
    asks = ASKS.get(words.get("names" if unsaid else "asks", ""), [])
    function = re.search(r"\b(avg|sum|max|min)\(", sql)
    if words.get("asks") == "figure" and function and random.random() < IN_OTHER_WORDS:
        asks = FIGURES[function[1]]
    if not asks or (whole and random.random() > COMPOSED):
        return list(whole)
    sets = words.get("sets") or words["ones"]
    return [composed(words, ask, what) for ask in asks for what in sets]


def composed(words: Mapping[str, Any], ask: str, what: str) -> str:
    """The opening ``ask``, with its column and the phrase ``what`` for the rows filled in."""
    return ask.replace("{set}", what).replace("{ask}", words.get("ask", "{col}"))


def expanded(random: Random, template: str, verb: str = "") -> str:
    """A template with each ``<word>`` replaced by a variant and each ``[a|b]`` by an alternative.

    Sometimes ``verb`` is used instead of a variant of ``<verb>``.

    >>> expanded(Random(1), "[see|look [at|upon]] {things}")
    'see {things}'
    """
    pattern = re.compile(r"<(\w+)>|\[([^\[\]<>]*)\]")

    def choice(match: re.Match[str]) -> str:
        if match[1] == "verb" and verb and random.random() < ANY_VERB:
            return verb
        return str(random.choice(VARIANTS[match[1]] if match[1] else match[2].split("|")))

    while pattern.search(template):
        template = pattern.sub(choice, template)
    return template


def phrase(random: Random, template: str, draft: Draft, language: Language, verb: str = "") -> str:
    """A drawn question in words, sometimes with a small word, capital or closing mark left out."""
    slots = dict(draft.slots)
    for noun in NOUNS & slots.keys():
        slots[noun] = f"{NOUN}{slots[noun]}{NOUN}"
    if language == "terse":
        return " ".join(before_nouns(random, template.format(**slots)).split())
    for slot in ("function", "above"):
        if slot in slots and random.random() < 0.4:
            slots[slot] = random.choice(FUNCTIONS[slots[slot]])
    template = template.replace("{link}", f"<link{slots.get('link', 'and')}>")
    template = expanded(random, template, verb)
    if random.random() < 0.1:
        little = list(re.finditer(r"\b(?:the|of|all|a|do|are|is|that|in|have)\b ", template))
        if little:
            dropped = random.choice(little)
            template = template[: dropped.start()] + template[dropped.end() :]
    words = polished(before_nouns(random, template.format(**slots)))
    words = re.sub(r"(?<=[.?:] )[a-z]", lambda match: match[0].upper(), words)
    words = re.sub(r" ([,;?.:])", r"\1", words)
    return words.rstrip(".?") if random.random() < 0.1 else words


def before_nouns(random: Random, text: str) -> str:
    """Move each marked condition before its noun; sometimes it replaces the noun.

    >>> before_nouns(Random(2), "how many \x02trees\x02 \x01old\x01")
    'how many old trees'
    """

    def moved(match: re.Match[str]) -> str:
        noun, value = match[1], match[2]
        if noun.endswith("s") and re.fullmatch("[a-z]+", value) and random.random() < 0.25:
            return plural(value)
        return f"{value} {noun}"

    text = re.sub(f"{NOUN}([^{NOUN}]*){NOUN} {FRONT}([^{FRONT}]*){FRONT}", moved, text)
    return re.sub(f"[{NOUN}{FRONT}]", "", text)


class WorldSpeaker(Speaker):
    """Speaks about a world. It has no rows, so values are drawn on demand."""

    def __init__(self, world: Domain, random: Random, language: Language, synonyms: float) -> None:
        self.domain = world
        self.random = random
        self.language = language
        self.synonyms = synonyms

    def say(self, words: Sequence[str]) -> str:
        """The first word, or one of its synonyms with the probability ``synonyms``."""
        if len(words) > 1 and self.random.random() < self.synonyms:
            return str(self.random.choice(words[1:]))
        return words[0]

    def values(self, table: TableSpec, column: ColumnSpec) -> list[Any]:
        """Sorted values that the column could hold, for a few rows or many."""
        return sorted(draw_values(self.random, column, self.pick(ROWS)))

    def _category(self, column: ColumnSpec, value: Any) -> Filter:
        condition = f"{{t}}{column.name} = {sql_value(value)}"
        name = self.say(column.says)
        if self.language == "terse":
            return Filter(condition, f"{name} {value}", column.name)
        if isinstance(value, str) and self.random.random() < FRONTED:
            return Filter(condition, f"{FRONT}{value}{FRONT}", column.name)
        if column.where and self.random.random() < 0.6:
            return Filter(condition, self.pick(column.where).format(v=value), column.name)
        words = self.pick(CONDITIONS["equal"]).format(name=name, value=value)
        return Filter(condition, words, column.name)

    def _threshold(self, column: ColumnSpec, value: Any) -> Filter:
        name = self.say(column.says)
        more = self.random.random() < 0.5
        date = column.type == "date"
        value = value if date else _round(self.random, value)
        condition = f"{{t}}{column.name} {'>' if more else '<'} {sql_value(value)}"
        if self.language == "terse":
            sign = ("after" if more else "before") if date else ("over" if more else "under")
            return Filter(condition, f"{name} {sign} {value}", column.name)
        if date:
            words = self.pick(CONDITIONS["later" if more else "earlier"])
        elif self.random.random() < 0.6:
            words = self.pick(column.above if more else column.below).replace("{v}", "{value}")
        else:
            words = self.pick(CONDITIONS["more" if more else "less"])
        words = words.format(name=name, value=value, unit=column.unit, what=column.unit or name)
        return Filter(condition, words.rstrip(), column.name)


def _round(random: Random, value: float) -> float:
    """A threshold, rounded most of the time."""
    if isinstance(value, int) and abs(value) >= 100 and random.random() < 0.7:
        return int(value // 10 * 10)
    return value

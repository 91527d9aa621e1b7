"""Worlds of pretraining: databases that no one keeps, with what people would call their parts.

A world is a :class:`~distill_sql.pocket.domains.Domain`, so the question patterns of the pocket
benchmark apply to it. Everything in it is drawn: tables, columns, keys and values from WordNet's
words and invented ones, synonyms from the same meaning or the next wider one. Some synonyms have
nothing to do with the name: a schema that lists them is the only way to know.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pretraining.lexicon import (
    PERSON,
    Lexicon,
    Sense,
    invented,
    past,
    plural,
)

#: Share of names that are invented rather than taken from the dictionary.
INVENTED = 0.12
#: Share of other names for a column that its schema name does not suggest.
UNRELATED = 0.05
#: Share of references that are not called by the key that they hold: models that met few of them
#: wrote the key's name in every join.
OTHERWISE = 0.35
#: Share of categories that are numbers.
NUMBERED = 0.12
#: Names of keys that say nothing about their table.
GENERIC_KEYS = ("id", "code_no")
#: The mark around a condition that may stand before its noun.
FRONT = "\x01"


class Quantity(NamedTuple):
    """Something measured: names, the adjectives of its two ends, units, a range, whether numbers
    are whole, and what the measured are said to do."""

    names: tuple[str, ...]
    most: tuple[str, ...]
    least: tuple[str, ...]
    units: tuple[str, ...]
    low: float
    high: float
    whole: bool
    does: tuple[str, ...] = ()


class Category(NamedTuple):
    """Something of a few kinds: names, usual values, and how people say that one holds."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    where: tuple[str, ...]


_SOURCE: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent / "worlds.toml").read_text(encoding="utf-8")
)
_LISTS = {"names", "most", "least", "units", "values", "where", "does"}


def _record(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in _LISTS else value for name, value in fields.items()}


QUANTITIES = [Quantity(**_record(fields)) for fields in _SOURCE["quantity"]]
CATEGORIES = [Category(**_record(fields)) for fields in _SOURCE["category"]]
WORDS: dict[str, list[Any]] = _SOURCE["words"]


def make_world(random: Random, lexicon: Lexicon, number: int, *, most: int = 6) -> Domain:
    """One world: one table to ``most``, nearly all of them linked by foreign keys."""
    return _Maker(random, lexicon).world(number, most)


class _Maker:
    def __init__(self, random: Random, lexicon: Lexicon) -> None:
        self.random = random
        self.lexicon = lexicon
        self.taken: set[str] = set()

    def world(self, number: int, most: int) -> Domain:
        count = min(most, self.random.choices((1, 2, 3, 4, 5, 6), (1, 3, 5, 5, 3, 1))[0])
        tables: list[TableSpec] = []
        prefixed = self.random.random() < 0.3
        for place in range(count):
            table = self.table(tables, prefixed=prefixed, last=place == count - 1)
            # The plural of one word may be another word.
            if table.name not in {other.name for other in tables}:
                tables.append(table)
        return Domain(f"world_{number}", "train", "", tuple(tables))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, items: Sequence[Any]) -> Any:
        return self.random.choice(items)

    def sense(self) -> Sense:
        for _ in range(20):
            if self.chance(INVENTED):
                sense = Sense((invented(self.random),), (), self.pick((PERSON, 6, 6)))
            else:
                sense = self.lexicon.things.draw(self.random)
            if sense.word not in self.taken and len(sense.word) < 16:
                break
        self.taken.add(sense.word)
        return sense

    def table(self, before: list[TableSpec], *, prefixed: bool, last: bool) -> TableSpec:
        bridge = len(before) >= 2 and self.chance(0.5 if last else 0.25)
        sense = self.sense()
        ones = [*sense.words[:3], *sense.wider[:1]]
        if self.chance(UNRELATED * 0.6):
            ones.insert(1, self.lexicon.things.draw(self.random).word)
        ones = list(dict.fromkeys(ones))[:4]
        name = (plural(ones[0]) if self.chance(0.2) else ones[0]).replace(" ", "_")
        who = sense.file == PERSON
        columns: dict[str, ColumnSpec] = {}
        key = self.key(ones[0].replace(" ", "_"))
        if key == name:
            key = f"{key}_id"

        def add(column: ColumnSpec | None) -> None:
            if column and column.name not in columns and column.name != name:
                columns[column.name] = column

        add(ColumnSpec(key, "integer", key=True))
        if not bridge or self.chance(0.2):
            add(self.label(ones[0], who=who, prefixed=prefixed))
        for parent in self.random.sample(
            before, k=min(len(before), 2 if bridge else self.pick((0, 1, 1)))
        ):
            add(self.reference(parent))
        makers = [self.category, self.measure]
        makers += self.random.choices(
            [self.category, self.measure, self.date, self.flag, self.other],
            (4, 4, 3, 2, 1.5),
            k=self.random.randint(0, 3),
        )
        for maker in self.random.sample(makers, len(makers)):
            column = maker(ones[0])
            if column.role in ("measure", "category", "other") and self.chance(0.12):
                column = replace(column, nulls=0.1)
            add(column)
        return TableSpec(
            name, tuple(ones), tuple(plural(one) for one in ones), 30, tuple(columns.values()), who
        )

    def key(self, table: str) -> str:
        """A primary key's name, which need not remind of its table."""
        if self.chance(0.6):
            return f"{table}_id"
        stem = self.pick((table, table[: self.random.randint(1, 4)], self.some_property()[0]))
        own = f"{stem.replace(' ', '_')}_{self.pick(('id', 'no', 'code', 'number', 'key'))}"
        return str(self.pick((own, own, *GENERIC_KEYS)))

    def says(self, words: Sequence[str]) -> tuple[str, ...]:
        """A column's names: the schema's own first, then other words for it."""
        own, *others = words
        others = [word for word in others if word != own]
        if self.chance(UNRELATED):
            strange = self.lexicon.properties.draw(self.random).word
            others = [strange, *others][: max(1, self.random.randint(1, 3))]
        return (own, *others[:3])

    def named(self, words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """A property's schema name and its names among people, from words with one meaning."""
        own, *others = self.random.sample(words, len(words))
        return own.replace(" ", "_"), self.says((own, *others))

    def some_property(self) -> tuple[str, ...]:
        if self.chance(INVENTED):
            return (invented(self.random),)
        sense = self.lexicon.properties.draw(self.random)
        return (*sense.words[:3], *sense.wider[:1])

    def label(self, table: str, *, who: bool, prefixed: bool) -> ColumnSpec:
        own, *others = (
            self.pick(WORDS["labels"])
            if not who
            else self.pick(
                (
                    ("name", "full name"),
                    ("full name", "name"),
                    ("surname", "family name", "last name"),
                )
            )
        )
        says = self.says((own, *others))
        name = own.replace(" ", "_")
        if prefixed or self.chance(0.25):
            name = f"{table.replace(' ', '_')}_{name}"
            if self.chance(0.5):
                says = (f"{table} {own}", own, *says[1:])
        if who:
            values = [
                f"{self.pick(WORDS['given'])} {self.pick(WORDS['family'])}" for _ in range(40)
            ]
        else:
            values = [self.proper() for _ in range(40)]
        return ColumnSpec(
            name, "text", role="label", says=says, values=tuple(dict.fromkeys(values))
        )

    def proper(self) -> str:
        """A name as things have it."""
        words = [
            self.lexicon.adjectives.draw(self.random).word,
            self.lexicon.things.draw(self.random).word,
            invented(self.random),
        ]
        made = self.random.sample(words, self.pick((1, 2, 2)))
        if self.chance(0.2):
            made.insert(0, "The")
        return " ".join(word.title() for word in made)

    def reference(self, parent: TableSpec) -> ColumnSpec:
        key = parent.keys[0]
        name = f"{parent.one[0].replace(' ', '_')}_{key}" if key in GENERIC_KEYS else key
        if self.chance(OTHERWISE):
            word = self.lexicon.things.draw(self.random).word.replace(" ", "_")
            name = self.pick((word, f"{word}_id", f"{word}_{parent.name}", f"{word}_{key}"))
        verb = (
            self.pick(WORDS["verbs"])
            if self.chance(0.6)
            else self.lexicon.verbs.draw(self.random).word.split(" ")[0]
        )
        if self.chance(0.5):
            own = (past(verb), past(verb))
        else:
            own = (verb, verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s"))
        phrase = self.pick(WORDS["prepositions"])
        if phrase.startswith("be "):
            belong = self.pick(
                (("are" + phrase[2:], "is" + phrase[2:]), ("were" + phrase[2:], "was" + phrase[2:]))
            )
        else:
            head, _, tail = phrase.partition(" ")
            belong = (phrase, f"{head}{'es' if head == 'go' else 's'} {tail}".strip())
        if self.chance(0.3):
            passive = f"{past(verb)} by"
            belong = (
                (f"were {passive}", f"was {passive}")
                if self.chance(0.5)
                else (f"are {passive}", f"is {passive}")
            )
        return ColumnSpec(
            name, "integer", references=f"{parent.name}.{key}", parent_verb=own, child_verb=belong,
            nulls=0.1 if self.chance(0.15) else 0.0,
        )  # fmt: skip

    def numbered(self) -> ColumnSpec:
        """A category whose values are small numbers, or years: asked for as they stand."""
        names = self.pick((*WORDS["numbered"], self.some_property(), self.some_property()))
        name, says = self.named(names)
        draw = self.random.randint
        first = self.pick((0, 1, 1, 1, 1, draw(2, 9), draw(1990, 2020)))
        values = tuple(range(first, first + draw(3, 8)))
        phrases = ("of {c} {v}", "with {c} {v}", "on {c} {v}", "in {c} {v}", "at {c} {v}")
        where = tuple(phrase.replace("{c}", self.pick(says)) for phrase in phrases)
        return ColumnSpec(name, "integer", role="category", says=says, values=values, where=where)

    def category(self, table: str) -> ColumnSpec:
        if self.chance(NUMBERED):
            return self.numbered()
        names, values, where = self.pick(CATEGORIES)
        if self.chance(0.4):
            names, values, where = self.some_property(), (), ()
        if not where or self.chance(0.2):
            where = ("of the {v} {c}", "with {v} {c}", "having {c} {v}", "with {c} {v}")
        name, says = self.named(names)
        if not values:
            source = self.pick(
                (self.lexicon.adjectives, self.lexicon.things, self.lexicon.properties)
            )
            drawn = [
                source.draw(self.random).word if not self.chance(0.1) else invented(self.random)
                for _ in range(6)
            ]
            form = self.pick((str, str, str.title, str.capitalize))
            values = tuple(form(word) for word in drawn)
        values = tuple(self.random.sample(values, min(len(values), self.random.randint(3, 6))))
        if self.chance(0.15):
            name = f"{table.replace(' ', '_')}_{name}"
        phrases = tuple(phrase.replace("{c}", self.pick(says)) for phrase in where)
        return ColumnSpec(name, "text", role="category", says=says, values=values, where=phrases)

    def measure(self, table: str) -> ColumnSpec:
        if self.chance(0.72):
            kind: Quantity = self.pick(QUANTITIES)
        else:
            low = self.pick((0, 1, 10, 100))
            kind = Quantity(
                self.some_property(),
                (),
                (),
                (self.pick(("units", "points", "", plural(invented(self.random)))),),
                low,
                low * 90 + 90,
                self.chance(0.6),
            )
        name, says = self.named(kind.names)
        unit = self.pick(kind.units)
        if unit and self.chance(0.25) and unit.isalpha():
            name = f"{name}_{unit[:3]}" if self.chance(0.5) else f"{name}_{unit}"
        if self.chance(0.12):
            name = f"num_{plural(name)}" if self.chance(0.5) else f"{name}_count"
            says = (f"number of {plural(says[0])}", *says[1:])
        most = (
            (
                *kind.most,
                f"{self.pick(('highest', 'greatest', 'largest'))}-{says[0].split(' ')[-1]}",
            )
            if self.chance(0.25) or not kind.most
            else kind.most
        )
        least = (
            (*kind.least, f"{self.pick(('lowest', 'smallest'))}-{says[0].split(' ')[-1]}")
            if self.chance(0.25) or not kind.least
            else kind.least
        )
        word, tail = self.pick(says), f" {unit}" if unit else ""
        above: tuple[str, ...] = (
            f"with more than {{v}}{tail} of {word}",
            f"with a {word} over {{v}}{tail}",
            f"exceeding {{v}}{tail}",
            f"above {{v}}{tail}",
            f"of more than {{v}}{tail}",
            f"with {word} greater than {{v}}",
        )
        below: tuple[str, ...] = (
            f"with less than {{v}}{tail} of {word}",
            f"with a {word} under {{v}}{tail}",
            f"below {{v}}{tail}",
            f"under {{v}}{tail}",
            f"of at most just under {{v}}{tail}",
            f"with {word} smaller than {{v}}",
        )
        if kind.most and not kind.most[0].startswith("most"):
            above += (f"{_comparative(kind.most[0])} than {{v}}{tail}",)
            below += (f"{_comparative(kind.least[0])} than {{v}}{tail}",)
        for does in kind.does:
            above += (
                f"that {does} more than {{v}}{tail}",
                f"{does.removesuffix('e')}ing over {{v}}{tail}",
            )
            below += (
                f"that {does} less than {{v}}{tail}",
                f"{does.removesuffix('e')}ing under {{v}}{tail}",
            )
        return ColumnSpec(
            name, "integer" if kind.whole else "real", role="measure", says=says,
            range=(kind.low, kind.high), decimals=1, unit=unit, most=most, least=least,
            above=above, below=below,
        )  # fmt: skip

    def date(self, table: str) -> ColumnSpec:
        if self.chance(0.5):
            names: tuple[str, ...] = self.pick(WORDS["dates"])
        else:
            verb = self.pick(WORDS["verbs"])
            names = (f"{past(verb)} on", f"{verb} date", f"date of {verb}")
        name, says = self.named(names)
        return ColumnSpec(name, "date", role="date", says=says, range=("1980-01-01", "2025-06-30"))

    def flag(self, table: str) -> ColumnSpec:
        sense = self.lexicon.adjectives.draw(self.random)
        word = self.pick(sense.words) if self.chance(0.5) else sense.word
        name = sense.word.replace(" ", "_")
        name = self.pick((name, name, f"is_{name}"))
        where1: tuple[str, ...] = (
            f"that are {word}",
            f"that are marked as {word}",
            f"being {word}",
            f"which are {word}",
            f"{FRONT}{word}{FRONT}",
            f"{FRONT}{word}{FRONT}",
        )
        where0: tuple[str, ...] = (
            f"that are not {word}",
            f"not marked as {word}",
            f"which are not {word}",
            f"that are not yet {word}",
            f"{FRONT}not {word}{FRONT}",
            f"{FRONT}non-{word}{FRONT}",
        )
        if self.chance(0.35):
            noun = self.lexicon.properties.draw(self.random)
            name = f"{self.pick(('has', 'with'))}_{noun.word}".replace(" ", "_")
            word = self.pick(noun.words)
            where1 = (
                f"with {word}",
                f"that have {word}",
                f"having {word}",
                f"which come with {word}",
            )
            where0 = (
                f"without {word}",
                f"that have no {word}",
                f"lacking {word}",
                f"not having {word}",
            )
        return ColumnSpec(
            name,
            "integer",
            role="flag",
            says=(f"{word} flag",),
            values=(0, 1),
            where1=where1,
            where0=where0,
        )

    def other(self, table: str) -> ColumnSpec:
        name, says = self.named(self.pick(WORDS["others"]))
        values = tuple(f"{invented(self.random)} {self.random.randint(1, 99)}" for _ in range(40))
        return ColumnSpec(name, "text", role="other", says=says, values=values)


def _comparative(superlative: str) -> str:
    """The comparative of a one-word superlative: tallest, taller."""
    irregular = {"best": "better", "worst": "worse", "farthest": "farther"}
    head, dash, tail = superlative.partition("-")
    if head in irregular:
        return irregular[head] + dash + tail
    return (
        (head.removesuffix("est") + "er" if head.endswith("est") else f"more {head}") + dash + tail
    )


def draw_values(random: Random, column: ColumnSpec, count: int) -> list[Any]:
    """``count`` values that the column could hold."""
    if column.key or column.references:
        return [random.randint(1, 40) for _ in range(count)]
    if column.values:
        return [random.choice(column.values) for _ in range(count)]
    low, high = column.range
    if column.type == "date":
        first, last = (datetime.date.fromisoformat(day).toordinal() for day in (low, high))
        return [
            datetime.date.fromordinal(random.randint(first, last)).isoformat() for _ in range(count)
        ]
    if column.type == "integer":
        # Small numbers as often as large ones, as in life, unless they are years.
        if low >= 1000:
            return [random.randint(int(low), int(high)) for _ in range(count)]
        return [int(low + (high - low) * random.random() ** 2) for _ in range(count)]
    return [round(low + (high - low) * random.random() ** 2, column.decimals) for _ in range(count)]

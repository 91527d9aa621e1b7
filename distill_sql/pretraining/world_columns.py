"""The columns of worlds: names, synonyms, values, and the phrases of conditions on them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from random import Random
from typing import Any

from distill_sql.pocket.domains import ColumnSpec, TableSpec
from distill_sql.pretraining.lexicon import Lexicon, invented, past, plural
from distill_sql.pretraining.quantities import CATEGORIES, QUANTITIES, WORDS, Quantity, thresholds

#: The share of invented names; the others are from the dictionary.
INVENTED = 0.12
#: The share of columns with a synonym that is unrelated to the name in the schema.
UNRELATED = 0.05
#: The share of foreign keys whose name differs from the key that they reference: models that saw
#: few of them wrote the key's name in every join.
OTHERWISE = 0.35
#: The share of categories whose values are numbers.
NUMBERED = 0.12
#: Names of keys that say nothing about their table.
GENERIC_KEYS = ("id", "code_no")
#: The marker around a condition that may precede its noun.
FRONT = "\x01"


class ColumnMaker:
    """Draws columns from a dictionary; the order of the draws decides what a world contains."""

    def __init__(self, random: Random, lexicon: Lexicon) -> None:
        self.random = random
        self.lexicon = lexicon

    def chance(self, share: float) -> bool:
        """True with the probability ``share``."""
        return self.random.random() < share

    def pick(self, items: Sequence[Any]) -> Any:
        """One of several items, drawn uniformly."""
        return self.random.choice(items)

    def key(self, table: str) -> str:
        """The name of a primary key, which may be unrelated to its table's."""
        if self.chance(0.6):
            return f"{table}_id"
        stem = self.pick((table, table[: self.random.randint(1, 4)], self.some_property()[0]))
        own = f"{stem.replace(' ', '_')}_{self.pick(('id', 'no', 'code', 'number', 'key'))}"
        return str(self.pick((own, own, *GENERIC_KEYS)))

    def says(self, words: Sequence[str]) -> tuple[str, ...]:
        """The names of a column: that of the schema, then its synonyms."""
        own, *others = words
        others = [word for word in others if word != own]
        if self.chance(UNRELATED):
            strange = self.lexicon.properties.draw(self.random).word
            others = [strange, *others][: max(1, self.random.randint(1, 3))]
        return (own, *others[:3])

    def named(self, words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """A property's name in the schema and its names in questions, from given synonyms."""
        own, *others = self.random.sample(words, len(words))
        return own.replace(" ", "_"), self.says((own, *others))

    def some_property(self) -> tuple[str, ...]:
        """Words with one meaning for a property."""
        if self.chance(INVENTED):
            return (invented(self.random),)
        sense = self.lexicon.properties.draw(self.random)
        return (*sense.words[:3], *sense.wider[:1])

    def label(self, table: str, *, who: bool, prefixed: bool) -> ColumnSpec:
        """The column that names a row: of a person, if ``who``, or of a thing."""
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
        """A proper name of a thing."""
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
        """A foreign key to ``parent``, with a verb for each direction."""
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
        """A category whose values are small numbers or years."""
        names = self.pick((*WORDS["numbered"], self.some_property(), self.some_property()))
        name, says = self.named(names)
        draw = self.random.randint
        first = self.pick((0, 1, 1, 1, 1, draw(2, 9), draw(1990, 2020)))
        values = tuple(range(first, first + draw(3, 8)))
        phrases = ("of {c} {v}", "with {c} {v}", "on {c} {v}", "in {c} {v}", "at {c} {v}")
        where = tuple(phrase.replace("{c}", self.pick(says)) for phrase in phrases)
        return ColumnSpec(name, "integer", role="category", says=says, values=values, where=where)

    def category(self, table: str) -> ColumnSpec:
        """A column with a few different values."""
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
        """A column of numbers, with superlatives and phrases for thresholds."""
        kind = self.quantity()
        name, says = self.named(kind.names)
        unit = self.pick(kind.units)
        if unit and self.chance(0.25) and unit.isalpha():
            name = f"{name}_{unit[:3]}" if self.chance(0.5) else f"{name}_{unit}"
        if self.chance(0.12):
            name = f"num_{plural(name)}" if self.chance(0.5) else f"{name}_count"
            says = (f"number of {plural(says[0])}", *says[1:])
        noun = says[0].split(" ")[-1]
        most = self.superlatives(kind.most, ("highest", "greatest", "largest"), noun)
        least = self.superlatives(kind.least, ("lowest", "smallest"), noun)
        above, below = thresholds(kind, self.pick(says), f" {unit}" if unit else "")
        return ColumnSpec(
            name, "integer" if kind.whole else "real", role="measure", says=says,
            range=(kind.low, kind.high), decimals=1, unit=unit, most=most, least=least,
            above=above, below=below,
        )  # fmt: skip

    def quantity(self) -> Quantity:
        """A quantity of the list, or a property of the dictionary with a range."""
        if self.chance(0.72):
            found: Quantity = self.pick(QUANTITIES)
            return found
        low = self.pick((0, 1, 10, 100))
        return Quantity(
            self.some_property(),
            (),
            (),
            (self.pick(("units", "points", "", plural(invented(self.random)))),),
            low,
            low * 90 + 90,
            self.chance(0.6),
        )

    def superlatives(
        self, own: tuple[str, ...], general: Sequence[str], noun: str
    ) -> tuple[str, ...]:
        """A measure's own superlatives, sometimes with a compound such as *highest-price*."""
        if self.chance(0.25) or not own:
            return (*own, f"{self.pick(general)}-{noun}")
        return own

    def date(self, table: str) -> ColumnSpec:
        """A column of dates."""
        if self.chance(0.5):
            names: tuple[str, ...] = self.pick(WORDS["dates"])
        else:
            verb = self.pick(WORDS["verbs"])
            names = (f"{past(verb)} on", f"{verb} date", f"date of {verb}")
        name, says = self.named(names)
        return ColumnSpec(name, "date", role="date", says=says, range=("1980-01-01", "2025-06-30"))

    def flag(self, table: str) -> ColumnSpec:
        """A column of 0 and 1, for an adjective or for something that a row has."""
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
        """A text column whose values are mostly different."""
        name, says = self.named(self.pick(WORDS["others"]))
        values = tuple(f"{invented(self.random)} {self.random.randint(1, 99)}" for _ in range(40))
        return ColumnSpec(name, "text", role="other", says=says, values=values)


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
        # Small numbers are more frequent than large ones, except among years.
        if low >= 1000:
            return [random.randint(int(low), int(high)) for _ in range(count)]
        return [int(low + (high - low) * random.random() ** 2) for _ in range(count)]
    return [round(low + (high - low) * random.random() ** 2, column.decimals) for _ in range(count)]

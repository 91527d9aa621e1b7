"""The worlds of pretraining: random database schemas, with words for their parts.

A world is a :class:`~distill_sql.pocket.domains.Domain`, so the question patterns of the pocket
benchmark apply to it. Names of tables, columns and keys, and values, are drawn from WordNet and
from invented words. Synonyms have the same meaning or the next broader one. A few are unrelated to
the name, so that a model can only know them from the schema.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pretraining.lexicon import PERSON, Lexicon, Sense, invented, plural
from distill_sql.pretraining.world_columns import INVENTED, UNRELATED, ColumnMaker


def make_world(random: Random, lexicon: Lexicon, number: int, *, most: int = 6) -> Domain:
    """Draw a world of one to ``most`` tables, nearly all of them linked by foreign keys."""
    return _WorldMaker(random, lexicon).world(number, most)


class _WorldMaker(ColumnMaker):
    """Draws tables and their columns."""

    def __init__(self, random: Random, lexicon: Lexicon) -> None:
        super().__init__(random, lexicon)
        self.taken: set[str] = set()

    def world(self, number: int, most: int) -> Domain:
        """A world of one table to ``most``."""
        count = min(most, self.random.choices((1, 2, 3, 4, 5, 6), (1, 3, 5, 5, 3, 1))[0])
        tables: list[TableSpec] = []
        prefixed = self.random.random() < 0.3
        for place in range(count):
            table = self.table(tables, prefixed=prefixed, last=place == count - 1)
            # The plural of one word may be the singular of another.
            if table.name not in {other.name for other in tables}:
                tables.append(table)
        return Domain(f"world_{number}", "train", "", tuple(tables))

    def sense(self) -> Sense:
        """A noun for a table, different from those of the other tables if possible."""
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
        """A table that may reference the tables ``before``; a bridge references two of them."""
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

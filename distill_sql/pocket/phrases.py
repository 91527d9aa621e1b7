"""The words of questions: nouns, columns and conditions, with synonyms."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec

#: The share of mentions that use a synonym instead of the schema's word.
SYNONYMS = 0.2
#: Numbers in words.
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


@dataclass(frozen=True)
class Filter:
    """A condition on one table: its SQL, with the placeholder ``{t}`` for an alias, its words."""

    sql: str
    words: str
    column: str


class Speaker:
    """Draws words and conditions for a database; values come from ``connection``."""

    def __init__(self, domain: Domain, connection: sqlite3.Connection, random: Random) -> None:
        self.domain = domain
        self.connection = connection
        self.random = random

    def pick(self, items: Sequence[Any]) -> Any:
        """One of several items, drawn uniformly."""
        return self.random.choice(items)

    def say(self, words: Sequence[str]) -> str:
        """The first word, or one of its synonyms with the probability :data:`SYNONYMS`."""
        if len(words) > 1 and self.random.random() < SYNONYMS:
            return str(self.random.choice(words[1:]))
        return words[0]

    def nouns(self, table: TableSpec) -> tuple[str, str]:
        """The singular and plural of one of a table's nouns."""
        plural = self.say(table.many)
        return table.one[table.many.index(plural)], plural

    def values(self, table: TableSpec, column: ColumnSpec) -> list[Any]:
        """The column's sorted values in the database, without NULL."""
        query = f'SELECT "{column.name}" FROM "{table.name}" WHERE "{column.name}" IS NOT NULL'
        return sorted(value for (value,) in self.connection.execute(query))

    def filter(self, table: TableSpec, *, roles: Sequence[str] = ()) -> Filter | None:
        """A condition that some rows of the table meet, or None if no column allows one."""
        wanted = roles or ("category", "category", "measure", "measure", "date", "flag")
        candidates = [column for role in wanted for column in table.with_role(role)]
        if not candidates:
            return None
        column = self.pick(candidates)
        values = self.values(table, column)
        if column.role == "category":
            return self._category(column, self.pick(values))
        if column.role == "flag":
            value = self.pick((0, 1))
            words = column.where1 if value else column.where0
            return Filter(f"{{t}}{column.name} = {value}", self.pick(words), column.name)
        value = values[int(len(values) * self.random.uniform(0.25, 0.75))]
        return self._threshold(column, value)

    def _category(self, column: ColumnSpec, value: Any) -> Filter:
        quoted = sql_value(value)
        if column.where and self.random.random() < 0.7:
            words = self.pick(column.where).format(v=value)
        else:
            words = f"whose {self.say(column.says)} is {value}"
        return Filter(f"{{t}}{column.name} = {quoted}", words, column.name)

    def _threshold(self, column: ColumnSpec, value: Any) -> Filter:
        name = self.say(column.says)
        if column.type == "date":
            sign, words = self.pick([(">", "after"), ("<", "before")])
            return Filter(
                f"{{t}}{column.name} {sign} {sql_value(value)}",
                f"whose {name} is {words} {value}",
                column.name,
            )
        value = rounded(value)
        sign = self.pick("><")
        phrases = column.above if sign == ">" else column.below
        if phrases and self.random.random() < 0.7:
            words = self.pick(phrases).format(v=value)
        else:
            comparison = "more than" if sign == ">" else "less than"
            words = f"whose {name} is {comparison} {value} {column.unit}".rstrip()
        return Filter(f"{{t}}{column.name} {sign} {value}", words, column.name)

    def asked(self, table: TableSpec, *, but: Sequence[str] = ()) -> ColumnSpec | None:
        """A column to ask for: usually the label, else another one with a role."""
        label = table.label
        if label and label.name not in but and self.random.random() < 0.7:
            return label
        others = [
            column
            for column in table.with_role("label", "category", "measure", "date", "other")
            if column.name not in but
        ]
        return self.pick(others) if others else None

    def measure(self, table: TableSpec, *, whole: bool = False) -> ColumnSpec | None:
        """A measure of the table; with ``whole``, one without NULLs."""
        found = [c for c in table.with_role("measure") if not (whole and c.nulls)]
        return self.pick(found) if found else None


def rounded(value: float) -> float:
    """A rounded threshold: integers from 100 keep two digits, other numbers up to one decimal."""
    if isinstance(value, int):
        step = int(10 ** max(len(str(abs(value))) - 2, 0))
        return value // step * step
    return round(value) if abs(value) >= 10 else round(value, 1)


def sql_value(value: Any) -> str:
    """A value as SQL text.

    >>> sql_value("Hull's"), sql_value(3)
    ("'Hull''s'", '3')
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def plain(filter_: Filter) -> str:
    """The condition's SQL without an alias."""
    return filter_.sql.format(t="")


def aliased(filter_: Filter, alias: str) -> str:
    """The condition's SQL on an aliased table."""
    return filter_.sql.format(t=f"{alias}.")


def who(table: TableSpec) -> str:
    """The relative pronoun for a table's rows."""
    return "who" if table.who else "that"

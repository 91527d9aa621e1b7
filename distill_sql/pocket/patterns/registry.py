"""The definition of a pattern, and the list of all patterns.

A pattern draws a question on a database: a query, and the words that fill a phrasing. The phrasings
are in ``phrasings.toml``; training has other ones than validation and dev.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distill_sql.pocket.domains import SOURCES, TableSpec
from distill_sql.pocket.phrases import Speaker, who


@dataclass(frozen=True)
class Draft:
    """A drawn question: its query, its words, and a query whose two rows must differ (no tie)."""

    sql: str
    slots: Mapping[str, str]
    tie: str = ""


Draw = Callable[[Speaker], Draft | None]


@dataclass(frozen=True)
class Pattern:
    """A kind of question: how it is drawn, its phrasings, and its weight in the draw."""

    name: str
    draw: Draw
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    weight: float


PHRASINGS: dict[str, dict[str, list[str]]] = tomllib.loads(
    (SOURCES / "phrasings.toml").read_text(encoding="utf-8")
)
PATTERNS: list[Pattern] = []
#: The words of aggregate functions in questions.
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "avg": ("average", "mean"),
    "max": ("maximum", "highest"),
    "min": ("minimum", "lowest"),
    "sum": ("total",),
}


def pattern(*, weight: float = 1.0) -> Callable[[Draw], Draw]:
    """Register a function as a pattern with its own name, and the phrasings of that name."""

    def register(draw: Draw) -> Draw:
        name = draw.__name__.strip("_").replace("_", " ")
        words = PHRASINGS[name]
        PATTERNS.append(
            Pattern(name, draw, tuple(words["train"]), tuple(words["held_out"]), weight)
        )
        return draw

    return register


def nouns(speaker: Speaker, table: TableSpec) -> dict[str, str]:
    """The slots of every question on a table."""
    thing, things = speaker.nouns(table)
    return {"thing": thing, "things": things, "who": who(table)}

"""What a pattern is, and the list that all patterns register in.

A pattern draws one question from a database: a canonical query and the words to fill into a
phrasing. The phrasings are in ``phrasings.toml``, some for training and others for validation and
dev.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distill_sql.pocket.domains import SOURCES, TableSpec
from distill_sql.pocket.phrases import Speaker, who


@dataclass(frozen=True)
class Draft:
    """A drawn question: its query, its words, and a query whose two rows must not tie."""

    sql: str
    slots: Mapping[str, str]
    tie: str = ""


Draw = Callable[[Speaker], Draft | None]


@dataclass(frozen=True)
class Pattern:
    """A kind of question: how it is drawn and phrased; ``weight`` says how often it is tried."""

    name: str
    draw: Draw
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    weight: float


PHRASINGS: dict[str, dict[str, list[str]]] = tomllib.loads(
    (SOURCES / "phrasings.toml").read_text(encoding="utf-8")
)
PATTERNS: list[Pattern] = []
#: Aggregate functions as questions name them.
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "avg": ("average", "mean"),
    "max": ("maximum", "highest"),
    "min": ("minimum", "lowest"),
    "sum": ("total",),
}


def pattern(*, weight: float = 1.0) -> Callable[[Draw], Draw]:
    """Register a function as the pattern of its own name, with the phrasings of that name."""

    def register(draw: Draw) -> Draw:
        name = draw.__name__.strip("_").replace("_", " ")
        words = PHRASINGS[name]
        PATTERNS.append(
            Pattern(name, draw, tuple(words["train"]), tuple(words["held_out"]), weight)
        )
        return draw

    return register


def nouns(speaker: Speaker, table: TableSpec) -> dict[str, str]:
    """The slots that every question on a table has."""
    thing, things = speaker.nouns(table)
    return {"thing": thing, "things": things, "who": who(table)}

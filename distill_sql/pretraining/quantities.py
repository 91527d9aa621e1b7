"""The quantities and categories of worlds, from ``worlds.toml``, and phrases for thresholds."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple


class Quantity(NamedTuple):
    """A measured property: names, superlatives for both ends, units, a range, whether its values
    are integers, and verbs such as *weigh*."""

    names: tuple[str, ...]
    most: tuple[str, ...]
    least: tuple[str, ...]
    units: tuple[str, ...]
    low: float
    high: float
    whole: bool
    does: tuple[str, ...] = ()


class Category(NamedTuple):
    """A property with a few values: its names, usual values, and phrases for a condition on it."""

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


def thresholds(kind: Quantity, word: str, tail: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Phrases for values above and below a threshold; ``tail`` is the unit after it."""
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
    return above, below


def _comparative(superlative: str) -> str:
    """The comparative of a one-word superlative: tallest, taller."""
    irregular = {"best": "better", "worst": "worse", "farthest": "farther"}
    head, dash, tail = superlative.partition("-")
    if head in irregular:
        return irregular[head] + dash + tail
    return (
        (head.removesuffix("est") + "er" if head.endswith("est") else f"more {head}") + dash + tail
    )

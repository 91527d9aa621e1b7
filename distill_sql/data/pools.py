"""The values that one column of a redrawn table can take."""

from __future__ import annotations

import math
import random
from typing import Any

#: Attempts to find a value that a column does not have yet.
TRIES = 1000
#: Fewest rows that are drawn for a table.
MIN_ROWS = 12

Value = int | float | str | bytes | None


class Pool:
    """The values of one column, and the constants that queries compare it with."""

    def __init__(
        self, values: list[Value], kind: str, near: list[int | float | str], rng: random.Random
    ) -> None:
        self._rng = rng
        present = [value for value in values if value is not None]
        self._distinct = len(present) > 1 and len(set(present)) == len(present)
        self._nulls = len(values) > len(present)
        self._number = kind in ("number", "boolean") and not any(
            isinstance(value, str | bytes) for value in present
        )
        self._near = [value for value in map(self._fit, near) if value is not None]
        self._values: list[Any] = list(dict.fromkeys(present)) or self._invented()
        self._used: set[Any] = set()

    def value(self, current: Value, exchange: float) -> Value:
        """A value for a row that had ``current``.

        In a column without duplicates it is a new one, unless :data:`TRIES` attempts find none.
        """
        rng = self._rng
        if current is None or rng.random() < exchange:
            if self._nulls and rng.random() < 0.1:
                return None
            current = rng.choice(self._near if self._near and rng.random() < 0.4 else self._values)
            if self._number and rng.random() < 0.15:
                current = self._moved(current)
        if not self._distinct:
            return current
        for _ in range(TRIES):
            if current not in self._used:
                break
            current = self._moved(current)
        self._used.add(current)
        return current

    def _moved(self, value: Any) -> Any:
        """A value close to this one; it may be new to the column."""
        if isinstance(value, int):
            moved = value + self._rng.choice((-1, 1)) * self._rng.randint(1, 9)
            return moved if fits(moved) else value - (moved - value)
        if isinstance(value, float):
            near = value * self._rng.uniform(0.7, 1.3) + self._rng.uniform(-1, 1)
            return round(near, 2) if math.isfinite(near) else self._rng.uniform(-1000, 1000)
        if isinstance(value, str):
            other = str(self._rng.choice(self._values))
            return f"{value} {other}" if len(value) < 40 else f"{other[:20]} {self._rng.random()}"
        return value + bytes([self._rng.randrange(256)])

    def _fit(self, value: float | str) -> Value:
        """A constant as this column would store it, or None if it cannot."""
        if not self._number:
            return str(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() and fits(number) else number

    def _invented(self) -> list[Any]:
        if self._number:
            return [self._rng.randint(1, 100) for _ in range(MIN_ROWS)]
        return [f"{self._rng.choice('abcdefgh')}{number}" for number in range(MIN_ROWS)]


def fits(number: float) -> bool:
    """Whether SQLite can store a whole number as an integer."""
    return -(2**63) <= number < 2**63

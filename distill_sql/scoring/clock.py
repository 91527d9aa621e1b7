"""The deadline of one prediction, for its queries and for all other work on it.

Some predictions are expensive outside SQLite: a text of brackets is slow to split, and rows that
differ late are slow to compare. Such work checks the clock regularly.
"""

from __future__ import annotations

import math
import time

#: Seconds that work outside SQLite may take after the deadline.
GRACE = 0.5


class OutOfTime(Exception):
    """The deadline and its grace period have passed. The judge reports a timeout."""


class Clock:
    """Counts down from ``seconds``; time that the prediction did not cause can be given back."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 after it."""
        return max(self._end - time.monotonic(), 0.0)

    def give_back(self, seconds: float) -> None:
        """Postpone the deadline."""
        self._end += seconds

    def check(self) -> None:
        """Raise :class:`OutOfTime` if the grace period has passed."""
        if time.monotonic() > self._end + GRACE:
            raise OutOfTime


#: For callers without a deadline.
UNLIMITED = Clock(math.inf)

"""The seconds that one prediction has, for its queries and for all the work around them.

Texts and results can be made to cost a lot outside SQLite, too: a text of brackets is slow to
split, and rows that differ late are slow to compare. Such work looks at the clock as it goes.
"""

from __future__ import annotations

import math
import time

#: Seconds after the deadline that the work around the queries may take.
GRACE = 0.5


class OutOfTime(Exception):
    """The deadline and its grace have passed. The judge makes a timeout of it."""


class Clock:
    """Counts down from ``seconds``; time that is not the prediction's own can be given back."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 when it has passed."""
        return max(self._end - time.monotonic(), 0.0)

    def give_back(self, seconds: float) -> None:
        """Put the deadline off."""
        self._end += seconds

    def check(self) -> None:
        """Raise :class:`OutOfTime` when the grace has passed, too."""
        if time.monotonic() > self._end + GRACE:
            raise OutOfTime


#: For callers without a deadline.
UNLIMITED = Clock(math.inf)

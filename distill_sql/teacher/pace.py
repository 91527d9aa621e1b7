"""How many requests may be under way, and when the next may be sent: what the endpoint can take."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Seconds in 30 days: what asks for a longer wait is taken for a mistake.
LONGEST = 30 * 24 * 3600.0
#: Seconds that a limit may ask us to wait; a longer wait ends the run.
PATIENCE = 300.0
#: Longest pause between two attempts, in seconds, where the endpoint asks for none.
LONGEST_PAUSE = 30.0


class Pace:
    """Halves how many requests may be under way when there were too many, and raises it slowly."""

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._most = most
        self._cut = self._open_at = 0.0

    def wait(self, active: int) -> float:
        """Seconds until the next request may be sent with ``active`` under way; 0 for now."""
        wait = self._open_at - time.monotonic()
        return wait if wait > 0 else 0.0 if active < max(1, int(self.limit)) else 0.01

    def faster(self) -> None:
        """A request was answered: one more at a time, after as many answers as requests."""
        self.limit = min(self._most, self.limit + 1 / self.limit)

    def slower(self) -> None:
        """There were too many; one cut for all refusals of requests that were under way."""
        now = time.monotonic()
        if now - self._cut > 1:
            self._cut = now
            self.limit = max(1.0, self.limit / 2)

    def heed(self, headers: Mapping[str, str], *, refused: bool) -> None:
        """Pause as the headers ask, but no longer than :data:`PATIENCE`."""
        waits = [reset(headers, "requests"), reset(headers, "tokens")]
        if refused:
            waits.append(retry_after(headers))
        pause = max(wait if wait <= PATIENCE else 0.0 for wait in waits)
        self._open_at = max(self._open_at, time.monotonic() + pause)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures, with chance in it: not all come back at once."""
    return min(LONGEST_PAUSE, 0.25 * 2.0**failures) * random.uniform(0.5, 1)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a refusal asks to wait: Retry-After, or the reset of the limit that is used up.

    0 if the headers do not say, or say nothing that makes sense.

    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (2.0, 0.25, 0.0)
    """
    for wait in (
        seconds(f"{headers.get('retry-after-ms', '')}ms"),
        seconds(headers.get("retry-after", "")),
        _until(headers.get("retry-after", "")),
    ):
        if wait:
            return wait
    return max(reset(headers, "requests"), reset(headers, "tokens"))


def reset(headers: Mapping[str, str], what: str) -> float:
    """Seconds until a limit that is used up opens again; ``what`` is ``requests`` or ``tokens``."""
    if headers.get(f"x-ratelimit-remaining-{what}") != "0":
        return 0.0
    return seconds(headers.get(f"x-ratelimit-reset-{what}", ""))


def seconds(text: str) -> float:
    """A duration of the rate-limit headers; 0 if it is none.

    >>> [seconds(text) for text in ("7", "1.5s", "120ms", "6m0s", "1h2m", "soon", "-3", "nan")]
    [7.0, 1.5, 0.12, 360.0, 3720.0, 0.0, 0.0, 0.0]
    """
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    wait = 0.0
    try:
        wait = float(text)
    except ValueError:
        if re.fullmatch(r"\s*([0-9.]+(ms|[smhd])\s*)+", text):
            with suppress(ValueError):  # 1.2.3s
                wait = sum(
                    float(number) * units[unit]
                    for number, unit in re.findall(r"([0-9.]+)(ms|[smhd])", text)
                )
    return wait if 0 < wait <= LONGEST else 0.0


def _until(date: str) -> float:
    """Seconds until an HTTP date; 0 if it is none, or past."""
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = moment.timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return wait if 0 < wait <= LONGEST else 0.0


def in_words(wait: float) -> str:
    """A duration for people.

    >>> in_words(7200), in_words(600)
    ('2.0 hours', '10 minutes')
    """
    return f"{wait / 3600:.1f} hours" if wait >= 3600 else f"{wait / 60:.0f} minutes"

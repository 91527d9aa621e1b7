"""Rate limiting: how many requests may be pending, and when the next one may be sent."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Seconds in 30 days: a header that asks for a longer wait is ignored.
LONGEST = 30 * 24 * 3600.0
#: Maximum wait in seconds that a rate limit may ask for; a longer one ends the run.
PATIENCE = 300.0
#: Maximum backoff between two attempts, in seconds, if the endpoint asks for no wait.
LONGEST_PAUSE = 30.0


class Pace:
    """The limit of concurrent requests: halved after a refusal, raised slowly after answers."""

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._most = most
        self._cut = self._open_at = 0.0

    def wait(self, active: int) -> float:
        """Seconds until the next request may be sent with ``active`` pending; 0 for now."""
        wait = self._open_at - time.monotonic()
        return wait if wait > 0 else 0.0 if active < max(1, int(self.limit)) else 0.01

    def faster(self) -> None:
        """Raise the limit after an answer: by one per as many answers as the limit."""
        self.limit = min(self._most, self.limit + 1 / self.limit)

    def slower(self) -> None:
        """Halve the limit after a refusal; refusals of requests pending together count once."""
        now = time.monotonic()
        if now - self._cut > 1:
            self._cut = now
            self.limit = max(1.0, self.limit / 2)

    def heed(self, headers: Mapping[str, str], *, refused: bool) -> None:
        """Pause as the headers ask; waits longer than :data:`PATIENCE` are ignored."""
        waits = [reset(headers, "requests"), reset(headers, "tokens")]
        if refused:
            waits.append(retry_after(headers))
        pause = max(wait if wait <= PATIENCE else 0.0 for wait in waits)
        self._open_at = max(self._open_at, time.monotonic() + pause)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: exponential backoff with jitter."""
    return min(LONGEST_PAUSE, 0.25 * 2.0**failures) * random.uniform(0.5, 1)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait after a refusal: Retry-After, or the reset time of an exhausted limit.

    0 if the headers have neither, or no valid value.

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
    """Seconds until an exhausted limit resets; ``what`` is ``requests`` or ``tokens``."""
    if headers.get(f"x-ratelimit-remaining-{what}") != "0":
        return 0.0
    return seconds(headers.get(f"x-ratelimit-reset-{what}", ""))


def seconds(text: str) -> float:
    """The seconds of a duration in a rate-limit header; 0 if it is invalid.

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
    """Seconds until an HTTP date; 0 if it is invalid or past."""
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = moment.timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return wait if 0 < wait <= LONGEST else 0.0


def in_words(wait: float) -> str:
    """A duration in words.

    >>> in_words(7200), in_words(600)
    ('2.0 hours', '10 minutes')
    """
    return f"{wait / 3600:.1f} hours" if wait >= 3600 else f"{wait / 60:.0f} minutes"

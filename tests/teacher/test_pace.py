from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.teacher.pace import LONGEST, LONGEST_PAUSE, PATIENCE, Pace, backoff, retry_after


@given(st.text(max_size=30))
def test_any_header_gives_a_finite_wait(text: str) -> None:
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset-requests"):
        headers = {name: text, "x-ratelimit-remaining-requests": "0"}
        assert 0 <= retry_after(headers) <= LONGEST


@pytest.mark.parametrize(
    "text",
    [
        "", "-1", "-0.5", "nan", "inf", "-inf", "1e30", "soon", "1.2.3s", "1,5", "3 apples",
        "9" * 5000, formatdate(time.time() - 60, usegmt=True), "Mon, 99 Foo 2024 99:99:99 GMT",
        formatdate(time.time() + 10**8), "Thu, 01 Jan 99999999 00:00:00 GMT",
    ],
)  # fmt: skip
def test_an_invalid_wait_is_ignored(text: str) -> None:
    assert retry_after({"retry-after": text}) == 0


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_an_http_date_gives_a_wait(zone: str) -> None:
    date = formatdate(time.time() + 100).replace("-0000", zone)
    assert 97 < retry_after({"retry-after": date}) < 101


def test_a_pause_is_as_long_as_asked_up_to_the_maximum() -> None:
    pace = Pace(4)
    pace.heed({"retry-after": "2"}, refused=False)  # an answer is none
    assert pace.wait(active=0) == 0
    pace.heed({"retry-after": str(PATIENCE + 1)}, refused=True)
    assert pace.wait(active=0) == 0
    pace.heed({"retry-after": "2"}, refused=True)
    assert 1.5 < pace.wait(active=0) <= 2


def test_backoff_has_jitter_and_a_maximum() -> None:
    for failures in range(1, 20):
        assert 0 < backoff(failures) <= LONGEST_PAUSE
    assert len({backoff(3) for _ in range(5)}) > 1


def test_refusals_halve_the_limit_and_answers_raise_it() -> None:
    pace = Pace(8)
    pace.slower()
    pace.slower()  # of requests that were under way together
    assert pace.limit == 4
    assert pace.wait(active=4) > 0 == pace.wait(active=3)
    for _ in range(100):
        pace.faster()
    assert pace.limit == 8

"""The soak against the hostile endpoint, on few questions and with one kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.teacher.hostile_soak import soak


@pytest.mark.parametrize(("count", "budget"), [(40, 20.0), (150, 0.06)])
def test_a_short_soak(tmp_path: Path, count: int, budget: float) -> None:
    made = soak(tmp_path, count=count, kills=1, budget=budget, timeout=1)
    stopped = made.said[-1]["stopped"]
    assert ("budget" in stopped) == (budget < 1)
    assert bool(made.missing()) == (budget < 1)
    assert made.looks > 10

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distill_sql.book.pages import noise
from distill_sql.data.datasets import load_dataset
from distill_sql.scoring import hardness


def test_questions_are_counted_by_level() -> None:
    dev = load_dataset("pocket")
    found = noise.counts(dev)
    assert found["all"] == len(dev) == sum(found.values()) - found["all"]
    assert found["easy"] == sum(hardness(example.query) == "easy" for example in dev)


def test_the_interval_at_70_percent() -> None:
    dev = load_dataset("pocket").limit(100)
    # Wilson's interval of 70 in 100, by hand.
    z, n, p = 1.959964, 100, 0.7
    middle, spread = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    assert f"**{low:.1%} to {high:.1%}**" in noise.in_words(dev)


def test_lines_are_widest_in_the_middle(toy_dataset: Path) -> None:
    figure = noise.chart(load_dataset("pocket").limit(40))
    rows = figure.chart.to_dict()["datasets"].popitem()[1]
    every = {row["accuracy"]: row["half-width"] for row in rows if row["questions"] == "all (40)"}
    assert max(every, key=lambda share: every[share]) == 0.5
    assert min(every) == 0
    assert max(every) == 1
    assert every[0.25] == pytest.approx(every[0.75])
    few = noise.chart(load_dataset(toy_dataset)).chart.to_dict()["datasets"].popitem()[1]
    assert {row["questions"].partition(" ")[0] for row in few} >= {"all"}

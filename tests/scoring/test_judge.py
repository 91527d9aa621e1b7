from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset, Example, load_dataset
from distill_sql.scoring import Judge, Rules
from tests.test_sandbox import HOSTILE

DEADLINE = 0.5
#: Seconds that a new worker may take to start.
START = 5


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture
def one(shop: Dataset) -> Example:
    return shop.examples[0]


def test_etype_chooses_what_is_judged(shop: Dataset, one: Example) -> None:
    with Judge(shop, Rules(etype="match")) as judge:
        verdict = judge.verdict(one, "SELECT count(*) FROM customer")
        assert (verdict.exec, verdict.exact, verdict.failure_mode) == (None, True, None)
        assert verdict.cause is None
        assert judge.verdict(one, "SELECT max(id) FROM customer").cause == "aggregate"
    with Judge(shop, Rules(etype="exec")) as judge:
        verdict = judge.verdict(one, "SELECT count(*) FROM customer")
        assert (verdict.exec, verdict.exact, verdict.failure_mode) == (True, None, "ok")


def test_plugging_finds_the_value_the_prediction_lacks(shop: Dataset) -> None:
    example = shop.examples[1]
    wrong = example.query.replace("lamp", "zebra")
    assert wrong != example.query
    for plug, expected in ((False, False), (True, True)):
        with Judge(shop, Rules(plug_value=plug)) as judge:
            verdict = judge.verdict(example, wrong)
        assert verdict.exec is expected
        assert verdict.failure_mode == "wrong-result"


def test_plugging_ends_with_the_deadline(shop: Dataset) -> None:
    """Two gold values and thirty slots are a billion fillings."""
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id > 0 AND id < 99")
    many = " OR ".join(f"id = {number}" for number in range(100, 130))
    with Judge(shop, Rules(plug_value=True), deadline=DEADLINE) as judge:
        start = time.monotonic()
        assert judge.verdict(example, f"SELECT id FROM customer WHERE {many}").exec is False
        assert time.monotonic() - start < DEADLINE + START


def test_a_gold_query_outside_exact_set_match_has_no_such_verdict(shop: Dataset) -> None:
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id IN (1, 2)")
    with Judge(shop) as judge:
        verdict = judge.verdict(example, example.query)
    assert (verdict.exec, verdict.exact) == (True, None)


def endless(example: Example) -> Iterator[tuple[Example, str]]:
    number = 0
    while True:
        number += 1
        yield example, f"SELECT count(*) + {number} - {number} FROM customer"


def test_pairs_are_streamed(shop: Dataset, one: Example) -> None:
    """An endless stream is judged a few ahead, in order, and can be left at any time."""
    taken = 0

    def counted() -> Iterator[tuple[Example, str]]:
        nonlocal taken
        for pair in endless(one):
            taken += 1
            yield pair

    with Judge(shop, jobs=2) as judge:
        verdicts = list(islice(judge.verdicts(counted()), 300))
    assert all(v.exec for v in verdicts)
    assert [v.pred_sql for v in verdicts] == [sql for _, sql in islice(endless(one), 300)]
    assert taken <= 300 + 2 * 64


@pytest.mark.slow
def test_memory_and_cost_per_pair_are_flat(shop: Dataset, one: Example) -> None:
    """Of 12,000 pairs the last thousands cost what the first do, in bytes and in seconds."""
    sizes, seconds = [], []
    with Judge(shop, jobs=2) as judge:
        stream = judge.verdicts(endless(one))
        tracemalloc.start()
        for _ in range(4):
            start = time.perf_counter()
            for _ in islice(stream, 3000):
                pass
            seconds.append(time.perf_counter() - start)
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[-1] < sizes[1] + 2**20  # the caches of texts fill up in the first thousands
    assert seconds[-1] < 2 * seconds[0]


@pytest.mark.parametrize("mode", ["exec", "strict", "plug"])
def test_hostile_predictions_have_a_verdict_in_time(shop: Dataset, one: Example, mode: str) -> None:
    rules = {"exec": Rules(), "strict": Rules(strict=True), "plug": Rules(plug_value=True)}[mode]
    corpus = [sql for statements in HOSTILE.values() for sql in statements]
    corpus += [
        "SELECT DISTINCT " + "a, " * 100_000 + "a",
        "SELECT '" + "x" * 1_000_000,
        "SELECT DISTINCT " + "(" * 20_000,
        "\0" * 1000,
        "\ud800\udfff",
        "SELECT 1" + ";" * 100_000,
        "distinct",
    ]
    before = shop.database_path("shop").read_bytes()
    with Judge(shop, rules, jobs=1, deadline=DEADLINE) as judge:
        for sql in corpus:
            start = time.monotonic()
            verdict = judge.verdict(one, sql)
            assert time.monotonic() - start < 2 * DEADLINE + START, sql[:80]
            assert verdict.failure_mode in ("wrong-result", "execution", "parse", "timeout")
            assert verdict.exact is False
            assert verdict.cause
        assert judge.verdict(one, one.query).exec
    assert shop.database_path("shop").read_bytes() == before


def test_a_write_is_never_right(shop: Dataset) -> None:
    """The official evaluator runs it, finds no rows, and calls it right."""
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id < 0")
    with Judge(shop) as judge:
        verdict = judge.verdict(example, "DELETE FROM customer")
    assert verdict.exec is False
    assert verdict.gold_is_empty

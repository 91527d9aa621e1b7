from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Sample, Store, price_of
from distill_sql.teacher.handed_in import HandedIn, Item
from distill_sql.teacher.prices import NANO, OPENAI_URL
from distill_sql.teacher.store import request_key, share

BODY = {"model": "m", "messages": [{"role": "user", "content": "?"}], "temperature": 0.3}
KEY = request_key(BODY, "http://x/v1")


def sample(text: str, cost: int = 5) -> Sample:
    return Sample(text, "stop", 10, 3, cost)


def test_answers_are_kept_and_counted(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        assert store.missing(KEY, 3) == [0, 1, 2]
        assert store.reserve(100, cap=1000)
        store.settle(KEY, BODY, {0: sample("a"), 2: sample("c")}, bound=100)
        assert store.missing(KEY, 3) == [1]
        assert store.spent() == 10
    with Store(tmp_path / "s.sqlite") as store:  # another run
        assert store.samples(KEY, 3) == [sample("a"), None, sample("c")]
        assert store.spent() == 10
        (row,) = store.stats()
        assert (row["samples"], row["requests"], row["cost"]) == (2, 1, 10)
        assert {record["text"] for record in store.export()} == {"a", "c"}
        assert store.prune(["other"]) == 0
        assert store.prune(["m"]) == 2
        assert (store.missing(KEY, 3), store.spent()) == ([0, 1, 2], 10)


def test_everything_that_determines_an_answer_is_in_the_key() -> None:
    keys = {KEY, request_key(BODY, "http://y/v1")}
    for field, value in (("model", "n"), ("temperature", 0.4), ("max_tokens", 9), ("messages", [])):
        keys.add(request_key({**BODY, field: value}, "http://x/v1"))
    assert len(keys) == 6
    assert request_key(BODY, "http://x/v1/") == KEY


def test_a_reservation_never_exceeds_the_cap(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as one, Store(tmp_path / "s.sqlite") as other:
        assert one.reserve(60, cap=100)
        assert not other.reserve(41, cap=100)
        assert other.reserve(40, cap=100)
        assert not one.reserve(1, cap=100)
        one.release(60)
        assert other.spent() == 40


def test_a_killed_process_leaves_its_bound_booked_and_its_answers_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from distill_sql.teacher import Sample, Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.reserve(70, 1000)\n"
        "store.settle(b'k', {'model': 'm'}, {0: Sample('kept', 'stop', 1, 1, 7)}, bound=70)\n"
        "store.reserve(30, 1000)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    with Store(path) as store:
        (found,) = store.samples(b"k", 1)
        assert found is not None
        assert found.text == "kept"
        assert store.spent() == 37


def test_a_cost_above_the_booking_is_recorded(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        assert store.reserve(10, cap=100)
        store.settle(KEY, BODY, {0: sample("a", 400), 1: sample("b", 90)}, bound=10)
        assert store.spent() == 490
        assert not store.reserve(1, cap=100)


def test_any_text_can_be_stored_and_read_again(tmp_path: Path) -> None:
    texts = ["\ud800", "a\u2028b", "\x00", "\ufffd", "", "\U0001f600"]
    with Store(tmp_path / "s.sqlite") as store:
        store.settle(KEY, BODY, dict(enumerate(map(sample, texts))), bound=0)
        found = [one.text for one in store.samples(KEY, len(texts)) if one]
        assert found == ["\ufffd", *texts[1:]]
        "".join(record["text"] for record in store.export()).encode()


def test_a_failed_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        bad = Sample("b", "stop", 10, 3, 2**70)  # no column holds it
        with pytest.raises(OverflowError):
            store.settle(KEY, BODY, {0: sample("a"), 1: bad}, bound=0)
        assert (store.missing(KEY, 2), store.spent()) == ([0, 1], 0)
        with Store(path) as other:  # and nothing is locked
            assert other.reserve(5, None)


def test_a_request_that_is_in_a_batch_is_kept_when_its_answers_are_deleted(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        handed = HandedIn(store)
        item = Item(KEY, (1,), 7, BODY)
        store.reserve(5, None)
        store.settle(KEY, BODY, {0: sample("a")}, bound=5)
        handed.start("n", [item], url="u", price=Price(1, 1), cap=None)
        assert store.batch_of(KEY) == "n"
        handed.sent("n", "batch_7")
        assert store.batch_of(KEY) == "batch_7"
        assert store.prune(["m"]) == 1
        assert handed.body(KEY) == BODY
        handed.settle("n", item, BODY, {1: sample("b", 3)})
        assert store.batch_of(KEY) is None
        handed.settle("n", item, BODY, {1: sample("c", 3)})  # a second time
        assert [s.text for s in store.samples(KEY, 2) if s] == ["b"]
        assert store.spent() == 5 + 3


def test_a_share_is_exact() -> None:
    samples = share([(0, "a" * 10, "stop"), (1, "b" * 30, "length")], 100, 41, 12_345)
    assert sum(s.cost for s in samples.values()) == 12_345
    assert sum(s.completion_tokens for s in samples.values()) == 41
    assert [s.prompt_tokens for s in samples.values()] == [100, 0]
    assert samples[1].cost > samples[0].cost


def test_prices() -> None:
    assert price_of("gpt-4o-mini", OPENAI_URL) == Price(150, 600)
    assert price_of("gpt-4o-mini-2024-07-18", OPENAI_URL) == Price(150, 600)
    assert price_of("gpt-4o-2024-08-06", OPENAI_URL) == Price(2500, 10_000)
    assert price_of("llama", "http://localhost:8000/v1") == Price(0, 0)
    assert price_of("x", OPENAI_URL, (0.1, 0.2)) == Price(100, 200)
    assert Price(151, 600).halved() == Price(76, 300)
    assert Price(150, 600).cost(1_000_000, 1_000_000) == 0.75 * NANO
    with pytest.raises(TeacherError, match="No price for 'gpt-99'"):
        price_of("gpt-99", OPENAI_URL)

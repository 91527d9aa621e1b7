from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Sample, Store, price_of
from distill_sql.teacher.layout import APPLICATION_ID
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


def test_a_reservation_never_passes_the_cap(tmp_path: Path) -> None:
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


def test_a_share_is_exact() -> None:
    samples = share([(0, "a" * 10, "stop"), (1, "b" * 30, "length")], 100, 41, 12_345)
    assert sum(s.cost for s in samples.values()) == 12_345
    assert sum(s.completion_tokens for s in samples.values()) == 41
    assert [s.prompt_tokens for s in samples.values()] == [100, 0]
    assert samples[1].cost > samples[0].cost


def test_corrupt_and_newer_files_are_named(tmp_path: Path) -> None:
    corrupt = tmp_path / "corrupt.sqlite"
    corrupt.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    with pytest.raises(TeacherError, match="cannot be read as a cache of answers"):
        Store(corrupt)
    newer = tmp_path / "newer.sqlite"
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    with pytest.raises(TeacherError, match="newer version of distill-sql"):
        Store(newer)


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

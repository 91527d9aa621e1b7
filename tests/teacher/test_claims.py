from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Store
from tests.teacher.endpoint import books, serving

CLAIM_AND_WAIT = """
import os, sys
from pathlib import Path
from distill_sql.teacher import Store
store = Store(Path(sys.argv[1]))
print([store.claim(key) for key in (b"one", b"two")], flush=True)
sys.stdin.read()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
if sys.argv[2] == "closed":
    store.close()
"""


def held(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*claims*"))


def test_a_claim_holds_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as one, Store(path) as other:
        assert one.claim(b"k")
        assert one.claim(b"k")  # it is ours already
        assert not other.claim(b"k")
        other.unclaim(b"k")  # it is not the other's to give back
        assert not other.claim(b"k")
        assert other.claim(b"j")
        one.unclaim(b"k")
        assert other.claim(b"k")
        assert not one.claim(b"k")
    assert held(path) == []


def test_a_closed_store_holds_no_claims(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as one:
        with Store(tmp_path / "s.sqlite") as other:
            assert other.claim(b"k")
        assert one.claim(b"k")


@pytest.mark.parametrize("end", ["killed", "ended", "closed"])
def test_the_claims_of_a_process_end_with_it(tmp_path: Path, end: str) -> None:
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", CLAIM_AND_WAIT, str(path), end]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "[True, True]\n"
        with Store(path) as store:
            assert not store.claim(b"one")
            assert store.claim(b"three")
            process.stdin.close()
            process.wait()
            assert store.claim(b"one")
            assert store.claim(b"two")
            assert len(held(path)) == 1  # nothing of the dead is left
    assert held(path) == []


def test_stores_opened_through_a_link_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "there" / "s.sqlite")
    with Store(tmp_path / "there" / "s.sqlite") as one, Store(tmp_path / "link.sqlite") as other:
        assert one.claim(b"k")
        assert not other.claim(b"k")


def test_concurrent_stores_never_claim_the_same_request(tmp_path: Path) -> None:
    path, taken, lock = tmp_path / "s.sqlite", list[bytes](), threading.Lock()

    def work() -> None:
        with Store(path) as store:
            for number in range(40):
                key = b"%d" % number
                if store.claim(key):
                    with lock:
                        taken.append(key)
            done.wait()

    done = threading.Barrier(4)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_a_folder_without_lock_files_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    with Store(tmp_path / "s.sqlite") as store:
        monkeypatch.setattr("fcntl.flock", refuse)
        with pytest.raises(TeacherError, match=r"No locks available.*local disk"):
            store.claim(b"k")


ASK = """
import sys
from pathlib import Path
from distill_sql.data.datasets import load_dataset
from distill_sql.teacher import Price, Settings, Store, requests_for
from distill_sql.teacher.client import Teacher
settings = Settings(base_url="http://test/v1")
questions = load_dataset("pocket", split="train").limit(120)
with Store(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    teacher = Teacher(settings, store, api_key="k", price=Price(150, 600), url=sys.argv[2])
    outcome = teacher.run(requests_for(questions, settings))
    print(outcome.requests, len(outcome.failed), outcome.stopped, flush=True)
"""


def test_two_processes_on_one_cache_ask_nothing_twice(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "s.sqlite"
    with serving(tmp_path, latency=0.02) as url:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", ASK, str(path), url],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [worker.communicate()[0].split() for worker in workers]
        assert all(int(requests) > 0 and failed == "0" for requests, failed in found), found
        assert sum(int(requests) for requests, _ in found) == 120
        assert books(url)["requests"] == 120
        assert books(url)["answered"] == 120
        with Store(path) as store:
            assert store.spent() == books(url)["cost"]
            assert store.stats()[0]["samples"] == 360
    assert held(path) == []

"""The sandbox's worker: no signal, crash or fork leads to a wrong answer."""

from __future__ import annotations

import marshal
import os
import random
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from distill_sql.errors import DistillSqlError
from distill_sql.sql import sandbox as module
from distill_sql.sql.sandbox import Sandbox
from tests.sql.test_processes import ends

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("life") / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, "x" * 99) for i in range(3000)])
        connection.commit()
    return path


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(deadline=5) as box:
        yield box


def worker(sandbox: Sandbox) -> subprocess.Popen[bytes]:
    assert sandbox._worker is not None
    return sandbox._worker


# --- Exceptions ---------------------------------------------------------------------------------

INTERRUPTED = """
import os, random, signal, sys, threading
from pathlib import Path
from distill_sql.sql.sandbox import Sandbox

random.seed(int(sys.argv[2]))
stopped = threading.Event()

def interrupt():
    while not stopped.wait(random.random() * random.choice([0.001, 0.03, 0.3])):
        os.kill(os.getpid(), signal.SIGINT)

armed = False

def handle(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, handle)
thread = threading.Thread(target=interrupt, daemon=True)
sandbox = Sandbox(deadline=5)
answered = interrupts = 0
thread.start()
while answered < 200 or interrupts < 25:
    number = random.randrange(10**6)
    wide = number % 3 == 0
    rows = f"SELECT {number}, b FROM t" if wide else f"SELECT {number}"
    try:
        armed = True
        result = sandbox.run(Path(sys.argv[1]), rows)
        armed = False
        assert result.ok, result
        assert {row[0] for row in result.rows} == {number}, (number, result.rows[:2])
        assert len(result.rows) == (3000 if wide else 1)
        answered += 1
    except KeyboardInterrupt:
        interrupts += 1
stopped.set()
thread.join()
sandbox.close()
"""


def test_an_interrupt_at_any_moment_gives_no_query_the_rows_of_another(database: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(database), "1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("where", ["poll", "read", "loads"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RecursionError, MemoryError])
def test_any_exception_while_it_answers_closes_the_worker(
    sandbox: Sandbox,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: type[BaseException],
) -> None:
    assert sandbox.run(database, "SELECT 1").rows == [(1,)]
    first = worker(sandbox)

    def fail(*_: object) -> None:
        time.sleep(0.01)  # the answer is in the pipe
        raise error

    owner = {"poll": select, "read": os, "loads": marshal}[where]
    with monkeypatch.context() as patch:
        patch.setattr(owner, where, fail)
        try:
            result = sandbox.run(database, "SELECT 2")
            assert result.kind == "too_large"
        except error:
            pass
    assert first.returncode is not None
    assert sandbox.run(database, "SELECT 3").rows == [(3,)]


def test_an_interrupt_while_the_worker_is_closed_is_harmless(
    sandbox: Sandbox, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sandbox.run(database, "SELECT 1").ok
    first = worker(sandbox)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(select, "poll", interrupt)
        patch.setattr(first, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sandbox.run(database, "SELECT 2")
    assert sandbox.run(database, "SELECT 3").rows == [(3,)]
    assert first.returncode is not None


def test_ctrl_c_in_a_terminal_reaches_only_the_parent(sandbox: Sandbox, database: Path) -> None:
    sandbox.run(database, "SELECT 1")
    assert os.getpgid(worker(sandbox).pid) != os.getpgid(0)


# --- A worker that dies, stalls or sends invalid answers ------------------------------------------


def test_a_worker_that_died_between_two_queries_is_replaced(
    sandbox: Sandbox, database: Path
) -> None:
    for number in range(30):
        assert sandbox.run(database, f"SELECT {number}").rows == [(number,)]
        os.kill(worker(sandbox).pid, signal.SIGKILL)
        if number % 3 == 0:
            time.sleep(0.01)  # wait until its exit can be seen


def test_a_worker_that_is_killed_at_any_moment_is_a_result(
    sandbox: Sandbox, database: Path
) -> None:
    randomness = random.Random(7)
    stop = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not stop.wait(randomness.random() * randomness.choice([0.001, 0.03, 0.3])):
            process = sandbox._worker
            if process is not None and process.returncode is None:
                with suppress(ProcessLookupError):  # not send_signal, which would reap it
                    os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        answered = 0
        end = time.monotonic() + 30
        while (answered < 50 or len(set(killed)) < 15) and time.monotonic() < end:
            number = answered + 10**6
            result = sandbox.run(database, f"SELECT {number}, b FROM t")
            if result.ok:
                assert len(result.rows) == 3000
                assert {row[0] for row in result.rows} == {number}
                answered += 1
            else:
                assert result.kind == "too_large"
                assert "died" in result.error
    finally:
        stop.set()
        killer.join()
    assert answered >= 50


def test_a_worker_that_is_killed_in_the_middle_of_a_query_is_a_result(
    sandbox: Sandbox, database: Path
) -> None:
    sandbox.run(database, "SELECT 1")
    killer = threading.Timer(0.3, os.kill, (worker(sandbox).pid, signal.SIGKILL))
    killer.start()
    result = sandbox.run(database, ENDLESS)
    killer.join()
    assert (result.kind, result.rows) == ("too_large", ())
    assert "died" in result.error
    assert sandbox.run(database, "SELECT 1").rows == [(1,)]


def frame(value: Any) -> bytes:
    body = marshal.dumps(value)
    return struct.pack("<I", len(body)) + body


OK = (0.1, "ok", "", 0, ("a",), [(1,)], "")
SENT: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\x10\x00",
    "a length": b"\x10\x00\x00\x00",
    "half a body": frame(OK)[:-3],
    "the largest length": b"\xff\xff\xff\xff" + b"x" * 100,
    "an empty body": b"\x00\x00\x00\x00",
    "no value": b"\x03\x00\x00\x00\xde\xad\xbe",
    "a deep value": struct.pack("<I", 10**5) + b"(\x01\x00\x00\x00" * 20_000,
    "a list too long": b"\x05\x00\x00\x00[\xff\xff\x0f\x00",
    "another value": frame("ok"),
    "another tuple": frame((0.1, "ok", "", 0, ("a",), None, "")),
    "text": b"Traceback (most recent call last):\n  File",
    "two answers": frame(OK) + frame(OK),
}


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, after: str) -> None:
    """Use a script that sends these bytes as the worker."""
    script = tmp_path / "fake_worker.py"
    script.write_text(
        "import os, sys, time\nos.read(0, 4)\n"
        f"sys.stdout.buffer.write({sent!r})\nsys.stdout.buffer.flush()\n{after}\n"
    )
    monkeypatch.setattr(module, "_WORKER", script)


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_worker_that_stops_in_its_answer_is_a_result(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    with Sandbox(deadline=1) as sandbox:
        fake(tmp_path, monkeypatch, sent, after="")
        result = sandbox.run(database, "SELECT 1")
        assert (result.kind, result.rows) == ("too_large", ())
        assert "died" in result.error
        monkeypatch.undo()
        assert sandbox.run(database, "SELECT 2").rows == [(2,)]


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_worker_that_stalls_in_its_answer_is_a_timeout_or_dead(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    with Sandbox(deadline=0.1) as sandbox:
        fake(tmp_path, monkeypatch, sent, after="time.sleep(60)")
        start = time.monotonic()
        result = sandbox.run(database, "SELECT 1")
        assert time.monotonic() - start < 2
        assert result.kind in {"timeout", "too_large"}
        assert not result.rows
        monkeypatch.undo()
        assert sandbox.run(database, "SELECT 2", deadline=5).rows == [(2,)]


def test_a_worker_that_does_not_read_is_a_timeout(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is longer than the pipe's buffer."""
    fake(tmp_path, monkeypatch, b"", after="time.sleep(60)")
    with Sandbox(deadline=0.2) as sandbox:
        start = time.monotonic()
        assert sandbox.run(database, "SELECT '" + "x" * 99_000 + "'").kind == "timeout"
        assert time.monotonic() - start < 2


def test_a_worker_that_drips_is_a_timeout(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drip = (
        "while True:\n    sys.stdout.buffer.write(b'x')\n    sys.stdout.buffer.flush()\n"
        "    time.sleep(0.05)"
    )
    fake(tmp_path, monkeypatch, b"\x00\x10\x00\x00", after=drip)
    with Sandbox(deadline=0.2) as sandbox:
        start = time.monotonic()
        assert sandbox.run(database, "SELECT 1").kind == "timeout"
        assert time.monotonic() - start < 2


def test_a_long_statement_goes_through_the_pipe(sandbox: Sandbox, database: Path) -> None:
    text = "x" * 99_000
    assert sandbox.run(database, f"SELECT '{text}'").rows == [(text,)]


def test_a_worker_that_cannot_be_started_is_an_error(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Sandbox() as sandbox, pytest.raises(DistillSqlError, match="/nowhere/python"):
        sandbox.run(database, "SELECT 1")


# --- Ownership --------------------------------------------------------------------------------


def test_it_can_be_closed_twice_and_used_again(database: Path) -> None:
    sandbox = Sandbox()
    sandbox.close()
    assert sandbox.run(database, "SELECT 1").ok
    first = worker(sandbox)
    sandbox.close()
    sandbox.close()
    assert first.returncode == -signal.SIGKILL
    assert sandbox.run(database, "SELECT 1").ok
    sandbox.close()


def test_after_a_fork_parent_and_child_have_workers_of_their_own(
    sandbox: Sandbox, database: Path
) -> None:
    assert sandbox.run(database, "SELECT 1").ok
    first = worker(sandbox)
    for close_only in (False, True):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if not close_only:
                    rows = sandbox.run(database, "SELECT 'child'").rows
                    code = int(rows != [("child",)] or worker(sandbox).pid == first.pid)
                sandbox.close()
                code = 0 if close_only else code
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert sandbox.run(database, "SELECT 'parent'").rows == [("parent",)]
        assert worker(sandbox) is first


def test_the_end_of_a_thread_does_not_affect_a_query_of_another(
    sandbox: Sandbox, database: Path
) -> None:
    """The thread that started the worker ends while another runs a query."""
    asked, started = threading.Event(), threading.Event()

    def start() -> None:
        sandbox.run(database, "SELECT 1")
        started.set()
        asked.wait()
        time.sleep(0.2)

    thread = threading.Thread(target=start)
    thread.start()
    started.wait()
    asked.set()
    counting = ENDLESS.replace("FROM n)", "FROM n LIMIT 5000000)")
    assert sandbox.run(database, counting, deadline=30).rows == [(5_000_000,)]
    assert not thread.is_alive()
    thread.join()
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(sandbox.run, database, "SELECT 1").result().ok
        assert sandbox.run(database, "SELECT 2").rows == [(2,)]


def test_a_worker_of_the_main_thread_serves_others(sandbox: Sandbox, database: Path) -> None:
    assert sandbox.run(database, "SELECT 1").ok
    first = worker(sandbox)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(sandbox.run, database, "SELECT 2").result().rows == [(2,)]
    assert worker(sandbox) is first


PARENT = """
import signal, sys, threading
from pathlib import Path
from distill_sql.sql.sandbox import Sandbox

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has children ignore it

sandbox = Sandbox(deadline=600)
sandbox.run(Path(sys.argv[1]), "SELECT 1")
print(sandbox._worker.pid, flush=True)
if sys.argv[2]:
    sandbox.run(Path(sys.argv[1]), sys.argv[2])
else:
    threading.Event().wait()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "sql",
    ["", ENDLESS, "SELECT hex(zeroblob(2000000)) LIKE '" + "%0" * 300 + "1'"],
    ids=["idle", "busy", "in one call of one function"],
)
def test_the_worker_ends_with_its_parent(database: Path, how: signal.Signals, sql: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(database), sql], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.1)
        parent.send_signal(how)
        parent.wait()
        gone = ends(pid, within=2)
        if not gone:
            os.kill(pid, signal.SIGKILL)
        assert gone

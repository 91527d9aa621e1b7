"""A confined process ends with its parent and has its limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_sql.sql import processes

PACKAGE = Path(processes.__file__).parent


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.append({str(PACKAGE)!r}); import processes, os\n{code}"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
    )


def ends(pid: int, *, within: float = 3.0) -> bool:
    """Whether a process that is not our child ends, or becomes a zombie, in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
        ).stdout.strip()
        if not found or found.startswith("Z"):
            return True
        time.sleep(0.02)
    return False


def test_a_confined_process_works_while_its_parent_lives() -> None:
    done = run("processes.confine(os.getppid()); import time; time.sleep(0.6); print('done')")
    assert done.stdout == "done\n"


def test_a_process_whose_parent_has_ended_before_it_began_ends_too() -> None:
    done = run("processes.confine(1 << 22); import time; time.sleep(10); print('done')")
    assert done.returncode == 1
    assert done.stdout == ""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_busy_process_ends_when_its_parent_is_killed(how: signal.Signals) -> None:
    busy = (
        "import sys, os, sqlite3; sys.path.append(sys.argv[2]); import processes;"
        "processes.confine(int(sys.argv[1])); print(os.getpid(), flush=True);"
        "sqlite3.connect(':memory:').execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        "i + 1 FROM n) SELECT count(*) FROM n').fetchall()"
    )
    code = (
        "import os, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], "
        "str(os.getpid()), sys.argv[2]])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, busy, str(PACKAGE)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.wait()
        try:
            assert ends(pid)
        finally:
            if not ends(pid, within=0.1):
                os.kill(pid, signal.SIGKILL)


def test_without_prctl_a_thread_checks_the_parent() -> None:
    code = (
        "import _thread, time; _thread.start_new_thread(processes.watch, (int(sys.argv[1]),));"
        "time.sleep(0.6); print('done')"
    )
    assert run(code, str(os.getpid())).stdout == "done\n"
    assert run(code, str(1 << 22)).returncode == 1


def test_processor_time_is_limited() -> None:
    """After one second of processor time, the system kills the loop."""
    done = run("processes.confine(os.getppid(), cpu_seconds=1)\nwhile True: pass")
    assert done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's alone")
def test_memory_is_limited() -> None:
    done = run("processes.confine(os.getppid(), address_bytes=2**29)\nbytearray(2**29)")
    assert "MemoryError" in done.stderr

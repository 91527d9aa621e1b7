"""An endpoint in a process of its own on this machine, for the time of a run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from distill_sql.errors import TeacherError
from distill_sql.teacher.secrets import one_line

#: Seconds within which a server must start: a large model is read from a slow disk.
PATIENCE = 600.0


@dataclass
class Served:
    """A running endpoint: its base URL, the model that it serves, its process and its output."""

    url: str
    what: str
    process: subprocess.Popen[bytes]
    log: Path
    _closing: Event = field(default_factory=Event)

    @property
    def ended(self) -> str:
        """How it ended by itself; empty if it runs."""
        try:
            # Its connections close a moment before the process is gone.
            code = self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            return ""
        said = _tail(self.log)
        return f"the endpoint of {self.what} ended while it was asked ({_how(code)})" + (
            f": {said}" if said else ""
        )

    def on_end(self, tell: Callable[[str], None]) -> None:
        """Call ``tell`` with :attr:`ended` as soon as the process ends by itself."""

        def wait() -> None:
            self.process.wait()
            if not self._closing.is_set():
                tell(self.ended)

        Thread(target=wait, daemon=True).start()

    def close(self) -> None:
        """End the process."""
        self._closing.set()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        self.log.unlink()


@contextmanager
def started(
    module: str,
    arguments: Sequence[str],
    *,
    what: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Run ``python -m module ARGUMENTS --port=PORT`` while the context is open.

    The server ends with this process, however that ends. ``what`` names the model in messages, and
    ``environment`` has variables for the server that count unless they are set here.
    Raises :class:`TeacherError` if the server does not start.
    """
    port = _free_port()
    command = [sys.executable, "-m", module, *arguments, f"--port={port}"]
    own = [f"--parent={os.getpid()}"]  # so that the server ends even if this process is killed
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as out:
        log = Path(out.name)
        process = subprocess.Popen(
            command + own, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env={**(environment or {}), **os.environ},
        )  # fmt: skip
    served = Served(f"http://127.0.0.1:{port}/v1", what, process, log)
    try:
        _wait_for(served, command)
        yield served
    finally:
        served.close()


def _wait_for(served: Served, command: Sequence[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not _answers(f"{served.url}/models"):
        code = served.process.poll()
        if code is not None or time.monotonic() > end:
            said = _tail(served.log)
            why = f"it ended ({_how(code)})" if code else f"no answer in {PATIENCE:.0f} s"
            if code == 2 and "error: " in said:  # a message to the user
                raise TeacherError(said.rpartition("error: ")[2])
            raise TeacherError(
                f"The endpoint of {served.what} did not start: {why}. {said} Try the command by "
                f"hand: {' '.join(command)}"
            )
        time.sleep(0.1)


def _how(code: int | None) -> str:
    """How a process ended.

    >>> _how(-9), _how(1)
    ('killed by SIGKILL, as when memory runs out', 'exit status 1')
    """
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + ", as when memory runs out" * (name == "SIGKILL")


def _tail(log: Path) -> str:
    with suppress(OSError):
        return one_line(log.read_text(errors="replace").strip()[-800:], length=800)
    return ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            json.load(response)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return False
    return True

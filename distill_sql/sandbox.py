"""One SQL statement, safely: read-only, with a deadline and caps on rows and memory.

A statement that a model wrote runs in a worker process that can only read the one database it is
given. Covered, in this order: an immutable read-only connection; an authorizer that allows SELECT,
reading and functions (no PRAGMA, ATTACH, writes, extensions); SQLite's own limits on text, depth
and memory; a clock that interrupts the query; and, for what no clock inside SQLite can interrupt,
the worker is killed and another started. One statement is run at a time, and several in one text
are refused.

Not covered: a bug in SQLite itself that lets a query take over the worker, and the processor time
spent until the deadline. The worker runs as the same user; it is a fence, not a jail.
"""

from __future__ import annotations

import marshal
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

from distill_sql.errors import DatasetError

Kind: TypeAlias = Literal["ok", "parse", "execution", "timeout", "too_large", "forbidden"]
Row: TypeAlias = tuple[Any, ...]

#: Seconds a statement may take.
DEADLINE = 10.0
#: Seconds over its deadline that the worker has before it is killed.
GRACE = 0.25
#: Longest statement, in bytes: far over any that answers a question.
SQL_BYTES = 100_000
#: Rows, and bytes of rows, that a result may have.
MAX_ROWS = 1_000_000
MAX_BYTES = 256 * 2**20

_WORKER = Path(__file__).with_name("sandbox_worker.py")
_PARSE_MESSAGES = (
    "syntax error", "incomplete input", "unrecognized token", "parser stack", "null character",
)  # fmt: skip
_FORBIDDEN_MESSAGES = ("not authorized", "authorization denied", "prohibited", "one statement")
_SIZE_MESSAGES = ("too big", "too large", "out of memory", "too many", "too complex", "too long")


@dataclass(frozen=True)
class Result:
    """What became of one statement. ``rows`` and ``columns`` are empty unless ``kind`` is "ok".

    ``seconds`` is what it took in the worker, fetching included and the way there and back not.
    """

    kind: Kind
    rows: Sequence[Row] = ()
    columns: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the statement ran to its end."""
        return self.kind == "ok"


class Sandbox:
    """Runs statements in a worker process; use it as a context manager.

    The worker is started at the first statement, keeps its databases open, and is replaced when it
    has to be killed. A sandbox is not to be shared between threads: give each its own.
    """

    def __init__(self, *, deadline: float = DEADLINE) -> None:
        self.deadline = deadline
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker. The sandbox can be used again afterwards."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    pipe.close()

    def run(
        self,
        database: Path,
        sql: str,
        *,
        deadline: float | None = None,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
    ) -> Result:
        """Run one statement on a database file and return its rows, or why there are none.

        ``deadline`` is in seconds. Raises :class:`DatasetError` if ``database`` is missing or not
        SQLite: that is never the statement's fault.
        """
        if not database.is_file():
            raise DatasetError(
                f"No database at {database}. Expected a SQLite file; check the dataset's folder."
            )
        limit = self.deadline if deadline is None else deadline
        text = sql.encode("utf-8", errors="ignore").decode()  # lone surrogates have no bytes
        if len(text.encode()) > SQL_BYTES:
            return Result("too_large", error=f"a statement of more than {SQL_BYTES:,} bytes")
        request = (_uri(database), text, limit, max_rows, max_bytes)
        start = time.monotonic()
        answer = self._ask(marshal.dumps(request), limit + GRACE)
        seconds = time.monotonic() - start
        if answer is None:
            return Result("timeout", error=f"stopped after {limit:g} s", seconds=seconds)
        seconds, kind, exception, columns, rows, message = answer
        if kind == "database":
            raise DatasetError(
                f"{database} cannot be opened ({exception}: {message}). Expected a SQLite file; "
                "copy it again."
            )
        if kind == "error":
            kind = _classify(message)
        if kind == "timeout":
            message = f"stopped after {limit:g} s"
        return Result(kind, rows, columns, message, seconds)

    def _ask(self, body: bytes, timeout: float) -> tuple[Any, ...] | None:
        """Send a request and wait; None if the worker did not answer and had to be killed."""
        worker = self._started()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(struct.pack("<I", len(body)) + body)
            worker.stdin.flush()
            if not select.select([worker.stdout], [], [], timeout)[0]:
                self.close()
                return None
            header = worker.stdout.read(4)
            if len(header) == 4:
                size = struct.unpack("<I", header)[0]
                return tuple(marshal.loads(worker.stdout.read(size)))
        except BrokenPipeError:
            pass
        self.close()
        return (
            timeout,
            "too_large",
            "",
            (),
            (),
            "the worker process died, most likely out of memory",
        )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is None or self._worker.poll() is not None:
            self.close()
            self._worker = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._worker


@lru_cache(maxsize=1024)
def _uri(database: Path) -> str:
    return database.absolute().as_uri()


def _classify(message: str) -> Kind:
    lower = message.lower()
    if "interrupted" in lower:
        return "timeout"
    if any(words in lower for words in _FORBIDDEN_MESSAGES):
        return "forbidden"
    if any(words in lower for words in _SIZE_MESSAGES):
        return "too_large"
    return "parse" if any(words in lower for words in _PARSE_MESSAGES) else "execution"

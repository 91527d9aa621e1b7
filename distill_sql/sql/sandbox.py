"""The sandbox: runs a SQL statement read-only, with a deadline and limits on rows and memory.

A statement that a model wrote runs in a worker process that can only read the one database it is
given. The layers of protection, in order: an immutable read-only connection; an authorizer that
allows SELECT, reads and functions (no PRAGMA, ATTACH, writes or extensions) and the statements that
full-text and R-Tree tables issue themselves; SQLite's own limits on text, depth and memory; a
deadline that interrupts the query; and, where SQLite cannot be interrupted, killing the worker. One
statement runs at a time; a text with several is refused. The worker ends when this process does.

Not covered: a bug in SQLite that lets a query take over the worker, and the processor time spent
until the deadline. The worker runs as the same user, so it is not a security boundary.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from distill_sql.errors import DatasetError, DistillSqlError, ParameterError
from distill_sql.sql import frames
from distill_sql.sql.database_file import check_database
from distill_sql.sql.kinds import Kind, kind_of_error

Row: TypeAlias = tuple[Any, ...]

#: Default deadline of a statement, and the longest that can be given, in seconds.
DEADLINE = 10.0
MAX_DEADLINE = 86_400.0
#: Seconds after the deadline until the worker is killed.
GRACE = 0.25
#: Longest statement, in bytes: far longer than any that answers a question.
SQL_BYTES = 100_000
#: Limits of a result: rows, and bytes of rows.
MAX_ROWS = 1_000_000
MAX_BYTES = 256 * 2**20

_WORKER = Path(__file__).with_name("sandbox_worker.py")
#: Attempts for one statement. If a worker ends within this many seconds of a request, without an
#: answer, it may have been killed before the request: the statement is tried again.
_TRIES = 3
_DYING = 0.1
#: Most bytes of rows in a frame, whatever limit a caller gives.
_FRAME_BYTES = 2**30
#: The types of an answer's fields: seconds, kind, exception, SQLite's code, columns, rows, message.
_SHAPE = [float, str, str, int, tuple, list, str]


@dataclass(frozen=True)
class Result:
    """The outcome of one statement. ``rows`` and ``columns`` are empty unless ``kind`` is "ok".

    ``seconds`` is the time in the worker: it includes fetching, and not the pipes.
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

    The worker starts with the first statement, keeps its databases open, ends with this process,
    and is replaced if it dies or must be killed. An exception during a statement, such as Ctrl-C,
    ends the worker only. Threads may take turns with a sandbox, which may need a new worker; they
    must not use it at the same time. ``deadline`` is in seconds.
    """

    def __init__(self, *, deadline: float = DEADLINE) -> None:
        if not 0 < deadline <= MAX_DEADLINE:
            raise ParameterError(_about_deadline(deadline))
        self.deadline = deadline
        self._worker: subprocess.Popen[bytes] | None = None
        self._owner: tuple[int, int | None] = (0, 0)  # the process and thread that started it
        self._in_step = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker. The sandbox can be used again afterwards."""
        worker = self._worker
        if worker is None:
            return
        if self._owner[0] == os.getpid():
            worker.kill()
            worker.wait()
        else:
            worker.returncode = 0  # after a fork, the parent ends it and waits for it
        frames.close_pipes(worker)
        self._worker = None  # last, so that an interrupted close can be repeated

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

        ``deadline`` is in seconds; if it is 0 or less, the result is a timeout. Raises
        :class:`DatasetError` if ``database`` is missing, is not SQLite, or has changes in a log
        beside it: the statement is never to blame for these.
        """
        limit = self.deadline if deadline is None else deadline
        if not limit <= MAX_DEADLINE:
            raise ParameterError(_about_deadline(limit))
        state = check_database(database)
        raw = sql.encode("utf-8", errors="ignore")  # lone surrogates have no bytes
        if len(raw) > SQL_BYTES:
            return Result("too_large", error=f"a statement of more than {SQL_BYTES:,} bytes")
        if b"\0" in raw:
            return Result("parse", error="the query contains a null character")
        if limit <= 0:
            return Result("timeout", error=f"stopped after {limit:g} s")
        request = (
            _uri(database.absolute()),
            (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns),
            raw.decode(),
            limit,
            max_rows,
            min(max_bytes, _FRAME_BYTES),
        )
        start = time.monotonic()
        answer = self._ask(marshal.dumps(request), limit + GRACE)
        if isinstance(answer, str):
            seconds = time.monotonic() - start
            if answer == "late":
                return Result("timeout", error=f"stopped after {limit:g} s", seconds=seconds)
            died = "the worker process died, most likely out of memory"
            return Result("too_large", error=died, seconds=seconds)
        seconds, kind, exception, code, columns, rows, message = answer
        if kind == "database":
            raise DatasetError(
                f"{database} cannot be opened ({exception}: {message}). Expected a SQLite file "
                "that you may read; copy it again."
            )
        if kind == "error":
            kind = kind_of_error(exception, code, message)
        if kind == "timeout":
            message = f"stopped after {limit:g} s"
        return Result(kind, rows if kind == "ok" else (), columns, message, seconds)

    def _ask(self, body: bytes, timeout: float) -> tuple[Any, ...] | Literal["late", "died"]:
        """The answer to a request; without an answer, the reason, and the worker is closed."""
        frame = frames.pack(body)
        for _ in range(_TRIES):
            worker = self._started()
            self._in_step = False
            began = time.monotonic()
            try:
                data = frames.exchange(worker, frame, timeout)
                if data is not None and (answer := _answer(data)) is not None:
                    self._in_step = True
                    return answer
            except MemoryError:  # the answer does not fit into this process's memory
                self.close()
                return "died"
            except BaseException:
                self.close()
                raise
            ended = time.monotonic()
            self.close()
            if data is None:
                return "late"
            if data or ended - began > _DYING:
                break
        return "died"

    def _started(self) -> subprocess.Popen[bytes]:
        """The worker; a new one unless there is one of this process that waits for a request."""
        process, thread = os.getpid(), threading.get_native_id()
        # Linux ends a worker with the thread that started it. The main thread lives to the end.
        main = threading.main_thread().native_id
        is_ours = self._owner in {(process, thread), (process, main)}
        if self._worker is None or not self._in_step or not is_ours:
            self.close()
            self._owner = process, thread
            try:
                self._worker = frames.start_worker(_WORKER)
            except OSError as error:
                raise DistillSqlError(
                    f"The process that runs SQL cannot be started ({error}). Expected Python at "
                    f"{sys.executable!r}; check that it is there and that memory is left."
                ) from error
        return self._worker


def run_sql(
    database: Path | str, sql: str, *, deadline: float = DEADLINE, max_rows: int = MAX_ROWS
) -> Result:
    """Run one statement on a SQLite file, read-only and within limits, and return its rows.

    ``deadline`` is in seconds. Without rows, the result says why. Use a :class:`Sandbox` for many
    statements. Raises :class:`DatasetError` if the file is not a database.
    """
    with Sandbox(deadline=deadline) as sandbox:
        return sandbox.run(Path(database), sql, max_rows=max_rows)


def _answer(data: bytearray) -> tuple[Any, ...] | None:
    """The worker's answer, or None if the bytes are not an answer."""
    if (body := frames.unpack(data)) is None:
        return None
    try:
        answer = marshal.loads(body)
    except MemoryError:
        raise
    except Exception:  # marshal can raise any error on arbitrary bytes
        return None
    return answer if isinstance(answer, tuple) and [*map(type, answer)] == _SHAPE else None


@lru_cache(maxsize=1024)
def _uri(database: Path) -> str:
    return database.as_uri()


def _about_deadline(seconds: float) -> str:
    return (
        f"The deadline of a statement is {seconds:g} s. Expected more than 0 s and at most "
        f"{MAX_DEADLINE:,.0f} s; give one of those."
    )

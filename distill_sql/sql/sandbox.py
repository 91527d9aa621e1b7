"""One SQL statement, safely: read-only, with a deadline and caps on rows and memory.

A statement that a model wrote runs in a worker process that can only read the one database it is
given. Covered, in this order: an immutable read-only connection; an authorizer that allows SELECT,
reading and functions (no PRAGMA, ATTACH, writes, extensions), and full-text and R-Tree tables what
they ask themselves; SQLite's own limits on text, depth and memory; a clock that interrupts the
query; and, for what no clock inside SQLite can interrupt, the worker is killed and another started.
One statement is run at a time, and several in one text are refused. The worker ends when this
process does.

Not covered: a bug in SQLite itself that lets a query take over the worker, and the processor time
spent until the deadline. The worker runs as the same user; it is a fence, not a jail.
"""

from __future__ import annotations

import marshal
import os
import re
import select
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

from distill_sql.errors import DatasetError, DistillSqlError, ParameterError
from distill_sql.files import check_database

#: What became of a statement: it ran ("ok"); it is no SQL ("parse"); it is, and asks for what is
#: not there or cannot be computed ("execution"); the clock ran out ("timeout"); its text, its rows
#: or the memory it takes are over a limit ("too_large"); it is not a query that only reads, or not
#: one statement ("forbidden").
Kind: TypeAlias = Literal["ok", "parse", "execution", "timeout", "too_large", "forbidden"]
Row: TypeAlias = tuple[Any, ...]

#: Seconds a statement may take, and the most that may be asked for.
DEADLINE = 10.0
MAX_DEADLINE = 86_400.0
#: Seconds over its deadline that the worker has before it is killed.
GRACE = 0.25
#: Longest statement, in bytes: far over any that answers a question.
SQL_BYTES = 100_000
#: Rows, and bytes of rows, that a result may have.
MAX_ROWS = 1_000_000
MAX_BYTES = 256 * 2**20

_WORKER = Path(__file__).with_name("sandbox_worker.py")
#: Workers that are tried for one statement. One that ends within this many seconds of being asked,
#: with nothing said, may have been killed before: the statement is run once more.
_TRIES = 3
_DYING = 0.1
#: Bytes of rows that a frame can carry, whatever a caller allows.
_FRAME_BYTES = 2**30
#: Messages that SQLite gives with its general code alone, whole: names in a query cannot be taken
#: for one, as no message has names at both its ends.
_PARSE = re.compile(
    r'near ".*": syntax error|unrecognized token: ".*"|incomplete input'
    r"|parser stack overflow|Recursion limit",
    re.DOTALL,
)
_TOO_LARGE = re.compile(
    r"too many (?:columns|terms|FROM clause terms|arguments on function|references to)\b.*"
    r"|too many (?:SQL variables|levels of trigger recursion)|hex literal too big: .*"
    r"|(?:FTS e|E)xpression tree is too large \(maximum depth \d+\)"
    r"|LIKE or GLOB pattern too complex",
    re.DOTALL,
)
_KINDS: dict[int, Kind] = {
    sqlite3.SQLITE_AUTH: "forbidden",
    sqlite3.SQLITE_INTERRUPT: "timeout",
    sqlite3.SQLITE_TOOBIG: "too_large",
    sqlite3.SQLITE_NOMEM: "too_large",
    sqlite3.SQLITE_FULL: "too_large",
}
#: How an answer begins, and the types of what follows: seconds, kind, exception, SQLite's code,
#: columns, rows, message.
_LENGTH = struct.Struct("<I")
_SHAPE = [float, str, str, int, tuple, list, str]


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

    The worker is started at the first statement, keeps its databases open, ends with this process,
    and is replaced when it has died or has to be killed. An exception in the middle of a statement,
    such as Ctrl-C, costs the worker and nothing else. Threads may use a sandbox one after another,
    which may cost a new worker; at the same time they may not: give each its own. ``deadline`` is
    in seconds.
    """

    def __init__(self, *, deadline: float = DEADLINE) -> None:
        if not 0 < deadline <= MAX_DEADLINE:
            raise ParameterError(_about_deadline(deadline))
        self.deadline = deadline
        self._worker: subprocess.Popen[bytes] | None = None
        self._owner: tuple[int, int | None] = (0, 0)  # the process and thread that started it
        self._in_step = False

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
        worker = self._worker
        if worker is None:
            return
        if self._owner[0] == os.getpid():
            worker.kill()
            worker.wait()
        else:
            worker.returncode = 0  # after a fork it is the parent's, not ours to end or wait for
        for pipe in (worker.stdin, worker.stdout):
            if pipe:
                pipe.close()
        self._worker = None  # last, so that an interrupted close can be done again

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

        ``deadline`` is in seconds; with none left the result is a timeout. Raises
        :class:`DatasetError` if ``database`` is missing, not SQLite, or has changes in a log beside
        it: that is never the statement's fault.
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
            kind = _classify(exception, code, message)
        if kind == "timeout":
            message = f"stopped after {limit:g} s"
        return Result(kind, rows if kind == "ok" else (), columns, message, seconds)

    def _ask(self, body: bytes, timeout: float) -> tuple[Any, ...] | Literal["late", "died"]:
        """The answer to a request, or why there is none; the worker is closed then."""
        frame = _LENGTH.pack(len(body)) + body
        for _ in range(_TRIES):
            worker = self._started()
            self._in_step = False
            began = time.monotonic()
            try:
                data = _exchange(worker, frame, timeout)
                if data is not None and (answer := _answer(data)) is not None:
                    self._in_step = True
                    return answer
            except MemoryError:  # the answer does not fit into this process
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
        """The worker; a new one if there is none that is ours and waits for a request."""
        process, thread = os.getpid(), threading.get_native_id()
        # Linux ends a worker with the thread that started it; the main one lives to the end.
        main = threading.main_thread().native_id
        is_ours = self._owner in {(process, thread), (process, main)}
        if self._worker is None or not self._in_step or not is_ours:
            self.close()
            self._owner = process, thread
            try:
                self._worker = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_WORKER), str(process)],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    process_group=0,  # a terminal's Ctrl-C is for this process alone
                )
            except OSError as error:
                raise DistillSqlError(
                    f"The process that runs SQL cannot be started ({error}). Expected Python at "
                    f"{sys.executable!r}; check that it is there and that memory is left."
                ) from error
            assert self._worker.stdin is not None
            os.set_blocking(self._worker.stdin.fileno(), False)
        return self._worker


def run_sql(
    database: Path | str, sql: str, *, deadline: float = DEADLINE, max_rows: int = MAX_ROWS
) -> Result:
    """Run one statement on a SQLite file, read-only and within limits, and return its rows.

    ``deadline`` is in seconds. The result says why there are no rows, if there are none; use a
    :class:`Sandbox` for many statements. Raises :class:`DatasetError` if the file is not a
    database.
    """
    with Sandbox(deadline=deadline) as sandbox:
        return sandbox.run(Path(database), sql, max_rows=max_rows)


def _exchange(worker: subprocess.Popen[bytes], frame: bytes, seconds: float) -> bytearray | None:
    """Send a frame, and return what comes back: an answer, or as much as came before the end.

    None if the answer has not begun after ``seconds``, or takes as long again to come.
    """
    assert worker.stdin is not None
    assert worker.stdout is not None
    sink, source = worker.stdin.fileno(), worker.stdout.fileno()
    end = time.monotonic() + seconds
    while frame:
        try:
            frame = frame[os.write(sink, frame) :]
        except BlockingIOError:  # it is longer than a pipe holds
            if not _wait(_poll(sink, select.POLLOUT), end):
                return None
        except BrokenPipeError:
            return bytearray()
    poll = _poll(source, select.POLLIN)
    data = bytearray()
    size = _LENGTH.size
    while len(data) < size:
        if not _wait(poll, end):
            return None
        chunk = os.read(source, 65536)
        if not chunk:
            break
        is_begun = len(data) >= _LENGTH.size
        data += chunk
        if not is_begun and len(data) >= _LENGTH.size:
            size += _LENGTH.unpack_from(data)[0]
            end = time.monotonic() + seconds
    return data


def _poll(descriptor: int, event: int) -> select.poll:
    poll = select.poll()  # select() takes no descriptor over 1023
    poll.register(descriptor, event)
    return poll


def _wait(poll: select.poll, end: float) -> bool:
    """Wait for a pipe until ``end``. What is ready is ready, however late it is."""
    return bool(poll.poll(max(end - time.monotonic(), 0) * 1000))


def _answer(data: bytearray) -> tuple[Any, ...] | None:
    """The worker's answer, or None if these bytes are none."""
    size = _LENGTH.size
    if len(data) < size or _LENGTH.unpack_from(data)[0] != len(data) - size:
        return None
    try:
        answer = marshal.loads(memoryview(data)[size:])
    except MemoryError:
        raise
    except Exception:  # of bytes that are no value, marshal raises whatever it comes upon
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


def _classify(exception: str, code: int, message: str) -> Kind:
    """The kind of an error: by SQLite's code, by Python's exception, by a fixed message last."""
    if code & 0xFF != sqlite3.SQLITE_ERROR and code:
        return _KINDS.get(code & 0xFF, "execution")
    if not code:  # Python's own
        if exception in {"DataError", "OverflowError"}:
            return "too_large"
        several = message.startswith("You can only execute one statement at a time")
        return "forbidden" if several else "execution"
    if _PARSE.fullmatch(message):
        return "parse"
    return "too_large" if _TOO_LARGE.fullmatch(message) else "execution"

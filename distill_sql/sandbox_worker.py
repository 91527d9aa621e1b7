"""The process in which :mod:`distill_sql.sandbox` runs SQL. Run as a script, never imported.

It imports nothing of the package, so that it starts in a few hundredths of a second. It reads
requests from its standard input and answers on its standard output, both as frames: a length of
four bytes, then a value in Python's marshal format.
"""

from __future__ import annotations

import gc
import marshal
import resource
import sqlite3
import struct
import sys
import time
from typing import Any, BinaryIO

#: Longest text or blob that a query may make or read, in bytes.
CELL_BYTES = 4 * 2**20
#: What SQLite may allocate, and what the whole process may map.
HEAP_BYTES = 384 * 2**20
ADDRESS_BYTES = 2 * 2**30
#: Connections kept open.
OPEN_DATABASES = 64
#: Virtual machine steps between two looks at the clock: well under a millisecond.
STEPS = 2000

ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_FUNCTION,
}
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: CELL_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 2 * 2**20,
    sqlite3.SQLITE_LIMIT_COLUMN: 2000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 500,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 200,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests ``(path, sql, deadline, max_rows, max_bytes)`` until the input ends."""
    connections: dict[str, sqlite3.Connection] = {}
    while header := source.read(4):
        path, sql, deadline, max_rows, max_bytes = marshal.loads(
            source.read(struct.unpack("<I", header)[0])
        )
        start = time.perf_counter()
        try:
            connection = connections.pop(path, None) or connect(path)
            connections[path] = connection
            if len(connections) > OPEN_DATABASES:
                connections.pop(next(iter(connections))).close()
            start = time.perf_counter()  # opening a database is not the statement's time
            answer: tuple[Any, ...] = run(connection, sql, deadline, max_rows, max_bytes)
        except MemoryError:
            connections.clear()
            gc.collect()
            answer = ("too_large", "", (), (), "out of memory")
        except sqlite3.Error as error:
            answer = ("database", type(error).__name__, (), (), str(error))
        body = marshal.dumps((time.perf_counter() - start, *answer))
        sink.write(struct.pack("<I", len(body)) + body)
        sink.flush()


def connect(path: str) -> sqlite3.Connection:
    """Open a database for reading, and for nothing else."""
    connection = sqlite3.connect(f"{path}?mode=ro&immutable=1", uri=True, isolation_level=None)
    connection.text_factory = lambda raw: raw.decode(errors="ignore")
    for category, limit in LIMITS.items():
        connection.setlimit(category, limit)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
    connection.execute("SELECT count(*) FROM sqlite_master")  # fails here if it is no database
    connection.set_authorizer(authorize)
    return connection


def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    """Reading tables and calling functions is allowed; nothing else is."""
    if action not in ALLOWED or second in {"load_extension", "fts3_tokenizer"}:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def run(
    connection: sqlite3.Connection, sql: str, deadline: float, max_rows: int, max_bytes: int
) -> tuple[str, str, tuple[str, ...], Any, str]:
    """Execute and fetch: ``(kind, exception, columns, rows, message)``."""
    end = time.monotonic() + deadline
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        rows: list[tuple[object, ...]] = []
        size = 0
        while batch := cursor.fetchmany(500):
            rows += batch
            if len(rows) > max_rows:
                return "too_large", "", (), (), f"more than {max_rows} rows"
            if len(rows) > 500 or len(marshal.dumps(batch)) > max_bytes:
                size += len(marshal.dumps(batch))
            if size > max_bytes:
                return "too_large", "", (), (), f"more than {max_bytes} bytes of rows"
            if time.monotonic() > end:
                return "timeout", "", (), (), "interrupted"
        columns = tuple(item[0] for item in cursor.description or ())
        return "ok", "", columns, rows, ""
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return "error", type(error).__name__, (), (), str(error)
    finally:
        cursor.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS ignores it
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)

"""The worker process in which :mod:`distill_sql.sql.sandbox` runs SQL. Run as a script.

Of the package it imports only ``processes.py``, so that it starts in 10 ms. It reads requests from
standard input and answers on standard output, both as frames: a length of four bytes, then a value
in Python's marshal format.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import sqlite3
import struct
import sys
import time
from typing import Any, BinaryIO

#: Longest text or blob that a query can make or read, in bytes.
CELL_BYTES = 4 * 2**20
#: Limits of SQLite's heap and of the process's address space.
HEAP_BYTES = 384 * 2**20
ADDRESS_BYTES = 2 * 2**30
#: Connections that are kept open.
OPEN_DATABASES = 64
#: Virtual machine steps between two checks of the deadline: well under a millisecond.
STEPS = 2000

OK = sqlite3.SQLITE_OK
READING = {sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
#: Statements that virtual tables prepare when they are opened, and never run: the declaration of
#: their columns, and an R-Tree's changes.
PREPARED = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
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
    """Answer requests until the input ends.

    A request is ``(path, state, sql, deadline, max_rows, max_bytes)``. ``state`` identifies the
    file's version: a connection is kept until the file changes.
    """
    databases: dict[str, Database] = {}
    while header := source.read(4):
        path, state, sql, deadline, max_rows, max_bytes = marshal.loads(
            source.read(struct.unpack("<I", header)[0])
        )
        start = time.perf_counter()
        try:
            database = databases.pop(path, None)
            if database is not None and database.state != state:
                database.connection.close()
                database = None
            if database is None:
                database = Database(path, state, deadline)
            databases[path] = database
            if len(databases) > OPEN_DATABASES:
                databases.pop(next(iter(databases))).connection.close()
            start = time.perf_counter()  # do not count opening the database
            answer: tuple[Any, ...] = database.run(sql, deadline, max_rows, max_bytes)
        except MemoryError:
            databases.clear()
            database = None
            gc.collect()
            answer = ("too_large", "", 0, (), [], "out of memory")
        except TimeoutError:
            answer = ("timeout", "", 0, (), [], "interrupted")
        # For a damaged file, even SQLite's message may not be UTF-8.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            answer = ("database", type(error).__name__, 0, (), [], str(error))
        body = marshal.dumps((time.perf_counter() - start, *answer))
        sink.write(struct.pack("<I", len(body)))
        sink.write(body)
        sink.flush()


class Database:
    """A database that is open for reading only."""

    def __init__(self, path: str, state: tuple[int, ...], deadline: float) -> None:
        self.state = state
        self._opening = False
        self._has_json = False
        self._begin(deadline)
        self.connection = sqlite3.connect(
            f"{path}?mode=ro&immutable=1", uri=True, isolation_level=None
        )
        try:
            self._open()
        except (sqlite3.Error, UnicodeDecodeError, TimeoutError):
            self.connection.close()
            if self._late:
                raise TimeoutError from None
            raise

    def _begin(self, deadline: float) -> None:
        self._end = time.monotonic() + deadline
        self._late = False  # the deadline stopped the statement
        self._denied = False  # it attempted a forbidden action
        self._selects = False  # it begins as a query

    def _open(self) -> None:
        connection = self.connection
        connection.text_factory = lambda raw: raw.decode(errors="ignore")
        for category, limit in LIMITS.items():
            connection.setlimit(category, limit)
        connection.execute("PRAGMA query_only = ON")
        # Not trusted_schema = OFF: some versions of SQLite then refuse schemas that call JSON
        # functions, and views on full-text tables. The authorizer forbids what is dangerous.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
        connection.set_progress_handler(self._is_late, STEPS)
        virtual = connection.execute(  # fails here if the file is not a database
            """SELECT printf('"%w"', name) FROM sqlite_master
            WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"""
        ).fetchall()
        connection.set_authorizer(self._authorize)
        self._make([row[0] for row in virtual])

    def _make(self, tables: list[str]) -> None:
        """Open virtual tables, once per connection: this prepares what queries must not."""
        self._opening = True
        for name in tables:
            with contextlib.suppress(sqlite3.Error):  # a query on the table gets the error
                self.connection.execute(f"EXPLAIN SELECT 1 FROM {name}").close()
        self._opening = False
        if self._late:
            raise TimeoutError

    def _is_late(self) -> bool:
        self._late = time.monotonic() > self._end
        return self._late

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Allow reading tables and calling functions, and nothing else."""
        if action in READING:  # by far the most frequent
            return OK
        if action == sqlite3.SQLITE_SELECT:
            self._selects = allowed = True
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = second not in {"load_extension", "fts3_tokenizer"}
        elif action == sqlite3.SQLITE_PRAGMA:
            # Full-text tables issue these. In the text of a query, it would be the first action.
            allowed = second is None and (
                (first == "data_version" and self._selects)
                or (first == "page_size" and self._opening)
            )
        else:
            allowed = self._opening and action in PREPARED
        if allowed:
            return OK
        self._denied = True
        return sqlite3.SQLITE_DENY

    def run(
        self, sql: str, deadline: float, max_rows: int, max_bytes: int
    ) -> tuple[str, str, int, tuple[str, ...], Any, str]:
        """Execute and fetch: ``(kind, exception, SQLite's code, columns, rows, message)``."""
        self._begin(deadline)
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql)
            rows: list[tuple[object, ...]] = []
            size = 0
            while batch := cursor.fetchmany(500):
                rows += batch
                if len(rows) > max_rows:
                    return "too_large", "", 0, (), [], f"more than {max_rows} rows"
                if len(rows) > 500 or len(marshal.dumps(batch)) > max_bytes:
                    size += len(marshal.dumps(batch))
                if size > max_bytes:
                    return "too_large", "", 0, (), [], f"more than {max_bytes} bytes of rows"
                if time.monotonic() > self._end:
                    return "timeout", "", 0, (), [], "interrupted"
            columns = tuple(item[0] for item in cursor.description or ())
            return "ok", "", 0, columns, rows, ""
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            if not self._has_json and str(error).startswith("vtable constructor failed: json_"):
                self._make(["json_each", "json_tree"])  # on demand, since few queries need them
                self._has_json = True
                return self.run(sql, deadline, max_rows, max_bytes)
            code = getattr(error, "sqlite_errorcode", 0)  # absent if Python raised the error
            if self._late:
                code = sqlite3.SQLITE_INTERRUPT
            elif self._denied:  # a virtual table may report it as any error
                code = sqlite3.SQLITE_AUTH
            return "error", type(error).__name__, code, (), [], str(error)
        finally:
            cursor.close()


if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/")[0])
    importlib.import_module("processes").confine(int(sys.argv[1]), address_bytes=ADDRESS_BYTES)
    serve(sys.stdin.buffer, sys.stdout.buffer)

"""Claims on requests: a process claims a request before it sends it, so none is sent twice.

A claim is a row in the cache. Its owner holds a lock on a file beside the cache. The kernel
releases the lock when the process ends, however it ends, so claims of dead processes are void and
process ids need not be trusted.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import IO

from distill_sql.errors import TeacherError


class Claims:
    """The claims of one open cache. Two caches in one process exclude each other, too."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        # Processes that open the cache through different links must find the same lock files.
        self._path = os.path.realpath(path)
        self._owner = secrets.token_hex(8)
        self._lock: IO[bytes] | None = None

    def take(self, key: bytes) -> bool:
        """Claim ``key``; False if another live owner holds it. Call in a transaction."""
        self._show_life()
        row = self._db.execute("SELECT owner FROM claim WHERE key = ?", (key,)).fetchone()
        if row and row[0] != self._owner:
            if self._lives(row[0]):
                return False
            self._db.execute("DELETE FROM claim WHERE owner = ?", row)
            self._file(row[0]).unlink(missing_ok=True)
        self._db.execute("INSERT OR IGNORE INTO claim VALUES (?, ?)", (key, self._owner))
        return True

    def drop(self, key: bytes) -> None:
        """Release a claim of our own."""
        self._db.execute("DELETE FROM claim WHERE key = ? AND owner = ?", (key, self._owner))

    def close(self) -> None:
        """Release all our claims."""
        if self._lock:
            with suppress(sqlite3.Error):  # releasing the lock is enough
                self._db.execute("DELETE FROM claim WHERE owner = ?", (self._owner,))
            Path(self._lock.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _show_life(self) -> None:
        if self._lock is None:
            try:
                self._lock = self._file(self._owner).open("xb")
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TeacherError(
                    f"A lock file beside {self._path} failed ({error.strerror}). Give a --cache "
                    "on a local disk, in a folder that you may write to."
                ) from error

    def _lives(self, owner: str) -> bool:
        try:
            with self._file(owner).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def _file(self, owner: str) -> Path:
        return Path(f"{self._path}-claims-{owner}")

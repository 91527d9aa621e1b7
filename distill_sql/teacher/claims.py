"""Which process is asking what: a request is claimed before it is sent, so none is sent twice.

A claim is a row in the cache, and its owner a file beside the cache that the owner holds locked.
The kernel drops that lock when the process ends, however it ends, so the claims of the dead are
void and no process number has to be trusted.
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
    """The claims of one open cache; two in the same process exclude each other, too."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        # Processes that open the cache through different links have to find the same files.
        self._path = os.path.realpath(path)
        self._owner = secrets.token_hex(8)
        self._lock: IO[bytes] | None = None

    def take(self, key: bytes) -> bool:
        """Claim ``key``; False if another owner that lives holds it. Call in a transaction."""
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
        """Give a claim back; those of others stay."""
        self._db.execute("DELETE FROM claim WHERE key = ? AND owner = ?", (key, self._owner))

    def close(self) -> None:
        """Give all claims back."""
        if self._lock:
            with suppress(sqlite3.Error):  # then the lock alone says it
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
                    f"No lock can be held beside {self._path} ({error.strerror}). Give a --cache "
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

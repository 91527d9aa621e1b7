"""The file format of the cache of answers: recognizing our files, their tables, and migrations.

Our files have an application id. Files of layout 1 have none and are recognized by their tables.
Any other file is an error, and neither it nor a file beside it is changed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path

from distill_sql.errors import TeacherError
from distill_sql.sql.database_file import SQLITE_HEADER

#: The layout of the file; higher numbers are from newer versions of this package.
VERSION = 2
#: SQLite's application id of our files: "dsql".
APPLICATION_ID = 0x6473716C

#: What each layout adds to the one before.
_LAYOUTS = (
    """
    CREATE TABLE sample (
      key BLOB PRIMARY KEY, request BLOB NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
      finish TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
      cost INTEGER NOT NULL, created REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE request (key BLOB PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE spend (id INTEGER PRIMARY KEY CHECK (id = 1), total INTEGER NOT NULL);
    CREATE TABLE batch (id TEXT PRIMARY KEY, bound INTEGER NOT NULL, state TEXT NOT NULL);
    INSERT INTO spend VALUES (1, 0);
    """,
    """
    ALTER TABLE batch ADD COLUMN name TEXT NOT NULL DEFAULT '';
    UPDATE batch SET name = id;
    ALTER TABLE batch ADD COLUMN file TEXT NOT NULL DEFAULT '';
    ALTER TABLE batch ADD COLUMN url TEXT NOT NULL DEFAULT '';
    ALTER TABLE batch ADD COLUMN model TEXT NOT NULL DEFAULT '';
    ALTER TABLE batch ADD COLUMN price TEXT NOT NULL DEFAULT '';
    ALTER TABLE batch ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE batch ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE batch ADD COLUMN created REAL NOT NULL DEFAULT 0;
    CREATE TABLE batch_request (
      key BLOB NOT NULL, batch TEXT NOT NULL, numbers TEXT NOT NULL, bound INTEGER NOT NULL,
      state TEXT NOT NULL DEFAULT 'open', PRIMARY KEY (key, batch)
    ) WITHOUT ROWID;
    CREATE TABLE claim (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
    """,
)
_FIRST_TABLES = {"sample", "request", "spend", "batch"}


def open_cache(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the cache of answers at ``path``; it is created if it does not exist.

    ``read_only`` creates and changes nothing, and needs an existing file. Raises
    :class:`TeacherError`, with the path and the fix, for a file that is not a cache, is corrupt or
    cannot be opened.
    """
    try:
        _check_ours(path, may_be_missing=not read_only)
        if read_only:
            return _open_to_read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path, "mode=rwc")
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.OperationalError as error:
        raise TeacherError(
            f"{path} cannot be opened as a cache of answers ({error}). Give a --cache in a folder "
            "that you may write to, and check that no other program holds the file."
        ) from error
    except sqlite3.DatabaseError as error:
        raise TeacherError(
            f"{path} cannot be read as a cache of answers ({error}). It may be corrupt: "
            "move it aside, or try `sqlite3 FILE .recover`, since it holds what was paid for."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise TeacherError(
            f"{path} cannot be used as a cache of answers ({reason}). Give a --cache in a folder "
            "that you may write to."
        ) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True, timeout=30, isolation_level=None, check_same_thread=False,
    )  # fmt: skip


def _open_to_read(path: Path) -> sqlite3.Connection:
    # In WAL mode, SQLite creates files beside the database even to read it. If it may not, and the
    # log is empty, the file is opened as immutable.
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    connection = _connect(path, "mode=rw" if writable or _log_size(path) else "immutable=1")
    try:
        connection.execute("PRAGMA query_only = ON")
        _check_version(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables, or migrate an older layout, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    version = _check_version(connection, path)
    for layout in _LAYOUTS[version:]:
        for statement in layout.split(";\n"):
            connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise TeacherError(
            f"{path} was written by a newer version of distill-sql (layout {version}, "
            f"expected at most {VERSION}). Update distill-sql, or give another --cache."
        )
    return version


# --- Recognizing our files
# ---------------------------------------------------------------------------


def _check_ours(path: Path, *, may_be_missing: bool) -> None:
    """Raise :class:`TeacherError` if ``path`` exists and is not a cache of ours."""
    try:
        state = path.stat()
    except FileNotFoundError:
        if may_be_missing:
            return
        raise TeacherError(
            f"No cache of answers at {path}. Give another --cache, or ask a teacher first."
        ) from None
    if stat.S_ISDIR(state.st_mode):
        found = "a folder"
    elif not stat.S_ISREG(state.st_mode):
        found = "not a regular file"
    elif not state.st_size and not _log_size(path):
        if may_be_missing:  # another process may be creating it now
            return
        found = "an empty file"
    else:
        with path.open("rb") as file:
            header = file.read(100)
        if header[:16] != SQLITE_HEADER:
            found = "not a SQLite file"
        elif int.from_bytes(header[68:72], "big") == APPLICATION_ID or _has_our_tables(path):
            return
        else:
            found = "a SQLite file of another program"
    raise TeacherError(
        f"{path} is not a cache of answers: it is {found}. Nothing in it was changed. Give --cache "
        "the path of a cache that `distill-sql teacher sample` made, or a new path."
    )


def _has_our_tables(path: Path) -> bool:
    """Whether a SQLite file has the tables of layout 1; does not change it or its log."""
    tables = _tables(path)
    if tables or not _log_size(path):
        return tables >= _FIRST_TABLES
    # After a kill, the first rows may still be in the log only. Opening the file would write beside
    # it, so a copy is opened; it is small, since it has no tables.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.sqlite"
        shutil.copy(path, copy)
        shutil.copy(_log(path), f"{copy}-wal")
        with closing(_connect(copy, "mode=rw")) as connection:
            return _names(connection) >= _FIRST_TABLES


def _tables(path: Path) -> set[str]:
    with closing(_connect(path, "immutable=1")) as connection:
        return _names(connection)


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _log(path: Path) -> Path:
    # SQLite keeps the log beside the file itself, not beside a link to it.
    return Path(f"{os.path.realpath(path)}-wal")


def _log_size(path: Path) -> int:
    try:
        return _log(path).stat().st_size
    except OSError:
        return 0

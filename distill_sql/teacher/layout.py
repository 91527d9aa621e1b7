"""The file of answers on disk: which files are ours, their tables, and how old ones are brought up.

A file of ours carries an application id; one of layout 1, which had none, is known by its tables.
Any other file is refused without a byte of it, or a file beside it, being changed.
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

#: The layout of the file; one with a higher number is from a newer version of this package.
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
    """A connection to the file of answers at ``path``; it is made if there is none.

    ``read_only`` makes and changes nothing, and expects a file. Raises :class:`TeacherError`, with
    the path and the fix, for a file that is none of ours, is corrupt or cannot be opened.
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
    # SQLite wants to make files beside one in WAL mode, even to read it. Where it may not, and no
    # log holds rows, the file is read as it stands.
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
    """Make the tables, or bring an older layout up; all of it or, if the process dies, nothing."""
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


# --- Whose file it is ---------------------------------------------------------------------------


def _check_ours(path: Path, *, may_be_missing: bool) -> None:
    """Raise :class:`TeacherError` if there is something at ``path`` that is no file of ours."""
    try:
        state = path.stat()
    except FileNotFoundError:
        if may_be_missing:
            return
        raise TeacherError(f"No answers at {path}. Give another --cache, or ask some.") from None
    if stat.S_ISDIR(state.st_mode):
        found = "a folder"
    elif not stat.S_ISREG(state.st_mode):
        found = "no regular file"
    elif not state.st_size and not _log_size(path):
        if may_be_missing:  # another process may be making it at this moment
            return
        found = "an empty file"
    else:
        with path.open("rb") as file:
            header = file.read(100)
        if header[:16] != SQLITE_HEADER:
            found = "no SQLite file"
        elif int.from_bytes(header[68:72], "big") == APPLICATION_ID or _has_our_tables(path):
            return
        else:
            found = "a SQLite file of another program"
    raise TeacherError(
        f"{path} is no cache of answers but {found}; nothing in it was changed. Give --cache the "
        "path of a cache that `distill-sql teacher sample` made, or a new path."
    )


def _has_our_tables(path: Path) -> bool:
    """Whether a SQLite file has the tables of layout 1; neither it nor its log is touched."""
    tables = _tables(path)
    if tables or not _log_size(path):
        return tables >= _FIRST_TABLES
    # The first rows of a process that was killed may all be in the log still. Opening the file
    # would write beside it, so a copy is opened; it is small, since it has no table.
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

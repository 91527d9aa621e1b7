"""Database files: finding them, checking that they are complete, and reading them within limits.

Errors name the path that was looked for, what is there, and the fix. Reading is for schemas and
sample rows. It has a deadline and limits on the size of cells. Tables that run code when they are
read (virtual generated columns, virtual tables, views) are read in :mod:`distill_sql.sql.sandbox`,
where SQL from a model always runs.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from distill_sql.errors import DatasetError
from distill_sql.sql.database_file import SQLITE_HEADER, check_database
from distill_sql.sql.names import folded, quote_identifier
from distill_sql.sql.sandbox import Sandbox

#: Longest name of a database or split, in bytes: file names are limited to 255.
NAME_BYTES = 200
#: Deadline of one statement, in seconds.
DEADLINE = 60.0
#: Limits on reading: a cell, and a CREATE statement, in bytes.
CELL_BYTES = 4 * 2**20
SCHEMA_BYTES = 2 * 2**20
#: Bytes that are kept of a text, and of all cells of a result.
TEXT_BYTES = 100_000
RESULT_BYTES = 64 * 2**20
#: Virtual machine steps between two checks of the deadline.
_STEPS = 10_000
#: SQLite's message is not UTF-8 if it contains a damaged name of the file.
_DAMAGE = (sqlite3.Error, UnicodeDecodeError)
_LFS_POINTER = b"version https://git-lfs"
#: Databases on which a statement exceeded the deadline.
_STOPPED: set[Path] = set()
_SUFFIXES = ("", ".sqlite", ".db", ".sqlite3", ".db3")


def check_name(name: str, *, what: str) -> str:
    """``name`` itself, if it is the name of a single file or folder and not a path.

    Else raises :class:`DatasetError`; ``what`` begins its message and says where the name is from.
    """
    reason = ""
    if not name or name in (".", ".."):
        reason = "it does not name a folder"
    elif any(mark in name for mark in "/\\\0"):
        reason = "it contains a slash, a backslash or a NUL character, so it would be a path"
    elif any("\ud800" <= mark <= "\udfff" for mark in name):
        reason = "it contains a lone surrogate"
    elif len(name.encode()) > NAME_BYTES:
        reason = f"it is longer than {NAME_BYTES} bytes"
    if reason:
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        raise DatasetError(f"{what} {shown!r} cannot be used: {reason}. Give it a plain name.")
    return name


# --- Finding --------------------------------------------------------------------------------------


def find_database(folder: Path, db_id: str, *, of: str = "the dataset") -> Path:
    """The file of a database, ``<db_id>/<db_id>.sqlite`` in ``folder``; it exists and is complete.

    Raises :class:`DatasetError` with the path looked for, what was found and the fix. ``of`` is the
    dataset's name in the message.
    """
    check_name(db_id, what="The db_id")
    path = folder / db_id / f"{db_id}.sqlite"
    if not is_file(path):
        raise DatasetError(
            f"The database {db_id!r} of {of} is missing: no file at {path}. {_instead(path)}"
        )
    check_whole(path)
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file; False if the path cannot be accessed."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False if the path cannot be accessed."""
    try:
        return path.is_dir()
    except OSError:
        return False


def check_whole(path: Path) -> None:
    """Raise :class:`DatasetError` unless a file is a complete SQLite database, readable as it is.

    The check uses the header and the file's size; it does not find damage inside.
    """
    size = check_database(path).st_size
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}). Allow it: chmod u+r {path}"
        ) from None
    if not head:
        raise DatasetError(
            f"{path} is not a readable SQLite database: it is empty (0 bytes). Copy or download "
            "it again."
        )
    if head.startswith(_LFS_POINTER):
        raise DatasetError(
            f"{path} is not a readable SQLite database: it is a Git LFS pointer, not the "
            "file itself. Run 'git lfs pull' in its repository."
        )
    if not head.startswith(SQLITE_HEADER):
        raise _unreadable(path, "file is not a database")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    # SQLite's own rule: the page count is valid if the last program to write maintained it.
    pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 1
    if len(head) < 100 or size < page * pages:
        raise DatasetError(
            f"{path} is cut short: its header says {pages * page:,} bytes, and the file has "
            f"{size:,}. Copy or download it again."
        )


def _unreadable(path: Path, said: object) -> DatasetError:
    with path.open("rb") as file:
        head = file.read(16)
    return DatasetError(
        f"{path} is not a readable SQLite database ({said}): it begins with {head!r}, "
        f"expected {SQLITE_HEADER!r} and consistent pages. Download or copy the file again."
    )


def _instead(path: Path) -> str:
    """What is there instead of a missing database, and the fix."""
    try:
        if path.is_symlink():
            return f"It is a link to {path.readlink()}, which is not a file. Correct the link."
        if path.is_dir():
            return "It is a folder. Put the SQLite file itself there."
        found = [*_similar(path.parent, path.stem), *_similar(path.parent.parent, path.stem)]
    except PermissionError as error:
        return f"The folder {error.filename} cannot be read. Allow it: chmod u+rx {error.filename}"
    if found:
        folder, source, target = (shlex.quote(str(p)) for p in (path.parent, found[0], path))
        return f"Found {found[0]}. Move it there: mkdir -p {folder} && mv {source} {target}"
    with suppress(OSError):
        there = sorted(entry.name for entry in islice(path.parent.iterdir(), 5))
        return (
            f"The folder {path.parent} contains {', '.join(there) or 'nothing'}. Copy the database "
            "there, or leave its questions out."
        )
    return (
        f"Expected one folder per database in {path.parent.parent}. Copy it there, or leave its "
        "questions out."
    )


def _similar(folder: Path, stem: str) -> Iterator[Path]:
    """Files in a folder, or one level deeper, that may be the database called ``stem``."""
    names = {f"{stem}{suffix}".lower() for suffix in _SUFFIXES}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in islice(entries, 10_000):
            if entry.name.lower() not in names:
                continue
            if entry.is_file():
                yield Path(entry.path)
            elif entry.is_dir() and entry.name != stem:  # the same name in another case
                yield from _similar(Path(entry.path), stem)


# --- Reading --------------------------------------------------------------------------------------


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection that drops undecodable bytes of text, as Spider's evaluator does.

    Use it only for queries that evaluate no expression of the database; :class:`Reader` reads rows.
    Reading stops after :data:`DEADLINE` seconds, and texts are cut at :data:`TEXT_BYTES` bytes.
    Raises :class:`DatasetError` if the file is missing, is not SQLite, or is damaged where it is
    read.
    """
    check_whole(path)
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        connection.text_factory = lambda raw: raw[:TEXT_BYTES].decode("utf-8", errors="ignore")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CELL_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, SCHEMA_BYTES)
        _start_clock(connection)
        connection.execute("SELECT count(*) FROM sqlite_master")
        yield connection
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    finally:
        connection.close()


def _start_clock(connection: sqlite3.Connection) -> None:
    end = time.monotonic() + DEADLINE
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)


class Reader:
    """Reads rows of a database's tables; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closing = ExitStack()
        self._connection = self._closing.enter_context(read_only(path))
        self._sandbox: Sandbox | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def rows(self, table: str, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on one table; empty if it fails or exceeds a limit.

        It fails if the schema names a table or column that the file lacks, as in some real data.
        After a timeout, nothing more is read from the database.
        """
        if self._path in _STOPPED:
            return []
        _start_clock(self._connection)
        rows: list[tuple[Any, ...]] = []
        size = 0
        try:
            if (declared := self._declared.get(folded(table))) is None:
                return []
            if self._computes(table, declared):
                if self._sandbox is None:
                    self._sandbox = self._closing.enter_context(Sandbox())
                result = self._sandbox.run(self._path, sql)
                if result.kind == "timeout":
                    _STOPPED.add(self._path)
                return list(result.rows)
            for row in self._connection.execute(sql):
                rows.append(row)
                size += sum(len(cell) for cell in row if isinstance(cell, str | bytes))
                if size > RESULT_BYTES:
                    break
        except (sqlite3.OperationalError, sqlite3.DataError, sqlite3.ProgrammingError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                _STOPPED.add(self._path)
            return []
        except _DAMAGE as error:
            raise _unreadable(self._path, error) from error
        return rows

    @cached_property
    def _declared(self) -> dict[str, str]:
        """The beginning of each table's or view's CREATE statement, by name in lower case."""
        return dict(
            self._connection.execute(
                "SELECT lower(name), substr(sql, 1, 20) FROM sqlite_master "
                "WHERE type IN ('table', 'view')"
            )
        )

    def _computes(self, table: str, declared: str) -> bool:
        """Whether reading the table runs expressions or code from the database."""
        if not declared.upper().startswith("CREATE TABLE"):
            return True
        columns = self._connection.execute(f"PRAGMA table_xinfo({quote_identifier(table)})")
        return any(hidden == 2 for *_, hidden in columns.fetchall())

"""Whether a SQLite file can be read as it is."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from distill_sql.errors import DatasetError
from distill_sql.files import reason

#: The first bytes of every SQLite file.
SQLITE_HEADER = b"SQLite format 3\x00"


def check_database(path: Path) -> os.stat_result:
    """The file status of a database that can be read as it is.

    Raises :class:`DatasetError` if it is missing, or if a write-ahead log or a rollback journal
    beside it has changes: rows that the file lacks, or rows that were never committed.
    """
    try:
        state = path.lstat()
        is_link = stat.S_ISLNK(state.st_mode)
        if is_link:
            state = path.stat()
    except (OSError, ValueError) as found:
        raise DatasetError(
            f"No database at {path} ({reason(found)}). Expected a SQLite file; check the "
            "dataset's folder."
        ) from None
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
        raise DatasetError(f"No database at {path}: it is {kind}. Expected a SQLite file there.")
    # SQLite keeps both beside the file that a link points to, not beside the link.
    real = os.path.realpath(path) if is_link else path
    for suffix, what in (("-wal", "a write-ahead log"), ("-journal", "a rollback journal")):
        if not os.access(f"{real}{suffix}", os.F_OK):  # the quickest check: it runs for every query
            continue
        beside = Path(f"{real}{suffix}")
        with suppress(OSError):
            if beside.stat().st_size and not (suffix == "-journal" and _is_finished(beside)):
                raise DatasetError(
                    f"{path} has {what} that holds changes ({beside}): its rows may be missing or "
                    "uncommitted. Close the program that writes to it, then checkpoint it: "
                    f"sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'; or copy it with "
                    f"sqlite3 {path} '.backup COPY'."
                )
    return state


def _is_finished(journal: Path) -> bool:
    """Whether a rollback journal is left over from a finished transaction: its header is zero."""
    with journal.open("rb") as file:
        return not file.read(28).strip(b"\x00")

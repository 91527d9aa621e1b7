from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.errors import DatasetError
from distill_sql.sql.database_file import SQLITE_HEADER, check_database


def test_a_database_with_changes_beside_it_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "a.sqlite"
    with pytest.raises(DatasetError, match=r"No database at .*a\.sqlite"):
        check_database(database)
    database.write_bytes(SQLITE_HEADER)
    beside = [tmp_path / f"a.sqlite{suffix}" for suffix in ("-wal", "-shm", "-journal")]
    for path in beside:
        path.write_bytes(b"")
    check_database(database)
    beside[1].write_bytes(b"x")
    beside[2].write_bytes(bytes(512))  # kept after its transaction, as journal_mode=PERSIST does
    check_database(database)
    link = tmp_path / "elsewhere" / "b.sqlite"
    link.parent.mkdir()
    link.symlink_to(database)
    for path in (beside[0], beside[2]):
        path.write_bytes(b"x")
        for name in (database, link):
            with pytest.raises(DatasetError, match=r"holds changes .* checkpoint"):
                check_database(name)
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="it is a folder"):
        check_database(tmp_path)

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_sql.cli import main
from distill_sql.errors import TeacherError
from distill_sql.teacher import Sample, Store
from distill_sql.teacher.layout import APPLICATION_ID, VERSION
from distill_sql.teacher.store import request_key
from tests.teacher.old_cache import old_cache

BODY = {"model": "m", "messages": []}


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The names, contents and times of the files in a folder."""
    return {
        path.name: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def sqlite_file(path: Path, *, mode: str = "DELETE", script: str = "") -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.executescript(f"CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('x'); {script}")


def killed_in_wal(path: Path) -> None:
    """Write a file whose rows are all in its log, as after kill -9."""
    made = path.with_name("made")
    made.mkdir()
    with closing(sqlite3.connect(made / "x")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript("CREATE TABLE song (title TEXT);")
        shutil.copy(made / "x", path)
        shutil.copy(made / "x-wal", f"{path}-wal")
    shutil.rmtree(made)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "rollback journal": sqlite_file,
    "write-ahead log": lambda path: sqlite_file(path, mode="WAL"),
    "rows in the log": killed_in_wal,
    "a version of its own": lambda path: sqlite_file(path, script="PRAGMA user_version = 1"),
    "an id of its own": lambda path: sqlite_file(path, script="PRAGMA application_id = 7"),
    "some tables of ours": lambda path: sqlite_file(
        path, script="CREATE TABLE sample (key); CREATE TABLE request (key)"
    ),
    "text": lambda path: path.write_text("hello"),
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "a picture": lambda path: path.write_bytes(b"\x89PNG" + bytes(5000)),
    "a link to text": lambda path: path.symlink_to(__file__),
    "only the beginning": lambda path: path.write_bytes(b"SQLite format 3\0"),
}  # fmt: skip
VERBS = {
    "stats": ["cache", "stats"],
    "export": ["cache", "export"],
    "prune": ["cache", "prune", "--model", "m"],
    "sample": ["sample", "--base-url", "http://127.0.0.1:9/v1", "--limit", "1"],
    "batch": ["batch", "--base-url", "http://127.0.0.1:9/v1", "--limit", "1"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_every_verb_refuses_other_files_and_does_not_change_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, verb: str
) -> None:
    path = tmp_path / "music.db"
    FOREIGN[kind](path)
    before = state(tmp_path)
    assert main(["teacher", *VERBS[verb], "--cache", str(path)]) == 2
    assert state(tmp_path) == before
    shown = capsys.readouterr().err
    assert str(path) in shown
    assert "--cache" in shown or "corrupt" in shown


@pytest.mark.parametrize("verb", ["stats", "export", "prune"])
def test_an_empty_file_is_not_a_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    path = tmp_path / "empty"
    path.touch()
    before = state(tmp_path)
    assert main(["teacher", *VERBS[verb], "--cache", str(path)]) == 2
    assert state(tmp_path) == before
    assert "an empty file" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["stats", "export", "prune"])
def test_reading_a_missing_cache_does_not_create_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    path = tmp_path / "none" / "s.sqlite"
    assert main(["teacher", *VERBS[verb], "--cache", str(path)]) == 2
    assert f"No cache of answers at {path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=4000))
@settings(deadline=None)
def test_a_file_of_any_bytes_is_not_changed(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "f"
    path.write_bytes(content)
    for magic in (b"", b"SQLite format 3\0"):
        path.write_bytes(magic + content)
        before = state(folder)
        with pytest.raises(TeacherError):
            Store(path, read_only=True)
        if magic + content:
            with pytest.raises(TeacherError):
                Store(path)
        assert state(folder) == before


def filled(path: Path) -> Path:
    with Store(path) as store:
        store.reserve(100, None)
        store.settle(request_key(BODY, "u"), BODY, {0: Sample("a", "stop", 1, 2, 7)}, bound=100)
    return path


def test_reading_a_cache_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled(tmp_path / "with ? and # and %41.sqlite")
    before = state(tmp_path)
    for verb in ("stats", "export"):
        assert main(["teacher", *VERBS[verb], "--cache", str(path)]) == 0
    assert state(tmp_path) == before
    shown = capsys.readouterr().out
    assert "m: 1 samples of 1 requests, 1 + 2 tokens" in shown
    assert '"text": "a"' in shown
    with (
        Store(path, read_only=True) as store,
        pytest.raises(TeacherError, match="cannot be written"),
    ):
        store.settle(b"k", BODY, {}, bound=1)


def test_a_read_only_cache_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "s.sqlite")
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for anybody but root
    try:
        before = state(tmp_path)
        with Store(path, read_only=True) as store:
            assert store.spent() == 7
            assert len(list(store.export())) == 1
        assert state(tmp_path) == before
    finally:
        tmp_path.chmod(0o755)


def test_a_cache_in_use_can_be_read(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as writer:
        writer.reserve(5, None)
        with Store(tmp_path / "s.sqlite", read_only=True) as reader:
            assert reader.spent() == 5
            writer.reserve(6, None)
            assert reader.spent() == 11


@pytest.mark.parametrize("path", ["/proc/none/s.sqlite", "/dev/null/s.sqlite", "a\0b"])
def test_a_path_that_cannot_be_written_is_an_error(path: str) -> None:
    with pytest.raises(TeacherError, match="cannot be used as a cache") as error:
        Store(Path(path))
    assert "--cache" in str(error.value)


def test_an_old_cache_is_migrated_and_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    key = request_key(BODY, "http://x/v1")
    with old_cache(path) as db:
        # The keys as that version made them, spelled out.
        assert key.hex() == "e901faa468cc02a75e95b72f4093a43860f78364969d7c59f21864c7f204f9d1"
        for number, sample_key in enumerate(SAMPLE_KEYS):
            db.execute(
                "INSERT INTO sample VALUES (?, ?, 'm', ?, 'stop', 10, 3, 5, 1.5)",
                (bytes.fromhex(sample_key), key, f"text {number}"),
            )
        db.execute("INSERT INTO request VALUES (?, ?)", (key, '{"model": "m", "messages": []}'))
        db.execute("INSERT INTO batch VALUES ('batch_1', 70, 'open'), ('batch_0', 30, 'done')")
        db.execute("UPDATE spend SET total = 80")
    before = state(tmp_path)
    with Store(path, read_only=True) as store:  # is not brought up only to be looked at
        assert [sample.text for sample in store.samples(key, 2) if sample] == ["text 0", "text 1"]
        assert store.spent() == 80
        assert [row["request"] for row in store.export()] == [BODY, BODY]
    assert state(tmp_path) == before
    for _ in range(2):
        with Store(path) as store:
            assert [s.text for s in store.samples(key, 2) if s] == ["text 0", "text 1"]
            assert store.spent() == 80
            assert store.claim(key)
            assert store.rows("SELECT id, name, bound, state FROM batch ORDER BY id") == [
                ("batch_0", "batch_0", 30, "done"), ("batch_1", "batch_1", 70, "open"),
            ]  # fmt: skip
            assert store.rows("PRAGMA user_version") == [(VERSION,)]
            assert store.rows("PRAGMA application_id") == [(APPLICATION_ID,)]


SAMPLE_KEYS = (
    "951441a5dd88f2f39543b8a24adae6949b48c40ce0d9206779e676b1716cc134",
    "d4af7e6f054bf55d10780fe80a5a67b191605e2cb22d794c84fd64bcb24228c8",
)


def test_an_old_cache_with_all_rows_in_the_log_is_recognized(tmp_path: Path) -> None:
    made = tmp_path / "made.sqlite"
    with old_cache(made) as db:
        db.execute("UPDATE spend SET total = 12")
        shutil.copy(made, tmp_path / "s.sqlite")
        shutil.copy(f"{made}-wal", tmp_path / "s.sqlite-wal")
    with Store(tmp_path / "s.sqlite") as store:
        assert store.spent() == 12


def test_corrupt_and_newer_files_are_named(tmp_path: Path) -> None:
    corrupt = tmp_path / "corrupt.sqlite"
    corrupt.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    with pytest.raises(TeacherError, match="cannot be read as a cache of answers"):
        Store(corrupt)
    newer = tmp_path / "newer.sqlite"
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    for read_only in (True, False):
        with pytest.raises(TeacherError, match="newer version of distill-sql"):
            Store(newer, read_only=read_only)

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.data import databases
from distill_sql.data.databases import Reader, check_name, check_whole, find_database
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.errors import DatasetError
from distill_sql.sql.names import quote_identifier
from distill_sql.sql.sandbox import Sandbox

#: Takes many seconds in one step of SQLite's machine, where its clock is not looked at.
SLOW = "length(replace(hex(zeroblob(1000000)), hex(zeroblob(500000)) || '1', 'x'))"


def make(path: Path, *statements: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in statements or ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)"):
            connection.execute(sql)
    return path


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a complete database of several pages."""
    path = make(
        tmp_path_factory.mktemp("whole") / "x.sqlite",
        "CREATE TABLE t (a)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
        "INSERT INTO t SELECT hex(randomblob(10)) FROM n",
    )
    return path.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "C:\\x", "a\0b", "\ud800", "x" * 300, "ü" * 101],
)
def test_a_name_that_is_a_path_or_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"The db_id .* cannot be used: .*plain name") as error:
        find_database(tmp_path, name)
    assert len(str(error.value)) < 300


@given(st.text(max_size=80))
def test_a_name_that_is_taken_is_one_entry_of_its_folder(name: str) -> None:
    try:
        check_name(name, what="It")
    except DatasetError:
        return
    assert Path("folder", name).parent == Path("folder")
    assert os.path.normpath(Path("folder", name)) == str(Path("folder", name))
    os.fsencode(f"{name}_7.sqlite")


def other_suffix(folder: Path) -> str:
    make(folder / "shop" / "shop.db")
    return str(folder / "shop" / "shop.db")


def flat(folder: Path) -> str:
    return str(make(folder / "shop.sqlite"))


def other_case(folder: Path) -> str:
    return str(make(folder / "Shop" / "Shop.sqlite"))


def other_case_inside(folder: Path) -> str:
    return str(make(folder / "shop" / "SHOP.SQLITE"))


def a_folder(folder: Path) -> str:
    (folder / "shop" / "shop.sqlite").mkdir(parents=True)
    return "It is a folder"


def dangling_link(folder: Path) -> str:
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "shop.sqlite").symlink_to("gone.sqlite")
    return "a link to gone.sqlite"


def nothing(folder: Path) -> str:
    return "Expected one folder per database"


def other_files(folder: Path) -> str:
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "schema.sql").touch()
    return "contains schema.sql"


@pytest.mark.parametrize(
    "build",
    [
        other_suffix, flat, other_case, other_case_inside, a_folder, dangling_link, nothing,
        other_files,
    ],
)  # fmt: skip
def test_a_missing_database_is_told_with_what_is_there(
    tmp_path: Path, build: Callable[[Path], str]
) -> None:
    said = build(tmp_path)
    with pytest.raises(DatasetError, match="'shop' of toys is missing") as error:
        find_database(tmp_path, "shop", of="toys")
    assert str(tmp_path / "shop" / "shop.sqlite") in str(error.value)
    assert said in str(error.value)


def test_the_command_that_is_named_mends_it(tmp_path: Path) -> None:
    make(tmp_path / "it's a place" / "Shop" / "Shop.db")
    folder = tmp_path / "it's a place"
    with pytest.raises(DatasetError) as error:
        find_database(folder, "shop")
    os.system(str(error.value).partition("Move it there: ")[2])
    assert find_database(folder, "shop") == folder / "shop" / "shop.sqlite"


@given(data=st.data())
def test_a_file_that_is_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, len(content) - 1) | st.sampled_from([1, 50, 4096, 8192]))
    path = tmp_path_factory.mktemp("cut") / "shop.sqlite"
    path.write_bytes(content[:length])
    expected = "empty" if not length else "not a readable" if length < 16 else "cut short"
    for read in (check_whole, Reader):
        with pytest.raises(DatasetError, match=f"{expected}.*again") as error:
            read(path)
        assert str(path) in str(error.value)
    path.write_bytes(content)
    check_whole(path)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE html>"),
        (b"\x00" * 5000, "not a readable SQLite database"),
    ],
)
def test_what_is_no_database_is_told_by_how_it_begins(
    tmp_path: Path, head: bytes, said: str
) -> None:
    path = tmp_path / "shop.sqlite"
    path.write_bytes(head)
    with pytest.raises(DatasetError) as error:
        check_whole(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["CAST(x'ff' AS TEXT)", "'t'"])
def test_damage_is_told_even_if_what_sqlite_says_of_it_is_no_text(
    tmp_path: Path, name: str
) -> None:
    path = make(
        tmp_path / "shop.sqlite",
        "CREATE TABLE t (a)", "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET name = {name}, sql = 'CREATE TABLE t (a'",
    )  # fmt: skip
    with pytest.raises(DatasetError, match="not a readable SQLite database"):
        schema_from_sqlite(path)
    with pytest.raises(DatasetError, match="not a readable SQLite database"):
        Reader(path)


@given(data=st.data())
def test_damaged_bytes_end_in_rows_or_in_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 20))):
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 4095))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "shop.sqlite"
    path.write_bytes(damaged)
    with suppress(DatasetError):
        schema = schema_from_sqlite(path)
        with Reader(path) as reader:
            for table in schema.tables:
                reader.rows(table.name, f"SELECT * FROM {quote_identifier(table.name)}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_names_the_fix(tmp_path: Path) -> None:
    path = make(tmp_path / "shop" / "shop.sqlite")
    path.chmod(0)
    with pytest.raises(DatasetError, match="chmod u"):
        find_database(tmp_path, "shop")
    path.parent.chmod(0)
    try:
        with pytest.raises(DatasetError, match="chmod u"):
            find_database(tmp_path, "shop")
    finally:
        path.parent.chmod(0o700)


def test_a_log_beside_a_database_is_found_before_it_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "shop" / "shop.sqlite")
    path.with_name("shop.sqlite-wal").write_bytes(b"rows")
    with pytest.raises(DatasetError, match="checkpoint"):
        find_database(tmp_path, "shop")


def test_long_texts_are_cut_and_longer_ones_left_out(tmp_path: Path) -> None:
    path = make(
        tmp_path / "x.sqlite",
        "CREATE TABLE long (a)", "INSERT INTO long VALUES (hex(zeroblob(1000000)))",
        "CREATE TABLE longer (a)", "INSERT INTO longer VALUES (hex(zeroblob(9000000)))",
    )  # fmt: skip
    with Reader(path) as reader:
        assert reader.rows("LONG", "SELECT a FROM long") == [("0" * databases.TEXT_BYTES,)]
        assert reader.rows("longer", "SELECT a FROM longer") == []
        assert reader.rows("absent", "SELECT a FROM absent") == []
        assert reader.rows("long", 'SELECT "long"."no" FROM long') == []


def test_rows_end_where_a_result_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "x.sqlite", "CREATE TABLE t (a)", *["INSERT INTO t VALUES ('abc')"] * 9)
    monkeypatch.setattr(databases, "RESULT_BYTES", 10)
    with Reader(path) as reader:
        assert len(reader.rows("t", "SELECT a FROM t")) == 4


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)",
         f"ALTER TABLE t ADD COLUMN b AS ({SLOW} || a)"),
        ("CREATE VIEW t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
         "SELECT count(*) AS b FROM n",),
        ("CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
         "SELECT count(*) AS rowid, 1 AS b FROM n",
         "CREATE VIRTUAL TABLE t USING fts5(b, content=v)"),
    ],
)  # fmt: skip
def test_what_a_database_computes_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    path = make(tmp_path / "x.sqlite", *statements)
    monkeypatch.setattr(databases, "Sandbox", lambda: Sandbox(deadline=0.2))
    start = time.monotonic()
    with Reader(path) as reader:
        assert reader.rows("t", "SELECT t.b FROM t") == []
        assert reader.rows("t", "SELECT t.b FROM t") == []  # it is not tried again
    assert time.monotonic() - start < 2


def test_reading_stops_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (a)",
        *["INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)"] * 10,
    )
    monkeypatch.setattr(databases, "DEADLINE", 0.2)
    start = time.monotonic()
    with Reader(path) as reader:
        assert reader.rows("t", "SELECT count(*) FROM t, t AS b, t AS c, t AS d, t AS e") == []
    assert time.monotonic() - start < 2


def test_generated_columns_and_virtual_tables_are_read(tmp_path: Path) -> None:
    path = make(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (a, b AS (a || 'x'), c AS (json_extract(a, '$')))",
        "INSERT INTO t (a) VALUES ('1')",
        "CREATE VIRTUAL TABLE words USING fts5(body)", "INSERT INTO words VALUES ('some words')",
    )  # fmt: skip
    with Reader(path) as reader:
        assert reader.rows("t", "SELECT a, b, c FROM t") == [("1", "1x", 1)]
        assert reader.rows("words", "SELECT body FROM words") == [("some words",)]

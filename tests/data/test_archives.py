from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.data import archives
from distill_sql.data.archives import unpack_spider
from distill_sql.errors import DatasetError, OutputError

Change = Callable[[zipfile.ZipFile], None]


def archive(path: Path, change: Change = lambda _: None) -> Path:
    """A small archive like Spider's, changed by ``change``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("spider/tables.json", "[]")
        file.writestr("spider/dev.json", "[]")
        file.writestr("spider/database/shop/shop.sqlite", b"SQLite" * 1000)
        file.writestr("__MACOSX/spider/._dev.json", "not for us")
        file.writestr("spider/._tables.json", "not for us")
        change(file)
    return path


def member(name: str, *, mode: int = 0) -> Change:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return lambda file: file.writestr(info, "../../outside")


def patched(path: Path, offset: int, value: int) -> Path:
    """The archive with a two-byte field of its last member changed in both headers."""
    content = bytearray(path.read_bytes())
    local, central = content.rfind(b"PK\x03\x04"), content.rfind(b"PK\x01\x02")
    struct.pack_into("<H", content, local + offset, value)
    struct.pack_into("<H", content, central + offset + 2, value)
    path.write_bytes(content)
    return path


def outcome(path: Path, folder: Path, **options: int) -> str:
    """The message for an archive that must be refused without leaving anything behind."""
    place = folder / "cache"
    with pytest.raises(DatasetError) as error:
        unpack_spider(path, place / "spider", **options)
    assert list(place.iterdir()) == []
    assert {entry.name for entry in folder.iterdir()} <= {"cache", path.name}
    assert str(path) in str(error.value)
    assert "ownload" in str(error.value)  # the fix
    return str(error.value)


def test_an_archive_is_unpacked_without_what_macos_adds(tmp_path: Path) -> None:
    target = unpack_spider(archive(tmp_path / "a.zip"), tmp_path / "cache" / "spider")
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"tables.json", "dev.json", "database/shop/shop.sqlite"}
    assert list((tmp_path / "cache").iterdir()) == [target]


def test_an_archive_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("tables.json", "[]")
        file.writestr("dev.json", "[]")
    assert (unpack_spider(tmp_path / "a.zip", tmp_path / "t") / "dev.json").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (member("../escaped"), "outside the folder"),
        (member("spider/../../escaped"), "outside the folder"),
        (member("/tmp/escaped"), "outside the folder"),
        (member("spider\\..\\escaped"), "outside the folder"),
        (member("C:/escaped"), "outside the folder"),
        (member("spider/link", mode=stat.S_IFLNK | 0o777), "link or a device"),
        (member("spider/fifo", mode=stat.S_IFIFO | 0o666), "link or a device"),
        (member("spider/dev.json/x"), "a file and a folder"),
        (member("spider/database/"), "fine"),
        (member("spider/database"), "a file and a folder"),
        (member("spider/dev.json/"), "a file and a folder"),
        (member("a/" * 21 + "x"), "folders deep"),
        (member("x" * 300), "cannot be unpacked into"),
    ],
)
def test_a_member_that_cannot_lie_in_the_folder_is_refused(
    tmp_path: Path, change: Change, said: str
) -> None:
    path = archive(tmp_path / "a.zip", change)
    if said == "fine":
        assert unpack_spider(path, tmp_path / "cache" / "spider").is_dir()
    else:
        assert said in outcome(path, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "twice" in outcome(archive(tmp_path / "a.zip", member("spider/dev.json")), tmp_path)


@pytest.mark.parametrize(("offset", "value", "said"), [(6, 1, "encrypted"), (8, 99, "method 99")])
def test_a_member_that_cannot_be_unpacked_is_refused(
    tmp_path: Path, offset: int, value: int, said: str
) -> None:
    path = patched(archive(tmp_path / "a.zip", member("spider/x")), offset, value)
    assert said in outcome(path, tmp_path)


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.zip", lambda file: file.writestr("spider/x", b"0" * 10_000_000))
    assert path.stat().st_size < 20_000
    assert "more than 1,000,000 bytes" in outcome(path, tmp_path, max_bytes=1_000_000)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    assert "6 members" in outcome(path, tmp_path)
    monkeypatch.undo()
    # One that says it is small is read no further than it says, and is not what it says.
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rfind(b"PK\x01\x02") + 24, 5)
    path.write_bytes(content)
    assert "not a complete zip archive" in outcome(path, tmp_path, max_bytes=1_000_000)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x/tables.json", "[]")
        file.writestr("x/y/dev.json", "[]")
    assert "is not Spider's archive" in outcome(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"PK\x05\x06" + b"\x00" * 10])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert "not a complete zip archive" in outcome(tmp_path / "a.zip", tmp_path)
    with pytest.raises(DatasetError, match="No such file"):
        unpack_spider(tmp_path / "absent.zip", tmp_path / "cache" / "spider")


@given(data=st.data())
def test_a_damaged_archive_is_refused_or_unpacked_in_its_place(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(archive(folder / "a.zip").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (folder / "a.zip").write_bytes(content[:cut])
    try:
        unpack_spider(folder / "a.zip", folder / "cache" / "spider")
    except DatasetError:
        assert list((folder / "cache").iterdir()) == []
    else:
        assert [path.name for path in (folder / "cache").iterdir()] == ["spider"]
    assert {path.name for path in folder.iterdir()} == {"a.zip", "cache"}


def test_a_complete_copy_is_kept_and_another_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "cache" / "spider"
    unpack_spider(archive(tmp_path / "a.zip"), target)
    (target / "dev.json").write_text("mine")
    (tmp_path / "a.zip").write_bytes(b"")
    assert unpack_spider(tmp_path / "a.zip", target) == target
    (target / "tables.json").unlink()
    with pytest.raises(DatasetError, match=r"is not a complete copy of Spider.* Move or delete it"):
        unpack_spider(archive(tmp_path / "a.zip"), target)
    assert (target / "dev.json").read_text() == "mine"
    assert list(target.parent.iterdir()) == [target]


def test_the_first_of_two_processes_keeps_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's copy appears while this one is unpacked."""
    target = tmp_path / "cache" / "spider"
    extract = archives._extract

    def meanwhile(file: zipfile.ZipFile, folder: Path, max_bytes: int) -> None:
        extract(file, folder, max_bytes)
        extract(zipfile.ZipFile(io.BytesIO((tmp_path / "a.zip").read_bytes())), target, max_bytes)
        (target / "spider" / "dev.json").rename(target / "dev.json")
        (target / "spider" / "tables.json").rename(target / "tables.json")
        (target / "dev.json").write_text("the other's")

    monkeypatch.setattr(archives, "_extract", meanwhile)
    assert unpack_spider(archive(tmp_path / "a.zip"), target) == target
    assert (target / "dev.json").read_text() == "the other's"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(OutputError):
        unpack_spider(archive(tmp_path / "a.zip"), tmp_path / "cache" / "spider")

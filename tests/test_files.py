from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql import files
from distill_sql.errors import DatasetError, OutputError, PredictionError


def test_a_file_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "run.json"
    files.write_json(path, {"é": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"share": float("nan")})

    def broken(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OutputError, match="disk full"):
        files.write_json(path, {"other": 2})
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}


def test_a_new_file_has_the_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("x")
    written = files.write_text(tmp_path / "ours", "x")
    assert written.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_stays_a_link_and_a_fifo_a_fifo(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    files.write_json(files.check_output(link), 1)
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "1\n"

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    files.write_json(files.check_output(fifo), 2)
    reader.join()
    assert read == ["2\n"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    path.chmod(0o640)
    files.write_text(path, "y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_device_is_found_before_the_work(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # never the device's own name: a mistake here would replace it
    for check in (files.check_output, lambda path: files.write_text(path, "x")):
        with pytest.raises(OutputError, match="full cannot be written: No space left"):
            check(full)
    assert full.is_char_device()


@pytest.mark.parametrize("name", ["folder", "folder/file/below", "a\0b", "x" * 300])
def test_an_impossible_output_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    path = tmp_path / name
    for check in (files.check_output, lambda path: files.write_text(path, "x")):
        with pytest.raises(OutputError, match=r"cannot be written: .+\. Give a file"):
            check(path)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_check_leaves_an_output_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    files.check_output(path)
    assert not path.exists()
    path.write_text("x")
    files.check_output(path)
    assert path.read_text() == "x"
    assert [p.name for p in path.parent.iterdir()] == ["out"]


def test_folders_are_checked_too(tmp_path: Path) -> None:
    assert files.check_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        files.check_folder(tmp_path / "file")


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r"))))
def test_lines_end_at_newlines_only(written: list[str]) -> None:
    for end in ("\n", "\r\n"):
        assert files.lines("".join(line + end for line in written)) == written


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(json_values, st.booleans())
def test_json_comes_back_as_it_was_written(value: object, escaped: bool) -> None:
    assert files.parse_json(json.dumps(value, ensure_ascii=escaped)) == value


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": NaN}', "-Infinity", "9" * 5000, "", "{", '{"a": 1}}', "\ufeff1"]
)
def test_invalid_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its kind is what is promised
        files.parse_json(text)


def test_lone_surrogates_are_read_as_the_replacement_character() -> None:
    assert files.parse_json(r'["\ud83d x", {"\udc00": "\ud83d\ude00"}]') == [
        "\ufffd x",
        {"\ufffd": "😀"},
    ]


def test_a_lone_surrogate_can_be_written_and_is_kept(tmp_path: Path) -> None:
    path = files.write_json(tmp_path / "a.json", {"a": "\ud800"})
    assert json.loads(path.read_text()) == {"a": "\ud800"}


def test_reading_names_the_file_and_the_fix(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_json(tmp_path / "bom.json") == [1]
    for content, message in (
        (b"[1,", r"line 1, column 4: .* truncated"),
        ("[1]".encode("utf-16"), "not UTF-8 text"),
        (b"[" * 5000, "nested too deeply"),
    ):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(PredictionError, match=message) as told:
            files.read_json(tmp_path / "a.json", error=PredictionError)
        assert "a.json" in str(told.value)
    for path in (tmp_path, tmp_path / "none", tmp_path / "a\0b", tmp_path / "a.json" / "b"):
        with pytest.raises(DatasetError, match=r"Check the path|own path"):
            files.read_text(path)


def test_json_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\xe2\x80\xa8"}\r\n\n[2]\n{')
    found = files.read_json_lines(path, fix="Mend it.")
    assert next(found) == (1, {"a": "\u2028"})
    assert next(found) == (3, [2])
    with pytest.raises(DatasetError, match=r"a\.jsonl, line 4: not JSON .* Mend it\."):
        next(found)


def test_an_incomplete_last_line_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    assert files.resume_lines(path) == []
    path.write_bytes("a\u2028b\nhal\u00e9".encode()[:-1])
    assert files.resume_lines(path) == ["a\u2028b"]
    assert path.read_bytes() == "a\u2028b\n".encode()

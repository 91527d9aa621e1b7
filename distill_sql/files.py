"""Reading text and JSON that people and other programs wrote, and writing what is asked for.

Text is UTF-8, with or without a byte order mark, and its lines end at ``\\n`` or ``\\r\\n`` alone:
U+2028 and its like stand inside lines. Outputs appear whole or not at all. What cannot be read or
written is a :class:`~distill_sql.errors.DistillSqlError` that names the file and the fix.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from distill_sql.errors import DatasetError, DistillSqlError, OutputError

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


# --- Reading ------------------------------------------------------------------------------------


def read_text(path: Path | str, *, error: type[DistillSqlError] = DatasetError) -> str:
    """The text of a UTF-8 file, without its byte order mark; line ends are as they stand.

    Raises ``error`` naming the file and the fix if it is missing, unreadable or not UTF-8.
    """
    path = Path(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as found:
        raise error(f"{path} is not UTF-8 text ({found}). Save it as UTF-8.") from None
    except FileNotFoundError:
        raise error(f"{path} does not exist. Check the path.") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder; expected a file. Give the file's own path.") from None
    except (OSError, ValueError) as found:  # ValueError: a NUL character in the path
        raise error(f"{path} cannot be read ({reason(found)}). Check the path.") from None


def lines(text: str) -> list[str]:
    r"""The lines of a text: they end at ``\n`` or ``\r\n``, and nowhere else.

    >>> lines("a\u2028b\r\nc\x0b\x85d\n")
    ['a\u2028b', 'c\x0b\x85d']
    """
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return [line[:-1] if line.endswith("\r") else line for line in found]


def parse_json(text: str | bytes, *, nan: bool = False) -> Any:
    """The value of a JSON text; ValueError, whatever is wrong with it.

    Too deep a nesting and a number of thousands of digits are errors. So are ``NaN`` and
    ``Infinity``, which JSON does not have and many programs write, unless ``nan`` lets them in.
    Half of a surrogate pair, which no UTF-8 file and no database can hold, becomes U+FFFD.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=None if nan else _no_constant)
        return _without_surrogates(value) if _SURROGATE_ESCAPE.search(text) else value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _without_surrogates(item) for key, item in value.items()}
    return value


def clean(text: str) -> str:
    """A text with U+FFFD in place of lone surrogates, so that it can be written as UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def read_json(
    path: Path | str, *, error: type[DistillSqlError] = DatasetError, nan: bool = False
) -> Any:
    """The value of a JSON file; ``error`` naming the file, line and column if there is none."""
    try:
        return parse_json(read_text(path, error=error), nan=nan)
    except json.JSONDecodeError as found:
        raise error(
            f"{path} is not valid JSON at line {found.lineno}, column {found.colno}: {found.msg}. "
            "The file is probably truncated; copy or download it again."
        ) from None
    except ValueError as found:
        raise error(f"{path} cannot be read as JSON: {found}. Correct the file.") from None


def read_json_lines(
    path: Path | str,
    *,
    error: type[DistillSqlError] = DatasetError,
    fix: str,
    nan: bool = False,
) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file with their line numbers; empty lines are passed over.

    Raises ``error`` naming the first line that is not JSON; ``fix`` says what to do about it.
    """
    for number, line in enumerate(lines(read_text(path, error=error)), start=1):
        if line.strip():
            try:
                value = parse_json(line, nan=nan)
            except ValueError as found:
                raise error(f"{path}, line {number}: no JSON ({found}). {fix}") from None
            yield number, value


def resume_lines(path: Path) -> list[str]:
    """The whole lines of a file that a run appends to; what a kill cut short is cut off the file.

    Empty if there is no such file.
    """
    if not path.exists():
        return []
    with path.open("r+b") as file:
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            file.truncate(len(whole))
    return lines(whole.decode("utf-8", errors="replace"))


# --- Writing ------------------------------------------------------------------------------------


def check_output(path: Path | str, *, beside: bool = False) -> Path:
    """Find out, before the work, that an output cannot be written; returns the path.

    Raises :class:`OutputError` if ``path`` is a folder, or is in none that can be written to. It
    makes the folders that are missing, and leaves nothing else behind. Whether the disk has room
    for the output cannot be known. ``beside`` says that other files are written beside it, which
    only a regular file has a place for.
    """
    path = Path(path)
    with _told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if _is_special(path):
            if beside:
                raise OSError(errno.EINVAL, "it is no regular file, and files go beside it")
            if not path.is_fifo():  # its reader would take an opening and closing for all there is
                handle = os.open(path, os.O_WRONLY)
                try:
                    os.write(handle, b"")  # a full device says so
                finally:
                    os.close(handle)
            return path
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.close(os.open(target, os.O_WRONLY))
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    return path


def check_folder(path: Path | str) -> Path:
    """Find out, before the work, that no output can be written into a folder; returns its path.

    Makes the folder if it is missing. Raises :class:`OutputError`.
    """
    path = Path(path)
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


@contextmanager
def writing(path: Path | str) -> Iterator[IO[str]]:
    """A text file to write to, which takes the place of ``path`` when it is closed.

    The text goes to a temporary file in the same folder, which then takes the place of ``path``: a
    reader sees the old file or the new one, and a killed process leaves the old one. A link stays a
    link, and its target is written. What is no regular file, such as a device or a FIFO, is written
    straight to. Raises :class:`OutputError` naming the file and the reason if it cannot be written.
    """
    path = Path(path)
    with _told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if _is_special(path):
            with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
            return
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".tmp"
        )
        try:
            # In JSON a lone surrogate is then escaped, and so kept.
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
            Path(temporary).chmod(_mode(target))
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_text(path: Path | str, text: str) -> Path:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all; see :func:`writing`."""
    with writing(path) as file:
        file.write(text)
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write ``value`` as readable JSON, whole or not at all; see :func:`writing`.

    Keys keep their order. NaN and infinity are refused with ValueError: they are not JSON.
    """
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path | str, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON Lines, whole or not at all; see :func:`writing`."""
    with writing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return Path(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says of an output, as an error of ours."""
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "a NUL character is in its name")
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {reason(error)}. Give a file in a folder that you may "
            "write to, on a disk with room."
        ) from error


def _target(path: Path) -> Path:
    """The file that is written: where a link leads, else the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_special(path: Path) -> bool:
    """Whether there is neither a file nor a folder but something, or a name of an open file."""
    if str(path.absolute()).startswith(("/dev/", "/proc/")):  # /dev/stdout may be a file
        return path.exists()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mode(path: Path) -> int:
    """The permissions that a new file at ``path`` gets: those of the one there, else the usual."""
    with suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)

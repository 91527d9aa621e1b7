"""Reading and writing text and JSON files.

Text is UTF-8, with or without a byte order mark. Its lines end at ``\\n`` or ``\\r\\n`` only, and
not at U+2028 and the like. Files are written atomically. A file that cannot be read or written is a
:class:`~distill_sql.errors.DistillSqlError` that names the file and the fix.
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
    """The text of a UTF-8 file without its byte order mark; line ends do not change.

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
    r"""The lines of a text, which end at ``\n`` or ``\r\n`` only.

    >>> lines("a\u2028b\r\nc\x0b\x85d\n")
    ['a\u2028b', 'c\x0b\x85d']
    """
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return [line[:-1] if line.endswith("\r") else line for line in found]


def parse_json(text: str | bytes, *, nan: bool = False) -> Any:
    """The value of a JSON text; every error in it raises ValueError.

    Errors include very deep nesting, numbers of thousands of digits, and ``NaN`` and ``Infinity``
    unless ``nan`` is true: they are not JSON, but many programs write them. A lone surrogate, which
    neither UTF-8 nor a database can store, becomes U+FFFD.
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
    """A text with its lone surrogates replaced by U+FFFD, which can be written as UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def read_json(
    path: Path | str, *, error: type[DistillSqlError] = DatasetError, nan: bool = False
) -> Any:
    """The value of a JSON file; raises ``error`` naming file, line and column if it is invalid."""
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
    """The values of a JSON Lines file with their line numbers; empty lines are skipped.

    Raises ``error`` naming the first line that is not JSON; ``fix`` ends the message.
    """
    for number, line in enumerate(lines(read_text(path, error=error)), start=1):
        if line.strip():
            try:
                value = parse_json(line, nan=nan)
            except ValueError as found:
                raise error(f"{path}, line {number}: not JSON ({found}). {fix}") from None
            yield number, value


def resume_lines(path: Path) -> list[str]:
    """The complete lines of a file that a run appends to; an incomplete last line is deleted.

    A killed run can leave an incomplete line. Empty if there is no such file.
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
    """Check before the work that an output can be written; returns the path.

    Raises :class:`OutputError` if ``path`` is a folder, or if its folder is not writable. Missing
    folders are made; nothing else is left behind. The free space on the disk is not checked.
    ``beside`` says that other files are written beside it, so that it must be a regular file.
    """
    path = Path(path)
    with _told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if _is_special(path):
            if beside:
                raise OSError(errno.EINVAL, "it is not a regular file, and files go beside it")
            if not path.is_fifo():  # its reader would see the end of the file
                handle = os.open(path, os.O_WRONLY)
                try:
                    os.write(handle, b"")  # fails on a full device
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
    """Check before the work that outputs can be written into a folder; returns its path.

    Makes the folder if it is missing. Raises :class:`OutputError` if it is not writable.
    """
    path = Path(path)
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


@contextmanager
def writing(path: Path | str) -> Iterator[IO[str]]:
    """Write a text file atomically: it replaces ``path`` when the block ends without an error.

    The text goes to a temporary file in the same folder, which then replaces ``path``: a reader
    sees the old file or the new one, and a killed process leaves the old one. If ``path`` is a
    link, its target is written. A device or a FIFO is written directly. Raises
    :class:`OutputError` naming the file and the reason if it cannot be written.
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
            # backslashreplace writes a lone surrogate as an escape of JSON.
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
            Path(temporary).chmod(_mode(target))
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_text(path: Path | str, text: str) -> Path:
    """Write ``text`` to ``path`` as UTF-8, atomically; see :func:`writing`."""
    with writing(path) as file:
        file.write(text)
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically; see :func:`writing`.

    Keys keep their order. NaN and infinity, which are not JSON, raise ValueError.
    """
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path | str, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON Lines, atomically; see :func:`writing`."""
    with writing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return Path(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an OSError about an output into an :class:`OutputError`."""
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "its name contains a NUL character")
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {reason(error)}. Give a file in a writable folder, on a "
            "disk with free space."
        ) from error


def _target(path: Path) -> Path:
    """The file that is written: the target of a link, else the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_special(path: Path) -> bool:
    """Whether a path is neither a regular file nor a folder, or is a name of an open file."""
    if str(path.absolute()).startswith(("/dev/", "/proc/")):  # /dev/stdout may be a file
        return path.exists()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mode(path: Path) -> int:
    """The permissions for a new file at ``path``: those of the old file, else the default."""
    with suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def reason(error: BaseException) -> str:
    """The system's message of an error, without the path."""
    return getattr(error, "strerror", None) or str(error)

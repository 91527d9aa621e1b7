"""Unpacking Spider's zip archive: checked before anything is written, and all or nothing.

Every member must stay inside the folder, be a regular file or a folder, and have the size that it
states. Files that macOS adds to archives are skipped.
"""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from distill_sql.errors import DatasetError
from distill_sql.files import check_folder

#: Limits of an archive: bytes unpacked, and members. Spider has about 1 GB in 1,000 members.
MAX_BYTES = 8 * 2**30
MAX_MEMBERS = 20_000
#: Files that every Spider folder has.
REQUIRED = ("tables.json", "dev.json")
_CHUNK = 2**20
_DEPTH = 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


def unpack_spider(archive: Path, target: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Unpack Spider's zip archive at ``target``, atomically: a killed run leaves no partial folder.

    A complete folder at ``target`` is kept: another process may have made it meanwhile. Raises
    :class:`DatasetError`, and leaves nothing behind, if the archive cannot be unpacked safely or
    something else is at ``target``.
    """
    check_folder(target.parent)
    if _is_complete(target):
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        try:
            with zipfile.ZipFile(archive) as file:
                _extract(file, unpacked, max_bytes)
        except _Unsafe as error:
            raise DatasetError(
                f"{archive} is not unpacked: {error}. Download it from its authors again."
            ) from None
        except OSError as error:
            raise DatasetError(
                f"{archive} cannot be unpacked into {target.parent} ({error.strerror or error}). "
                "Check both paths and the free space, or download the archive again."
            ) from error
        except (
            zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError,
            NotImplementedError, RuntimeError,
        ) as error:  # fmt: skip
            raise DatasetError(
                f"{archive} is not a complete zip archive ({error}). Delete it, then download it "
                "again."
            ) from error
        folders = (path.parent for path in sorted(unpacked.rglob(REQUIRED[0])))
        found = next(filter(_is_complete, folders), None)
        if found is None:
            raise DatasetError(
                f"{archive} is not Spider's archive: no folder in it has {' and '.join(REQUIRED)}. "
                "Download Spider from its authors."
            )
        try:
            found.rename(target)
        except OSError as error:
            if not _is_complete(target):
                raise DatasetError(
                    f"{target} exists ({error.strerror}) and is not a complete copy of Spider: "
                    f"{' or '.join(REQUIRED)} is missing. Move or delete it, then try again."
                ) from error
    return target


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in REQUIRED)


class _Unsafe(Exception):
    """The reason why an archive is not unpacked."""


def _extract(file: zipfile.ZipFile, folder: Path, max_bytes: int) -> None:
    left = max_bytes
    for member in list(_checked(file.infolist(), max_bytes)):
        path = folder / member.filename
        if member.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # The size that a member states may be wrong.
        with file.open(member) as source, path.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _Unsafe(f"it has more than {max_bytes:,} bytes unpacked")
                sink.write(chunk)


def _checked(members: list[zipfile.ZipInfo], max_bytes: int) -> Iterator[zipfile.ZipInfo]:
    """The members to unpack; raises :class:`_Unsafe` at the first that is not safe."""
    if len(members) > MAX_MEMBERS:
        raise _Unsafe(f"it has {len(members):,} members, more than {MAX_MEMBERS:,}")
    if sum(member.file_size for member in members) > max_bytes:
        raise _Unsafe(f"it has more than {max_bytes:,} bytes unpacked")
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for member in members:
        name = member.filename
        parts = tuple(part for part in name.split("/") if part)
        if "__MACOSX" in parts or (parts and parts[-1].startswith("._")):
            continue
        if len(parts) > _DEPTH:
            raise _Unsafe(f"the member {name[:100]!r} is more than {_DEPTH} folders deep")
        kind = stat.S_IFMT(member.external_attr >> 16)
        above = {parts[:length] for length in range(1, len(parts))}
        if name.startswith("/") or "\\" in name or ":" in name or {".", ".."} & {*parts}:
            raise _Unsafe(f"the member {name!r} would lie outside the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _Unsafe(f"the member {name!r} is a link or a device")
        if member.flag_bits & _ENCRYPTED:
            raise _Unsafe(f"the member {name!r} is encrypted")
        if member.compress_type not in _METHODS:
            raise _Unsafe(f"the member {name!r} is compressed by method {member.compress_type}")
        if not parts or above & files or parts in (folders if not member.is_dir() else files):
            raise _Unsafe(f"the member {name!r} is a file and a folder")
        if not member.is_dir() and parts in files:
            raise _Unsafe(f"the member {name!r} occurs twice")
        folders |= above | ({parts} if member.is_dir() else set())
        if not member.is_dir():
            files.add(parts)
        yield member

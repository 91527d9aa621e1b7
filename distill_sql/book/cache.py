"""What an executed chapter was made from, and whether that still holds.

The record travels inside the executed notebook, so that the two can never disagree: a notebook is
renamed into place whole, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distill_sql import provenance
from distill_sql.book.layout import Book
from distill_sql.settings import DATASET_VARIABLES

# Key of the record in the notebook's metadata.
METADATA = "distill_sql_run"
# What chapters find beside a dataset, unless a variable says where it is.
BESIDE = {"TOKENIZER_DIR": "qwen2.5-tokenizer", "PREDICTIONS_DIR": "published_predictions"}


@dataclass(frozen=True)
class Record:
    """One execution of a chapter.

    ``overrides`` are the parameters as they were given, ``parameters`` all of them as they ran.
    ``inputs`` are the declared input paths, ``parts`` the digests that must all still match.
    ``executed`` is an ISO date, ``seconds`` the wall time.
    """

    overrides: dict[str, Any]
    parameters: dict[str, Any]
    inputs: tuple[str, ...]
    parts: dict[str, str]
    executed: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in an executed notebook, or None where there is none that can be read."""
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))["metadata"][METADATA]
            return cls(**(entry | {"inputs": tuple(entry["inputs"])}))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def parts(
    book: Book, *, source: str, parameters: Mapping[str, Any], inputs: Iterable[str]
) -> dict[str, str]:
    """Digest of each thing that a chapter depends on."""
    return {
        "source": _digest(source),
        "parameters": _digest(json.dumps(parameters, sort_keys=True)),
        "library": library_digest(),
        "environment": environment_digest(book.root),
        "inputs": inputs_digest(book, parameters=parameters, inputs=inputs),
    }


def source_digest(text: str) -> str:
    """The digest that :func:`parts` gives a chapter's source."""
    return _digest(text)


@cache
def library_digest() -> str:
    """Digest of every file of the installed package, its data included."""
    folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def environment_digest(root: Path) -> str:
    """Digest of the lock files beside the book, and of the versions that provenance names."""
    locks = [path.read_text(encoding="utf-8") for path in sorted(root.glob("*.lock"))]
    return _digest(json.dumps([locks, provenance.packages()]))


def inputs_digest(book: Book, *, parameters: Mapping[str, Any], inputs: Iterable[str]) -> str:
    """Digest of the files and folders a chapter reads.

    These are ``inputs``, every parameter that is the path of something, the folder of a dataset
    named in a parameter, and what chapters find beside a dataset. Files are known by relative path,
    size and modification time, not by content: Spider is a gigabyte. A changed file that keeps size
    and time goes unnoticed.
    """
    values: list[str] = []
    for value in parameters.values():
        values += map(str, value if isinstance(value, list) else [value])
    named = [os.environ.get(DATASET_VARIABLES.get(value, "")) for value in values]
    folders = [folder for folder in named if folder]
    own = book.root / str(parameters.get("dataset", ""))
    datasets = [*map(Path, folders), *([own] if "dataset" in parameters and own.is_dir() else [])]
    folders += [
        os.environ.get(variable) or str(root.resolve().parent / name)
        for root in datasets
        for variable, name in BESIDE.items()
    ]
    candidates = [*inputs, *values, *folders]
    digest = hashlib.sha256()
    for candidate in sorted({text for text in candidates if text}):
        path = book.root / os.path.expandvars(candidate)
        digest.update(candidate.encode() + b"\0")
        for name, size, modified in _files(path):
            digest.update(f"{name}\0{size}\0{modified}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterable[tuple[str, int, int]]:
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in paths:
        status = file.stat()
        yield str(file.relative_to(path.parent)), status.st_size, status.st_mtime_ns


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

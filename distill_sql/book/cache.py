"""The record of what an executed chapter was made from, to decide whether it is up to date.

The record is stored inside the executed notebook, so the two can never disagree: a notebook is
renamed into place as a whole.
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
# Folders that chapters read beside a dataset, unless a variable names another one.
BESIDE = {"TOKENIZER_DIR": "qwen2.5-tokenizer", "PREDICTIONS_DIR": "published_predictions"}


@dataclass(frozen=True)
class Record:
    """One execution of a chapter.

    ``overrides`` are the parameters as given, ``parameters`` all parameters with their values.
    ``inputs`` are the declared input paths. ``parts`` are the digests, which must all still match.
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
        """The record in an executed notebook, or None if there is no readable one."""
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))["metadata"][METADATA]
            return cls(**(entry | {"inputs": tuple(entry["inputs"])}))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def parts(
    book: Book, *, source: str, parameters: Mapping[str, Any], inputs: Iterable[str]
) -> dict[str, str]:
    """The digest of each thing that a chapter depends on."""
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
    """The digest of all files of the installed package, including data."""
    folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def environment_digest(root: Path) -> str:
    """The digest of the book's lock files and of the package versions in provenance."""
    locks = [path.read_text(encoding="utf-8") for path in sorted(root.glob("*.lock"))]
    return _digest(json.dumps([locks, provenance.packages()]))


def inputs_digest(book: Book, *, parameters: Mapping[str, Any], inputs: Iterable[str]) -> str:
    """The digest of the files and folders that a chapter reads.

    These are ``inputs``, every parameter that is an existing path, the folder of a dataset named in
    a parameter, and the folders beside a dataset. Files are compared by relative path, size and
    modification time, not by content, since Spider has a gigabyte. A change that keeps size and
    time is not noticed.
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

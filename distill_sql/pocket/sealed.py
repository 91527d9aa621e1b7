"""Pocket's test split: hand-written questions on separate databases, read once per release.

Its sources are in ``test/``: ``<db_id>.sql`` creates a database, and ``<db_id>.questions.sql`` has
its questions and gold queries. The README there says how they were written. ``load_dataset``
returns the questions without gold queries, which is enough to answer them. Only
:mod:`~distill_sql.pocket.reading` scores answers, and it logs each reading.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError
from distill_sql.files import read_text, write_json
from distill_sql.pocket.domains import SOURCES
from distill_sql.pocket.questions import Question, read_handwritten
from distill_sql.settings import cache_dir

#: The split's version, and the SHA-256 of its sources. A changed split is a new version, whose
#: figures are not comparable with those of the old one.
VERSION = 1
SHA256 = "c4f739b89dbb5fce28318895ef37e79b33722e8c79805e97dbb3458558f94aa1"

FOLDER = SOURCES / "test"
_QUESTIONS = ".questions.sql"


def db_ids() -> list[str]:
    """The databases of the split, in order."""
    return sorted(path.name.removesuffix(_QUESTIONS) for path in FOLDER.glob(f"*{_QUESTIONS}"))


def questions() -> list[Question]:
    """The questions with their gold queries, in the split's order."""
    return [
        question
        for db_id in db_ids()
        for question in read_handwritten(FOLDER / f"{db_id}{_QUESTIONS}", db_id)
    ]


def digest() -> str:
    """The SHA-256 (hex) of questions, queries, schemas and rows."""
    found = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.sql")):
        text = "\n".join(read_text(path).splitlines())
        found.update(f"{path.name}\0{text}\0".encode())
    return found.hexdigest()


def check_frozen() -> None:
    """Raise :class:`DatasetError` if the split differs from its frozen version."""
    if (found := digest()) != SHA256:
        raise DatasetError(
            f"Pocket's test split has changed: its sources in {FOLDER} have the SHA-256 "
            f"{found[:16]}..., but version {VERSION} was frozen with {SHA256[:16]}.... Revert the "
            "change, or make it a new version: raise VERSION and set SHA256 in sealed.py."
        )


def materialized_test() -> Path:
    """The split's folder in Spider's layout, without gold queries; built on first use."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    target = cache_dir() / "pocket-test" / f"{digest()[:16]}-{code[:8]}"
    if not (target / "test.json").exists():
        _build(target)
    return target


def _build(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / "test"
        for db_id in db_ids():
            path = folder / "database" / db_id / f"{db_id}.sqlite"
            path.parent.mkdir(parents=True)
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(read_text(FOLDER / f"{db_id}.sql"))
        asked = [
            {"db_id": q.db_id, "question": q.question, "query": "", "source": "handwritten"}
            for q in questions()
        ]
        write_json(folder / "test.json", asked)
        try:
            folder.rename(target)
        except OSError:  # another process has built the same content
            if not (target / "test.json").exists():
                raise


def with_gold() -> Dataset:
    """The split with its gold queries, for scoring and for the tests of the split."""
    dataset = load_dataset("pocket", split="test")
    return dataset.with_examples(
        replace(example, query=question.query)
        for example, question in zip(dataset, questions(), strict=True)
    )

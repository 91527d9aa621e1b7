"""Questions with their databases: the pocket benchmark, Spider, BIRD, or a folder of your own.

Every dataset has Spider's layout on disk::

    <root>/dev.json                       a list of {"db_id", "question", "query"}
    <root>/tables.json                    schemas (optional: else they are read from the databases)
    <root>/database/<db_id>/<db_id>.sqlite
    <root>/database/<db_id>/database_description/<table>.csv    column descriptions (optional)

BIRD only uses other names (:mod:`distill_sql.data.layouts`). Loading questions does not open the
databases; :meth:`Dataset.database_path` raises an error if one is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_sql.data.databases import find_database, is_file, is_folder
from distill_sql.data.descriptions import with_descriptions
from distill_sql.data.layouts import Layout, locate
from distill_sql.data.questions import question_ids, read_examples
from distill_sql.data.schema import Schema
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.data.tables_json import load_tables_json
from distill_sql.errors import DatasetError


@dataclass(frozen=True)
class Example:
    """One question, its database and its gold SQL.

    ``evidence`` is BIRD's hint, else empty. ``source`` is the question's origin if the file states
    it: on pocket ``handwritten`` or ``generated``. Fingerprints do not include it.
    """

    question_id: int
    db_id: str
    question: str
    query: str
    evidence: str = ""
    source: str = field(default="", repr=False)


@dataclass(frozen=True)
class Dataset:
    """The examples of one split, their schemas, and the folder of their databases."""

    name: str
    split: str
    root: Path
    examples: tuple[Example, ...]
    schemas: Mapping[str, Schema]
    database_dir: Path

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @cached_property
    def db_ids(self) -> tuple[str, ...]:
        """The databases of this split's examples, in order of first appearance."""
        return tuple(dict.fromkeys(example.db_id for example in self.examples))

    def schema(self, db_id: str) -> Schema:
        """The schema of ``db_id``; raises :class:`DatasetError` if there is none."""
        try:
            return self.schemas[db_id]
        except KeyError:
            raise _unknown_db(db_id, self.schemas, self.root) from None

    def database_path(self, db_id: str) -> Path:
        """The SQLite file of ``db_id``; raises :class:`DatasetError` if missing or incomplete."""
        if db_id not in self._found:
            self._found[db_id] = find_database(self.database_dir, db_id, of=self.name)
        return self._found[db_id]

    @cached_property
    def missing_databases(self) -> tuple[str, ...]:
        """The databases of the examples whose files are missing, in order."""
        return tuple(
            db_id
            for db_id in self.db_ids
            if not is_file(self.database_dir / db_id / f"{db_id}.sqlite")
        )

    def present(self) -> Dataset:
        """The examples whose databases exist; raises :class:`DatasetError` if there are none."""
        missing = set(self.missing_databases)
        if missing and missing.issuperset(self.db_ids):
            self.database_path(self.db_ids[0])  # raises an error with the path and the fix
        return self.with_examples(e for e in self if e.db_id not in missing) if missing else self

    @cached_property
    def _found(self) -> dict[str, Path]:
        """Databases found before: checking again for every query would take longer than most."""
        return {}

    def limit(self, count: int | None) -> Dataset:
        """The first ``count`` examples; all if ``count`` is None."""
        if count is None or count >= len(self.examples):
            return self
        return replace(self, examples=self.examples[:count])

    def only(self, *db_ids: str) -> Dataset:
        """The examples on these databases; each must have some, else :class:`DatasetError`."""
        for db_id in db_ids:
            if db_id not in self.db_ids:
                raise _unknown_db(db_id, self.db_ids, self.root)
        return self.with_examples(e for e in self.examples if e.db_id in db_ids)

    def with_examples(self, examples: Iterable[Example]) -> Dataset:
        """The same dataset with only these of its examples, in the order given."""
        return replace(self, examples=tuple(examples))

    def without_synonyms(self) -> Dataset:
        """The same dataset with schemas without synonyms, like those of most databases."""
        plain = {db_id: schema.without_synonyms() for db_id, schema in self.schemas.items()}
        return replace(self, schemas=plain)

    def description(self) -> dict[str, Any]:
        """Name, split, size and fingerprint, for records. It does not contain the folder."""
        return {
            "name": self.name,
            "split": self.split,
            "examples": len(self.examples),
            "databases": len(self.db_ids),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the examples, their schemas and the bytes of their databases."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr(example).encode())
        for db_id in sorted(self.db_ids):
            digest.update(repr(self.schema(db_id)).encode())
            path = self.database_dir / db_id / f"{db_id}.sqlite"
            if is_file(path):
                with suppress(OSError), path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def load_dataset(
    name_or_path: str | Path,
    *,
    split: str = "dev",
    path: str | Path | None = None,
    questions: str | Path | None = None,
) -> Dataset:
    """Load one split of a dataset.

    ``name_or_path`` is ``pocket``, ``spider``, ``bird``, or a folder in Spider's layout. ``path``
    (or the environment variable ``SPIDER_DIR`` / ``BIRD_DIR``) is the folder of Spider or BIRD;
    without either, Spider is downloaded from the hub. Splits: ``train`` and ``dev``; pocket also
    has ``validation``, and ``test`` without its gold queries; BIRD has ``mini_dev``; a folder has
    one split per ``<split>.json``.

    Spider's ``train`` is ``train_spider.json`` followed by ``train_others.json``, the 8,659
    examples of the paper (Yu et al. 2018, section 4). Question ids count from 0 within a split,
    unless the file gives its own, distinct ids (BIRD does).

    ``questions`` is a file with other questions about the databases of the split, such as
    Spider-Syn's. It replaces the split's own, and the dataset is named after both.

    Raises :class:`DatasetError` naming the file and the fix.
    """
    name, root, layout = locate(name_or_path, split, path)
    if questions is None:
        return _load(name, root, layout, split)
    file = Path(questions).resolve()
    return _load(f"{name}+{file.parent.name}/{file.stem}", root, layout, split, file)


def reported_split(name_or_path: str | Path, *, path: str | Path | None = None) -> str:
    """The split that results are reported on: ``dev``, or ``mini_dev`` if only that exists."""
    if not has_split(name_or_path, "dev", path=path) and (
        has_split(name_or_path, "mini_dev", path=path)
    ):
        return "mini_dev"
    return "dev"


def has_split(name_or_path: str | Path, split: str, *, path: str | Path | None = None) -> bool:
    """Whether a dataset has the questions of a split; the arguments are :func:`load_dataset`'s."""
    _, root, layout = locate(name_or_path, split, path)
    return split in layout.splits and is_file(root / layout.splits[split][0])


def _load(
    name: str, root: Path, layout: Layout, split: str, questions: Path | None = None
) -> Dataset:
    if split not in layout.splits:
        raise DatasetError(
            f"{name} has no split {split!r}; it has {', '.join(sorted(layout.splits))}."
        )
    # train_others.json is optional: a Spider folder without it still has a train split.
    first, *others = layout.splits[split]
    files = [root / first, *(root / other for other in others if is_file(root / other))]
    if questions is not None:
        files = [questions]
    database_dir = root / layout.own_databases.get(split, layout.databases)
    if not is_folder(database_dir):
        database_dir = root / layout.databases
    if not is_folder(database_dir):
        raise DatasetError(
            f"{root} has no databases: expected the folder {database_dir} with one "
            "<db_id>/<db_id>.sqlite per database. Unpack the full archive, not only the questions."
        )
    records = [(file, record) for file in files for record in read_examples(file)]
    schemas = _schemas(root, layout, [record["db_id"] for _, record in records], database_dir)
    for file, record in records:
        if (db_id := record["db_id"]) not in schemas:
            raise _unknown_db(db_id, schemas, file, database_dir)
    examples = tuple(
        Example(
            question_id=question_id,
            db_id=record["db_id"],
            question=record["question"].strip(),
            query=record["query"] if isinstance(record.get("query"), str) else record["SQL"],
            evidence=record.get("evidence") or "",
            source=str(record.get("source") or ""),
        )
        for question_id, (_, record) in zip(question_ids(records), records, strict=True)
    )
    return Dataset(name, split, root, examples, schemas, database_dir)


def _schemas(
    root: Path, layout: Layout, wanted: Iterable[str], database_dir: Path
) -> dict[str, Schema]:
    files = [root / name for name in layout.tables if is_file(root / name)]
    if files:
        found = {k: schema for file in files for k, schema in load_tables_json(file).items()}
    else:
        found = {
            db_id: schema_from_sqlite(path, db_id=db_id)
            for db_id in sorted(set(wanted))
            if is_file(path := database_dir / db_id / f"{db_id}.sqlite")
        }
    for db_id in found.keys() & set(wanted):
        if is_folder(folder := database_dir / db_id / "database_description"):
            found[db_id] = with_descriptions(found[db_id], folder)
    return found


def _unknown_db(
    db_id: str, known: Collection[str], where: Path, database_dir: Path | None = None
) -> DatasetError:
    close = get_close_matches(db_id, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    looked = ""
    if database_dir is not None:
        try:
            find_database(database_dir, db_id)
        except DatasetError as error:
            looked = f" {error}"  # last, since it may end with a command
    return DatasetError(
        f"{where}: unknown db_id {db_id!r}; {len(known)} databases are known.{hint} "
        "Correct the question's db_id, or add the database to tables.json and to the database "
        f"folder.{looked}"
    )

"""Building the pocket benchmark in Spider's format from its sources."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.data.tables_json import schema_to_tables_json
from distill_sql.pocket.domains import SOURCES, SPLITS, load_domains
from distill_sql.pocket.questions import Question, generate
from distill_sql.pocket.rows import write_database
from distill_sql.settings import cache_dir

#: Days after which an unused version is deleted from the cache.
KEPT_DAYS = 7


def build(target: Path, *, progress: bool = False) -> Path:
    """Write the benchmark to the folder ``target`` atomically, and return it.

    The folder has Spider's layout: ``train.json``, ``validation.json``, ``dev.json``,
    ``tables.json`` and ``database/<db_id>/<db_id>.sqlite``. The same sources give byte-identical
    JSON and the same rows.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / "pocket"
        domains = load_domains()
        # Dev and validation come first, so that of two equal questions the training one is dropped.
        ordered = sorted(domains, key=lambda domain: -SPLITS.index(domain.split))
        questions: dict[str, list[Question]] = {}
        taken: set[str] = set()
        for domain in tqdm(ordered, desc="pocket benchmark", disable=not progress):
            path = folder / "database" / domain.db_id / f"{domain.db_id}.sqlite"
            path.parent.mkdir(parents=True)
            write_database(domain, path)
            with closing(sqlite3.connect(path)) as connection:
                questions[domain.db_id] = generate(domain, connection, taken)
        for split in SPLITS:
            members = (q for d in domains if d.split == split for q in questions[d.db_id])
            _write_json(folder / f"{split}.json", (question.record() for question in members))
        _write_json(
            folder / "tables.json", (schema_to_tables_json(domain.schema) for domain in domains)
        )
        try:
            folder.rename(target)
        except OSError:  # another process has built the same content
            if not (target / "tables.json").exists():
                raise
    return target


def _write_json(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a JSON list with one record per line."""
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


@lru_cache(maxsize=1)
def materialized() -> Path:
    """The benchmark's folder in the user's cache, which is built if its sources have changed.

    Versions that were not used for :data:`KEPT_DAYS` days are deleted; a more recent one may be in
    use by another checkout. If two processes build at the same time, one result is kept.
    """
    home = cache_dir() / "pocket"
    target = home / source_hash()[:16]
    if not (target / "tables.json").exists():
        build(target, progress=os.isatty(2))
        for old in home.iterdir():
            unused = time.time() - old.stat().st_mtime > KEPT_DAYS * 86_400
            if unused and old.is_dir() and len(old.name) == len(target.name):
                shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):  # the cache may belong to another user
        os.utime(target)
    return target


def source_hash() -> str:
    """The SHA-256 (hex) of all sources of the benchmark, including the code.

    The test split has its own hash (:mod:`~distill_sql.pocket.sealed`).
    """
    digest = hashlib.sha256()
    package = SOURCES.parent
    kinds, apart = {".py", ".toml", ".sql", ".txt"}, SOURCES / "test"
    files = [p for p in SOURCES.rglob("*") if p.suffix in kinds and apart not in p.parents]
    others = ("sql/parsing.py", "scoring/mutants.py", "scoring/hardness.py")
    for path in sorted([*files, *(package / name for name in others)]):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()

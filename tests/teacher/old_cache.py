"""Caches of layout 1."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def old_cache(path: Path) -> Iterator[sqlite3.Connection]:
    """Write a cache in layout 1."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript("""
            CREATE TABLE sample (
              key BLOB PRIMARY KEY, request BLOB NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
              finish TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
              completion_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, created REAL NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE request (key BLOB PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE spend (id INTEGER PRIMARY KEY CHECK (id = 1), total INTEGER NOT NULL);
            CREATE TABLE batch (id TEXT PRIMARY KEY, bound INTEGER NOT NULL, state TEXT NOT NULL);
            INSERT INTO spend VALUES (1, 0);
            PRAGMA user_version = 1;
        """)
        yield db

"""Fixtures that find the real data, and skip with a reason where it is absent."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``DISTILL_SQL_DATA``, or ``../shared/data`` beside the checkout."""
    path = Path(os.environ.get("DISTILL_SQL_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set DISTILL_SQL_DATA to a folder that has it")
    return path


@pytest.fixture(scope="session")
def cases(data_dir: Path) -> Path:
    """The folder of small inputs that once failed: ``cases`` beside the real data."""
    path = data_dir.parent / "cases"
    if not path.is_dir():
        pytest.skip(f"no cases at {path}")
    return path


@pytest.fixture(scope="session")
def spider_dir(data_dir: Path) -> Path:
    return data_dir / "spider"


@pytest.fixture(scope="session")
def qwen_dir(data_dir: Path) -> Path:
    return data_dir / "qwen2.5-tokenizer"


@pytest.fixture(scope="session")
def spider_dev(spider_dir: Path) -> Dataset:
    return load_dataset("spider", split="dev", path=spider_dir)


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Spider's layout with one database, ``shop``: customer, orders, and a bridge."""
    root = tmp_path_factory.mktemp("toy")
    database = root / "database" / "shop" / "shop.sqlite"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(SHOP)
    examples = [
        {
            "db_id": "shop",
            "question": "How many customers are there?",
            "query": "SELECT count(*) FROM customer",
        },
        {
            "db_id": "shop",
            "question": "Which customers ordered a lamp?",
            "query": "SELECT T1.name FROM customer AS T1 "
            "JOIN orders AS T2 ON T1.id = T2.customer_id "
            "JOIN order_item AS T3 ON T2.id = T3.order_id WHERE T3.product = 'lamp'",
        },
    ]
    (root / "dev.json").write_text(json.dumps(examples))
    return root


SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, "home town" VARCHAR(20));
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer, placed_on DATE, paid BOOLEAN
);
CREATE TABLE order_item (
  order_id INTEGER, line INTEGER, product TEXT, price REAL,
  PRIMARY KEY (order_id, line), FOREIGN KEY (order_id) REFERENCES orders (id)
);
CREATE VIEW paid_orders AS SELECT * FROM orders WHERE paid;
INSERT INTO customer VALUES (1, 'Ada', 'Leeds'), (2, 'Bo', 'York'), (3, NULL, 'Leeds');
INSERT INTO orders VALUES (10, 1, '2024-01-02', 1), (11, 2, '2024-02-03', 0);
INSERT INTO order_item VALUES (10, 1, 'lamp', 12.5), (10, 2, 'chair */ x', 40.0), (11, 1, 'rug', 7);
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.data.schema import ForeignKey, Schema
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.data.tables_json import schema_to_tables_json
from distill_sql.errors import DatasetError


def test_live_schemas_agree_with_spiders_tables_json(spider_dev: Dataset) -> None:
    for db_id in spider_dev.db_ids:
        live = schema_from_sqlite(spider_dev.database_path(db_id))
        stated = spider_dev.schema(db_id)
        # tables.json of world_1 lists SQLite's own sqlite_sequence table, which is not the user's
        names = {table.name.lower() for table in stated.tables} - {"sqlite_sequence"}
        assert {table.name.lower() for table in live.tables} == names
        for table in live.tables:
            columns = {column.name.lower() for column in stated.table(table.name).columns}
            assert {column.name.lower() for column in table.columns} == columns


def test_live_schema_reads_keys_and_leaves_views_out(toy_dataset: Path) -> None:
    schema = schema_from_sqlite(toy_dataset / "database/shop/shop.sqlite")
    assert schema.db_id == "shop"
    assert [table.name for table in schema.tables] == ["customer", "orders", "order_item"]
    assert schema.table("order_item").primary_key == ("order_id", "line")
    assert schema.foreign_keys == (
        ForeignKey("orders", ("customer_id",), "customer", ("id",)),  # refers to the primary key
        ForeignKey("order_item", ("order_id",), "orders", ("id",)),
    )
    types = {column.name: column.type for column in schema.table("orders").columns}
    assert types == {
        "id": "number",
        "customer_id": "number",
        "placed_on": "time",
        "paid": "boolean",
    }


def test_composite_foreign_key_of_a_live_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE p (a, b, PRIMARY KEY (a, b));"
            "CREATE TABLE c (x, y, FOREIGN KEY (x, y) REFERENCES p (a, b));"
            "CREATE TABLE orphan (z REFERENCES nowhere (id));"
        )
    keys = schema_from_sqlite(path).foreign_keys
    assert keys == (ForeignKey("c", ("x", "y"), "p", ("a", "b")),)


def test_file_that_is_not_sqlite_and_file_that_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DatasetError, match="not a readable SQLite database") as error:
        schema_from_sqlite(path)
    assert "Git LFS" in str(error.value)
    with pytest.raises(DatasetError, match="No database at"):
        schema_from_sqlite(tmp_path / "absent.sqlite")


def test_undecodable_text_does_not_stop_reading(tmp_path: Path) -> None:
    from distill_sql.prompting.rendering import sample_rows

    path = tmp_path / "latin.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (name TEXT)")
        connection.execute("INSERT INTO t VALUES (CAST(x'4dfc6c6c6572' AS TEXT))")
        connection.commit()
    schema = schema_from_sqlite(path)
    assert sample_rows(path, schema.tables)["t"] == [("Mller",)]


def live(tmp_path: Path, *statements: str) -> Schema:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in statements:
            connection.execute(sql)
    return schema_from_sqlite(path)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("REFERENCES p (ID)", ForeignKey("c", ("a",), "p", ("id",))),
        ('REFERENCES "P"', ForeignKey("c", ("a",), "p", ("id",))),
        ("REFERENCES p (rowid)", ForeignKey("c", ("a",), "p", ("id",))),
        ("REFERENCES p (_ROWID_)", ForeignKey("c", ("a",), "p", ("id",))),
        ("REFERENCES p (name)", ForeignKey("c", ("a",), "p", ("name",))),
        ("REFERENCES p (no_such_column)", None),
        ("REFERENCES q (oid)", ForeignKey("c", ("a",), "q", ("oid",))),
        ("REFERENCES q (rowid)", None),
        ("REFERENCES q", None),  # it has two columns in its key
        ("REFERENCES w (rowid)", None),
        ("REFERENCES v (id)", None),
        ("REFERENCES absent", None),
        ("REFERENCES sqlite_sequence (name)", None),
        ("REFERENCES c (A)", ForeignKey("c", ("a",), "c", ("a",))),
    ],
)
def test_a_foreign_key_leads_to_a_column_or_is_left_out(
    tmp_path: Path, key: str, expected: ForeignKey | None
) -> None:
    schema = live(
        tmp_path,
        "CREATE TABLE p (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)",
        "CREATE TABLE q (oid TEXT, name TEXT, PRIMARY KEY (oid, name))",
        "CREATE TABLE w (id TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE VIEW v AS SELECT id FROM p",
        f"CREATE TABLE c (a INT {key})",
    )
    assert schema.foreign_keys == ((expected,) if expected else ())
    entry = schema_to_tables_json(schema)
    assert len(entry["foreign_keys"]) == len(schema.foreign_keys)


def test_generated_columns_are_columns_in_order(tmp_path: Path) -> None:
    schema = live(
        tmp_path,
        "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c AS (a), d TEXT, "
        "e GENERATED ALWAYS AS (d) VIRTUAL)",
    )
    (table,) = schema.tables
    assert [(column.name, column.type) for column in table.columns] == [
        ("a", "number"), ("b", "number"), ("c", "text"), ("d", "text"), ("e", "text"),
    ]  # fmt: skip


def test_virtual_tables_have_columns_and_their_shadow_tables_are_left_out(tmp_path: Path) -> None:
    schema = live(
        tmp_path,
        "CREATE TABLE plain_content (a)",
        "CREATE VIRTUAL TABLE ft USING fts5(title, body)",
        "CREATE VIRTUAL TABLE [old one] USING 'fts4'(body)",
        "CREATE VIRTUAL TABLE box USING rtree(id, x0, x1, +name)",
        "CREATE TABLE ft_notes (a)",
    )
    assert {table.name: [c.name for c in table.columns] for table in schema.tables} == {
        "plain_content": ["a"],
        "ft": ["title", "body"],
        "old one": ["body"],
        "box": ["id", "x0", "x1", "name"],
        "ft_notes": ["a"],
    }


def test_a_virtual_table_of_an_unknown_kind_is_left_out(tmp_path: Path) -> None:
    schema = live(
        tmp_path,
        "CREATE TABLE t (a)",
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, "
        "'CREATE VIRTUAL TABLE x USING no_such_module(a)')",
    )
    assert [table.name for table in schema.tables] == ["t"]


def test_names_that_differ_by_more_than_the_case_of_a_to_z_are_different(tmp_path: Path) -> None:
    schema = live(tmp_path, 'CREATE TABLE "É" (a)', 'CREATE TABLE "é" (b REFERENCES "É" (a))')
    assert [table.name for table in schema.tables] == ["É", "é"]
    assert schema.foreign_keys == (ForeignKey("é", ("b",), "É", ("a",)),)


def test_views_are_not_read_whatever_they_are(tmp_path: Path) -> None:
    """Each view selects from the one before twice; the last one expands to 2**40 tables."""
    views = (
        f"CREATE VIEW v{n} AS SELECT x.a FROM v{n - 1} AS x, v{n - 1} AS y" for n in range(1, 41)
    )
    schema = live(tmp_path, "CREATE TABLE v0 (a)", *views)
    assert [table.name for table in schema.tables] == ["v0"]


def test_thousands_of_tables_are_read_in_a_second(tmp_path: Path) -> None:
    tables = (f"CREATE TABLE t{n} (a PRIMARY KEY, b REFERENCES t{n + 1})" for n in range(3000))
    schema = live(tmp_path, "BEGIN", *tables, "COMMIT")
    assert len(schema.tables) == 3000
    assert len(schema.foreign_keys) == 2999
    assert schema.keys_of("T7") == [ForeignKey("t7", ("b",), "t8", ("a",))]

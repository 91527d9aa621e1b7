from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset
from distill_sql.errors import DatasetError
from distill_sql.schema import (
    ForeignKey,
    Schema,
    Table,
    load_tables_json,
    schema_from_sqlite,
    schema_to_tables_json,
)

ENTRY = {
    "db_id": "d",
    "table_names_original": ["A", "b_c"],
    "table_names": ["a", "b c"],
    "column_names_original": [[-1, "*"], [0, "Id"], [0, "Name"], [1, "Id"], [1, "A_Id"]],
    "column_names": [[-1, "*"], [0, "id"], [0, "name"], [1, "id"], [1, "a id"]],
    "column_types": ["text", "number", "text", "number", "number"],
    "primary_keys": [1, [3, 4]],
    "foreign_keys": [[4, 1]],
}


def write(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "tables.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_tables_json_with_sentinel_and_composite_key(tmp_path: Path) -> None:
    schema = load_tables_json(write(tmp_path, [ENTRY]))["d"]
    assert [table.name for table in schema.tables] == ["A", "b_c"]
    assert [column.name for column in schema.table("a").columns] == ["Id", "Name"]
    assert schema.table("B_C").primary_key == ("Id", "A_Id")
    assert schema.foreign_keys == (ForeignKey("b_c", ("A_Id",), "A", ("Id",)),)
    assert schema.table("b_c").description == "b c"


def test_synonyms_survive_a_round_trip_and_can_be_taken_away(tmp_path: Path) -> None:
    said = {
        "table_synonyms": [["thing"], []],
        "column_synonyms": [[], [], ["label", "title"], [], []],
    }
    (schema,) = load_tables_json(write(tmp_path, [ENTRY | said])).values()
    assert schema.table("A").synonyms == ("thing",)
    assert schema.table("A").columns[1].synonyms == ("label", "title")
    assert schema_to_tables_json(schema).items() >= said.items()
    plain = schema.without_synonyms()
    assert plain == load_tables_json(write(tmp_path, [ENTRY]))["d"]
    assert "table_synonyms" not in schema_to_tables_json(plain)


def test_every_spider_schema_survives_a_round_trip(spider_dir: Path) -> None:
    raw = json.loads((spider_dir / "tables.json").read_text())
    schemas = load_tables_json(spider_dir / "tables.json")
    assert len(schemas) == 166
    assert [schema_to_tables_json(schemas[entry["db_id"]]) for entry in raw] == raw


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


def test_restrict_leaves_no_dangling_foreign_key(toy_dataset: Path) -> None:
    schema = schema_from_sqlite(toy_dataset / "database/shop/shop.sqlite")
    small = schema.restrict({"Customer", "order_item"})
    assert [table.name for table in small.tables] == ["customer", "order_item"]
    assert small.foreign_keys == ()
    assert list(schema.neighbours("ORDERS")) == ["customer", "order_item"]


def test_self_reference_is_no_neighbour() -> None:
    key = ForeignKey("person", ("boss",), "person", ("id",))
    schema = Schema("d", (Table("person", ()),), (key,))
    assert list(schema.neighbours("person")) == []


def test_truncated_tables_json_names_file_and_place(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([ENTRY])[:-40])
    with pytest.raises(DatasetError, match=r"tables\.json is not valid JSON at line 1, column \d+"):
        load_tables_json(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"foreign_keys": [[4, 99]]}, "IndexError"),
        ({"column_types": ["text"]}, "5 columns but 1 column_types"),
        ({"primary_keys": [0]}, "belongs to table -1"),
        ({"column_synonyms": [["x"]]}, "5 columns but 1 column_synonyms"),
        ({"table_synonyms": [["x"]]}, "zip() argument"),
    ],
)
def test_malformed_entry_names_itself(tmp_path: Path, change: dict, found: str) -> None:
    with pytest.raises(DatasetError, match=r"entry 0 \(db_id 'd'\) is malformed") as error:
        load_tables_json(write(tmp_path, [ENTRY | change]))
    assert found in str(error.value)


def test_entry_without_its_keys(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a list of schemas, found dict"):
        load_tables_json(write(tmp_path, ENTRY))
    with pytest.raises(DatasetError, match="table_names_original"):
        load_tables_json(write(tmp_path, [{"db_id": "d"}]))


def test_file_that_is_not_sqlite_and_file_that_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DatasetError, match="not a readable SQLite database") as error:
        schema_from_sqlite(path)
    assert "Git LFS" in str(error.value)
    with pytest.raises(DatasetError, match="No database at"):
        schema_from_sqlite(tmp_path / "absent.sqlite")


def test_undecodable_text_does_not_stop_reading(tmp_path: Path) -> None:
    from distill_sql.prompts import sample_rows

    path = tmp_path / "latin.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (name TEXT)")
        connection.execute("INSERT INTO t VALUES (CAST(x'4dfc6c6c6572' AS TEXT))")
        connection.commit()
    schema = schema_from_sqlite(path)
    assert sample_rows(path, schema.tables)["t"] == [("Mller",)]

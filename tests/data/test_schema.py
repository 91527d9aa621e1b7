from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings

from distill_sql.data.datasets import Dataset
from distill_sql.data.schema import (
    ForeignKey,
    Schema,
    Table,
    load_tables_json,
    schema_from_sqlite,
    schema_to_tables_json,
)
from distill_sql.errors import DatasetError
from tests.hostile import Database, databases

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
        ({"foreign_keys": [[-1, 1]]}, "no entry -1"),
        ({"foreign_keys": [[True, 1]]}, "True is no index"),
        ({"foreign_keys": [[4]]}, "not enough values"),
        ({"primary_keys": ["1"]}, "'1' is no index"),
        ({"primary_keys": [[3, None]]}, "None is no index"),
        ({"table_names_original": ["A", None]}, "None is no text"),
        ({"table_names_original": 5}, "not iterable"),
        ({"column_names_original": [[-1, "*"], [2, "x"]]}, "no entry 2"),
        ({"column_names_original": [[-1, "*"], [0, 1]]}, "1 is no text"),
        ({"column_types": ["text", None, "text", "number", "number"]}, "None is no text"),
        ({"column_names": [[-1, "*"]]}, "IndexError"),
    ],
)
def test_malformed_entry_names_itself(tmp_path: Path, change: dict, found: str) -> None:
    with pytest.raises(DatasetError, match=r"entry 0 \(db_id 'd'\) is malformed") as error:
        load_tables_json(write(tmp_path, [ENTRY | change]))
    assert found in str(error.value)


def test_a_db_id_of_another_type_and_one_that_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"malformed: TypeError: \['d'\] is no text"):
        load_tables_json(write(tmp_path, [ENTRY | {"db_id": ["d"]}]))
    with pytest.raises(DatasetError, match=r"entry 0: the db_id '\.\./d' cannot be used"):
        load_tables_json(write(tmp_path, [ENTRY | {"db_id": "../d"}]))


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


def test_virtual_tables_show_their_columns_and_not_where_they_keep_them(tmp_path: Path) -> None:
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
    """Each of these selects twice from the one before: 2**40 tables in the end."""
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


@settings(max_examples=60, deadline=None)
@given(database=databases())
def test_any_schema_can_be_written_as_tables_json_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    folder = tmp_path_factory.mktemp("any")
    schema = schema_from_sqlite(database.build(folder / "odd.sqlite"))
    assert "there_is_one" in schema
    for key in schema.foreign_keys:
        for table, columns in ((key.table, key.columns), (key.ref_table, key.ref_columns)):
            assert {*columns} <= {column.name for column in schema.table(table).columns}
    again = load_tables_json(write(folder, [schema_to_tables_json(schema)]))["odd"]
    assert [table.name for table in again.tables] == [table.name for table in schema.tables]
    assert [[c.name for c in t.columns] for t in again.tables] == [
        [c.name for c in t.columns] for t in schema.tables
    ]

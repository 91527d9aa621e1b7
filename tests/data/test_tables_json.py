from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings

from distill_sql.data.schema import ForeignKey
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.data.tables_json import load_tables_json, schema_to_tables_json
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
        ({"foreign_keys": [[True, 1]]}, "True is not an index"),
        ({"foreign_keys": [[4]]}, "not enough values"),
        ({"primary_keys": ["1"]}, "'1' is not an index"),
        ({"primary_keys": [[3, None]]}, "None is not an index"),
        ({"table_names_original": ["A", None]}, "None is not a string"),
        ({"table_names_original": 5}, "not iterable"),
        ({"column_names_original": [[-1, "*"], [2, "x"]]}, "no entry 2"),
        ({"column_names_original": [[-1, "*"], [0, 1]]}, "1 is not a string"),
        ({"column_types": ["text", None, "text", "number", "number"]}, "None is not a string"),
        ({"column_names": [[-1, "*"]]}, "IndexError"),
    ],
)
def test_malformed_entry_names_itself(tmp_path: Path, change: dict, found: str) -> None:
    with pytest.raises(DatasetError, match=r"entry 0 \(db_id 'd'\) is malformed") as error:
        load_tables_json(write(tmp_path, [ENTRY | change]))
    assert found in str(error.value)


def test_a_db_id_of_another_type_and_one_that_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"malformed: TypeError: \['d'\] is not a string"):
        load_tables_json(write(tmp_path, [ENTRY | {"db_id": ["d"]}]))
    with pytest.raises(DatasetError, match=r"entry 0: the db_id '\.\./d' cannot be used"):
        load_tables_json(write(tmp_path, [ENTRY | {"db_id": "../d"}]))


def test_entry_without_its_keys(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a list of schemas, found dict"):
        load_tables_json(write(tmp_path, ENTRY))
    with pytest.raises(DatasetError, match="table_names_original"):
        load_tables_json(write(tmp_path, [{"db_id": "d"}]))


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

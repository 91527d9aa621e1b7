"""What BIRD's files say of columns, and what of that a prompt shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from distill_sql.datasets import load_dataset
from distill_sql.descriptions import COMMENT_WIDTH, with_descriptions
from distill_sql.errors import DatasetError
from distill_sql.schema import Schema

HEADER = "original_column_name,column_name,column_description,data_format,value_description\n"


@pytest.fixture
def schema(toy_dataset: Path) -> Schema:
    return load_dataset(toy_dataset).schema("shop")


def comments(schema: Schema, folder: Path, *lines: str) -> list[str]:
    """Comments on customer's columns (id, name, home town) where its file has these lines."""
    (folder / "customer.csv").write_text(HEADER + "\n".join(lines))
    described = with_descriptions(schema, folder)
    return [column.comment for column in described.table("customer").columns]


def test_a_comment_says_what_a_column_holds_and_what_its_values_mean(
    schema: Schema, tmp_path: Path
) -> None:
    assert comments(
        schema, tmp_path,
        "id,,the  number of the\t customer,integer,",
        'name ,full name,,text,"commonsense evidence:\nLast name first"',
        "home town,,,text,Leeds or York",
    ) == ["the number of the customer", "full name; Last name first", "Leeds or York"]  # fmt: skip


def test_a_comment_that_only_repeats_is_left_out(schema: Schema, tmp_path: Path) -> None:
    found = comments(schema, tmp_path, "name,Name,NAME,,", "home town,,Home_Town,,where; they live")
    assert found == ["", "", "where; they live"]
    found = comments(schema, tmp_path, "name,,what they are called,,What they are called.")
    assert found == ["", "what they are called", ""]


def test_a_long_description_is_cut_and_long_values_are_left_out(
    schema: Schema, tmp_path: Path
) -> None:
    first, second, third = comments(
        schema, tmp_path,
        f"id,,{'x' * 300},,short",
        f"name,,{'y' * 60},,{'z' * 60}",
        f"home town,,{'y' * 50},,{'z' * (COMMENT_WIDTH - 52)}",
    )  # fmt: skip
    assert first == "x" * (COMMENT_WIDTH - 3) + "..."
    assert second == "y" * 60
    assert third == "y" * 50 + "; " + "z" * 48
    assert len(third) == COMMENT_WIDTH


def test_a_dataset_of_ones_own_may_describe_its_columns(toy_dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_dataset, tmp_path / "mine"))
    about = folder / "database/shop/database_description"
    about.mkdir()
    plain = load_dataset(folder)
    (about / "ORDERS.csv").write_text(HEADER + "Paid,,whether money came,,\n")
    described = load_dataset(folder)
    (column,) = [c for c in described.schema("shop").table("orders").columns if c.comment]
    assert (column.name, column.comment) == ("paid", "whether money came")
    assert plain.schema("shop") == load_dataset(toy_dataset).schema("shop")
    assert described.fingerprint != plain.fingerprint


def test_every_file_of_bird_is_read(data_dir: Path) -> None:
    dev = load_dataset("bird", path=data_dir / "bird")
    columns = [c for s in dev.schemas.values() for t in s.tables for c in t.columns]
    assert len(columns) == 798
    assert sum(bool(column.comment) for column in columns) > 600
    assert max(len(column.comment) for column in columns) <= COMMENT_WIDTH
    assert not [c for c in columns if "\n" in c.comment or "evidence:" in c.comment]


@pytest.mark.parametrize(
    "content",
    ["other,names\n1,2\n", 'original_column_name\n"' + "x" * 200_000 + '"\n'],
)
def test_files_that_cannot_be_read_are_told(schema: Schema, tmp_path: Path, content: str) -> None:
    (tmp_path / "customer.csv").write_text(content)
    with pytest.raises(DatasetError, match=r"customer\.csv cannot be read .* copy the file again"):
        with_descriptions(schema, tmp_path)


def test_lines_may_be_short_of_cells_or_have_too_many(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "customer.csv").write_text(
        " original_column_name,column_description \nname\n,\nid,a  number,more,and more\n"
    )
    described = with_descriptions(schema, tmp_path)
    texts = [column.description for column in described.table("customer").columns]
    assert texts == ["a number", "", ""]

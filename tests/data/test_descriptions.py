"""Reading BIRD's column descriptions, and their comments in prompts."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.descriptions import COMMENT_WIDTH, with_descriptions
from distill_sql.data.schema import Schema
from distill_sql.errors import DatasetError
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.rendering import Style, render_compact, render_schema

HEADER = "original_column_name,column_name,column_description,data_format,value_description\n"


@pytest.fixture
def schema(toy_dataset: Path) -> Schema:
    return load_dataset(toy_dataset).schema("shop")


def comments(schema: Schema, folder: Path, *lines: str) -> list[str]:
    """Comments on customer's columns (id, name, home town) if its file has these lines."""
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
def test_files_that_cannot_be_read_are_errors(schema: Schema, tmp_path: Path, content: str) -> None:
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


def test_a_prompt_shows_what_bird_says(data_dir: Path) -> None:
    dev = load_dataset("bird", path=data_dir / "bird").only("superhero")
    example = next(e for e in dev if e.evidence)
    full, compact = (
        prompt_messages(dev, example, style=style)[1]["content"] for style in get_args(Style)
    )
    assert "\n  full_name TEXT, -- the full name of the superhero\n" in full
    assert "\n  id NUMERIC PRIMARY KEY, -- the unique identifier of the colo" in full
    assert " full_name (the full name of the superhero)" in compact
    assert " colour (the color of the superhero's skin/eye...)" in compact
    for prompt in (full, compact):
        assert f"\nHint: {example.evidence}\n" in prompt


def test_a_comment_is_all_that_descriptions_change(schema: Schema, tmp_path: Path) -> None:
    lines = ("id,,one */ number,,", "name,,who,,", "home town,,where; (they) live,,")
    comments(schema, tmp_path, *lines)
    described = with_descriptions(schema, tmp_path)
    plain, shown = render_schema(schema, {}), render_schema(described, {})
    assert " -- one * / number\n" in shown
    assert "  name TEXT, -- who\n" in shown
    assert "".join(re.sub(" -- .*", "", line) for line in shown.splitlines(keepends=True)) == plain
    # What is shown is still SQL, with the columns that the schema has.
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(shown)
        names = [row[1] for row in connection.execute("PRAGMA table_info(customer)")]
    assert names == ["id", "name", "home town"]


def test_prompts_without_descriptions_have_no_comment(spider_dev: Dataset) -> None:
    for dataset in (spider_dev, load_dataset("pocket"), load_dataset("pocket", split="train")):
        for db_id in dataset.db_ids:
            assert " -- " not in render_schema(dataset.schema(db_id), {})
            assert " (" not in render_compact(dataset.schema(db_id), {})

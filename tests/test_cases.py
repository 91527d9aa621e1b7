"""Regression tests: small inputs, each with the command that once failed on it.

The teacher's odd answers are in tests/teacher/test_command.py, odd prediction files in
tests/scoring/test_predictions.py, and damaged traces in tests/test_traces.py.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.prompting.prompts import prompt_messages


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path / "cache"))


def scored(folder: Path, out: Path, *options: str, predictions: str = "pred.jsonl") -> Any:
    """The report that ``distill-sql score`` writes for a case."""
    command = ["score", str(folder / predictions), "--dataset", str(folder), "--json", str(out)]
    assert main([*command, *options]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        "01_hang_blob_column", "03_fk_to_missing_column", "04_gold_sqlite_keyword_as_name",
        "04b_gold_semicolon_comment", "04d_gold_cast_multiword_type", "05_pred_double_semicolon",
        "08b_bom_in_dev_json", "09_generated_columns", "10_neighbours_cyclic_fk", "11_fts5",
    ],
)  # fmt: skip
def test_right_answers_are_right_on_neighbours_too(cases: Path, tmp_path: Path, name: str) -> None:
    found = scored(cases / name, tmp_path / "out.json", "--neighbours", "1")
    assert [example["exec"] for example in found["examples"]] == [True] * found["summary"]["n"]


@pytest.mark.parametrize("name", ["u2028.jsonl", "nel.jsonl"])
def test_unicode_separators_do_not_end_lines(cases: Path, tmp_path: Path, name: str) -> None:
    folder = cases / "02_unicode_line_separators"
    found = scored(folder, tmp_path / "out.json", predictions=name)
    assert found["summary"]["exec"]["correct"] == 3


def test_unparsable_gold_queries_are_reported_per_question(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scored(cases / "04_gold_sqlite_keyword_as_name", tmp_path / "out.json")
    without = [e["question_id"] for e in found["examples"] if e["hardness"] is None]
    assert without == [1, 2]
    assert "(question_id 1, 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        ("07_wal_not_checkpointed", "shop.sqlite-wal", "checkpoint it"),
        ("12_message_truncated_db", "cut short", "Copy or download it again"),
        ("12b_message_db_extension", "Found", "Move it there"),
    ],
)
def test_unreadable_databases_are_refused(
    cases: Path, capsys: pytest.CaptureFixture[str], name: str, found: str, fix: str
) -> None:
    folder = cases / name
    assert main(["score", str(folder / "pred.jsonl"), "--dataset", str(folder)]) == 2
    told = capsys.readouterr().err
    assert str(folder / "database" / "shop" / "shop.sqlite") in told
    assert found in told
    assert fix in told


def test_generated_columns_are_in_schema_and_prompt(cases: Path) -> None:
    dataset = load_dataset(cases / "09_generated_columns")
    (table,) = dataset.schema("shop").tables
    assert [column.name for column in table.columns][-2:] == ["b", "c"]
    for style in ("full", "compact"):
        text = prompt_messages(dataset, dataset.examples[0], style=style)[-1]["content"]
        assert all(name in text for name in ("a", "b", "c"))


def test_cyclic_keys_hold_on_every_neighbour(cases: Path, tmp_path: Path) -> None:
    dataset = load_dataset(cases / "10_neighbours_cyclic_fk")
    made = build_neighbours(dataset, count=4, folder=tmp_path / "neighbours")
    for path in made["shop"]:
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

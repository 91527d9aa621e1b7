"""Recorded runs: a manifest keeps the counts, and a record on other questions is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError
from distill_sql.files import read_json, write_json, write_json_lines
from distill_sql.models.recipes import recipe_for
from distill_sql.runs.records import (
    MANIFEST,
    Record,
    generation_manifest,
    read_records,
    write_manifest,
    write_predictions,
)
from distill_sql.scoring import read_predictions, score
from distill_sql.training.experiments import Experiment, Outcome


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture
def outcome(shop: Dataset, tmp_path: Path) -> Outcome:
    """A student that answers the first question of two."""
    path = tmp_path / "run" / "predictions.jsonl"
    queries = [shop.examples[0].query, "SELECT nothing"]
    write_json_lines(
        path,
        (
            {"question_id": one.question_id, "db_id": one.db_id, "pred_sql": sql}
            for one, sql in zip(shop, queries, strict=True)
        ),
    )
    write_json(path.with_suffix(".manifest.json"), {"dataset": {"name": shop.name, "examples": 2}})
    report = score(read_predictions(path, shop), shop)
    return Outcome(Experiment(recipe_for("pocket-s")), None, path, report)


def test_what_is_written_is_read_and_scored_again(
    shop: Dataset, outcome: Outcome, tmp_path: Path
) -> None:
    for name in ("b", "a"):
        folder = tmp_path / "records" / name
        folder.mkdir(parents=True)
        write_manifest(folder, outcome, generation_manifest(outcome) | {"name": name})
        write_predictions(folder, outcome)
    found = read_records(Record, tmp_path / "records", f"*/{MANIFEST}", shop, command="c")
    assert [one.folder.name for one in found] == ["a", "b"]
    for one in found:
        assert one.manifest == read_json(one.folder / MANIFEST)
        assert (one.manifest["questions"], one.manifest["correct"]) == (2, 1)
        assert one.report == outcome.report
    assert read_records(Record, tmp_path / "none", f"*/{MANIFEST}", shop, command="c") == []


@pytest.mark.parametrize(("name", "examples"), [("shop", 3), ("other", 2)])
def test_a_record_on_other_questions_is_an_error(
    shop: Dataset, tmp_path: Path, name: str, examples: int
) -> None:
    name = shop.name if name == "shop" else name
    (tmp_path / MANIFEST).write_text(json.dumps({"dataset": {"name": name, "examples": examples}}))
    message = f"on {examples} questions of {name}; expected 2 of {shop.name}.*with `again`"
    with pytest.raises(DatasetError, match=message):
        read_records(Record, tmp_path, MANIFEST, shop, command="again")

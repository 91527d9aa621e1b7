"""Systems with predictions on disk: found, named and chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_sql.book.systems import main, named, of_dataset, systems
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.recipes import recipe_for
from distill_sql.training import experiments
from distill_sql.training.experiments import Experiment, run_experiment


@pytest.fixture
def dataset(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def leave(folder: Path, dataset: Dataset, student: str, file: str = "", **about: Any) -> Path:
    """Write a prediction file with its manifest, as an experiment does."""
    place = folder / student
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"predictions{file}-0123456789ab.jsonl"
    answers = [{"question_id": e.question_id, "pred_sql": "SELECT 1"} for e in dataset]
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    manifest = {
        "recipe": "pocket-l", "seed": 42, "traces": 1877, "way": "", "overridden": {},
        "dataset": dataset.description(), "date": "2026-11-27T10:00:00+00:00",
    }  # fmt: skip
    path.with_suffix(".manifest.json").write_text(json.dumps(manifest | about))
    return path


def test_names_have_what_differs_between_systems(dataset: Dataset, tmp_path: Path) -> None:
    left: list[tuple[str, str, dict[str, Any]]] = [
        ("a-1", "", {}),
        ("a-1", ".grammar", {"way": "grammar"}),
        ("a-1", ".schema-150.no-synonyms", {"way": "schema-150.no-synonyms"}),
        ("a-2", "", {"seed": 43, "overridden": {"seed": 43}}),
        ("a-3", "", {"traces": 500}),
        ("a-4", "", {"overridden": {"rank": 8, "learning_rate": 1e-3}}),
        ("b-1", "", {"recipe": "pocket-s-base", "traces": 0}),
        ("c-1", "", {"recipe": "pocket-l-direct", "traces": 1156}),
        ("t-1", "", {"recipe": "pocket-teacher", "traces": 0}),
    ]
    for student, file, about in left:
        leave(tmp_path, dataset, student, file, **about)
    found = named(systems(dataset, tmp_path))
    assert list(found) == [
        "pocket-l, seed 42",
        "pocket-l, seed 42, 500 traces",
        "pocket-l, seed 43",
        "pocket-l, seed 42, with the grammar",
        "pocket-l, seed 42, schema of 150 tokens, without synonyms",
        "pocket-l, seed 42, learning rate 0.001, rank 8",
        "pocket-s-base",
        "pocket-l-direct, seed 42",
        "pocket-teacher",
    ]
    assert list(named(main(found.values()))) == [
        "pocket-l, seed 42", "pocket-s-base", "pocket-teacher"
    ]  # fmt: skip
    assert of_dataset([one.predictions for one in found.values()], dataset) == [
        one.predictions for one in found.values()
    ]


def test_of_equal_systems_the_newest_is_the_main_one(dataset: Dataset, tmp_path: Path) -> None:
    leave(tmp_path, dataset, "pocket-l-aaaaaa", date="2026-11-25T10:00:00+00:00")
    newest = leave(tmp_path, dataset, "pocket-l-bbbbbb", date="2026-11-26T10:00:00+00:00")
    found = systems(dataset, tmp_path)
    assert list(named(found)) == ["pocket-l, seed 42 (bbbbbb)", "pocket-l, seed 42 (aaaaaa)"]
    assert [one.predictions for one in main(found)] == [newest]


def test_other_questions_and_unfinished_files_are_ignored(dataset: Dataset, tmp_path: Path) -> None:
    leave(tmp_path, dataset.limit(1), "asked-one-question")
    leave(tmp_path, dataset, "earlier", traces=None)
    leave(tmp_path, dataset, "nameless", recipe=None)
    leave(tmp_path, dataset, "unfinished").unlink()
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "predictions.manifest.json").write_text("[]")
    assert systems(dataset, tmp_path) == []
    assert systems(dataset, tmp_path / "nothing") == []


def test_files_of_another_dataset_are_left_out(dataset: Dataset, tmp_path: Path) -> None:
    own = leave(tmp_path, dataset, "own")
    other = leave(tmp_path, dataset.limit(1), "other")
    assert of_dataset([own, other], dataset) == [own]


def test_the_predictions_of_an_experiment_are_found(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    monkeypatch.setattr(experiments, "DEV_ANSWER_TOKENS", 4)
    base = recipe_for("pocket-s-base")
    for asked in (Experiment(base), Experiment(base, synonyms=False)):
        run_experiment(asked, dataset, tmp_path, framework="torch", progress=False)
    found = named(systems(dataset, tmp_path))
    assert list(found) == ["pocket-s-base", "pocket-s-base, without synonyms"]
    assert len({one.predictions.parent for one in found.values()}) == 1

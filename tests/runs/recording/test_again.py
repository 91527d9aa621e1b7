"""Recorded runs are scored again, and answers are generated again from the recorded adapter.

The first half checks the checks themselves on small runs of pocket; the second half is about the
runs in ``book/results/runs``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError, TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.runs.recording.adapter import WEIGHTS, weights_digest
from distill_sql.runs.recording.again import (
    SAME,
    Again,
    answered_again,
    recipe_of,
    same_share,
    whole_databases,
)
from distill_sql.runs.records import (
    MANIFEST,
    answers_of,
    dataset_of,
    evaluations_in,
    read_run,
    read_runs,
    training_of,
)

from ...conftest import ROOT
from .conftest import Recorded

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def results(recorded: Recorded, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded.results, tmp_path / "results"))


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket")


def test_all_runs_are_read_with_their_scores(results: Path, dev: Dataset) -> None:
    runs = read_runs(results, dev, neighbours=True)
    assert [(one.student, one.seed, one.evaluation) for one in runs] == [
        ("base", 42, "pocket-dev"),
        ("distilled", 42, "pocket-dev-grammar"), ("distilled", 42, "pocket-dev"),
        ("distilled", 43, "pocket-dev-grammar"), ("distilled", 43, "pocket-dev"),
        ("gold", 42, "pocket-dev"),
    ]  # fmt: skip
    for one in runs:
        assert one.differences == []
        assert one.same_data
        assert one.report.accuracy().correct == one.manifest["exec"]["correct"]
        assert (one.on_neighbours is None) == (one.manifest["neighbours"] is None)
    assert runs[0].training is None
    assert runs[1].training is not None
    assert runs[1].losses is not None
    assert [u["number"] for u in runs[1].losses["updates"]] == [1, 2]
    assert read_runs(results, load_dataset("pocket", split="train")) == []


def test_another_answer_is_a_difference(results: Path, dev: Dataset) -> None:
    path = results / "base" / "42" / f"pocket-dev.{MANIFEST}"
    whole = read_run(path, dev, neighbours=True)
    right = {v.question_id for v in whole.report.verdicts if v.exec}
    answers = json.loads(answers_of(path).read_text())
    answers_of(path).write_text(
        json.dumps(
            [
                a | ({"pred_sql": "SELECT 1"} if a["question_id"] == min(right) else {})
                for a in answers
            ]
        )
    )
    found = read_run(path, dev, neighbours=True).differences
    assert any("exec is" in one and "recorded" in one for one in found)
    assert any("exec on neighbours is" in one for one in found)


def test_runs_on_other_questions_are_told(results: Path, dev: Dataset) -> None:
    path = results / "base" / "42" / f"pocket-dev.{MANIFEST}"
    with pytest.raises(DatasetError, match="was recorded on 12 questions of pocket; found 5"):
        read_run(path, dev.limit(5))
    about = read_json(path)
    about["dataset"]["fingerprint"] = "0"
    write_json(path, about)
    assert not read_run(path, dev).same_data


def test_answers_are_the_recorded_ones(results: Path) -> None:
    path = results / "distilled" / "42" / f"pocket-dev.{MANIFEST}"
    dataset = dataset_of(read_json(path))
    found = answered_again(path, dataset, count=3)
    assert len(found) == len(whole_databases(dataset, 3))
    assert same_share(found) >= SAME


def test_answers_of_another_adapter_are_not(results: Path) -> None:
    """An adapter of random weights, with a manifest that says it is the recorded one."""
    from safetensors.torch import load_file, save_file

    path = results / "distilled" / "42" / f"pocket-dev.{MANIFEST}"
    adapter = path.with_name("adapter")
    torch.manual_seed(0)
    arrays = {k: torch.randn_like(v) for k, v in load_file(adapter / WEIGHTS).items()}
    save_file(arrays, adapter / WEIGHTS, {"format": "pt"})
    with pytest.raises(TrainingError, match="was changed or is incomplete"):
        answered_again(path, dataset_of(read_json(path)))
    about = read_json(path.with_name(MANIFEST))
    about["kept"]["sha256"] = weights_digest(adapter)
    write_json(path.with_name(MANIFEST), about)
    assert same_share(answered_again(path, dataset_of(read_json(path)))) < SAME


def test_without_an_adapter_nothing_is_generated(results: Path) -> None:
    path = results / "gold" / "42" / f"pocket-dev.{MANIFEST}"
    with pytest.raises(TrainingError, match=r"No adapter is recorded.*--keep-adapter gold"):
        answered_again(path, dataset_of(read_json(path)))


def test_the_recorded_adapter_is_half_as_large(recorded: Recorded) -> None:
    from safetensors.torch import load_file

    folder = recorded.results / "distilled" / "42"
    about = read_json(folder / MANIFEST)
    trained = load_file(recorded.state / "students" / about["state"] / "adapter" / WEIGHTS)
    kept = load_file(folder / "adapter" / WEIGHTS)
    assert kept.keys() == trained.keys()
    for name, one in kept.items():
        assert one.dtype == torch.bfloat16
        assert torch.equal(one, trained[name].to(torch.bfloat16))
    assert about["kept"]["sha256"] == weights_digest(folder / "adapter")
    assert not list((recorded.results / "gold").rglob("*.safetensors"))


def test_whole_databases_are_asked_the_smallest_first(dev: Dataset) -> None:
    some = whole_databases(dev, 20)
    assert len(some) >= 20
    sizes = {name: len(dev.only(name)) for name in dev.db_ids}
    assert all(len(some.only(name)) == sizes[name] for name in some.db_ids)
    assert max(sizes[name] for name in some.db_ids) <= min(
        size for name, size in sizes.items() if name not in some.db_ids
    )
    assert same_share([Again(1, "a", "a"), Again(2, "a", "b")]) == 0.5


# --- The runs in the book -------------------------------------------------------------------------

RUNS = ROOT / "book" / "results" / "runs"


def data_of(manifest: Mapping[str, Any], request: pytest.FixtureRequest) -> Dataset:
    """The questions of a recorded run; skips if they are not on this machine."""
    name = manifest["asked"]["dataset"]
    path = None if name == "pocket" else request.getfixturevalue("data_dir") / name
    try:
        found = dataset_of(manifest, path=path)
    except DatasetError as error:
        pytest.skip(str(error))
    if found.fingerprint != manifest["dataset"]["fingerprint"]:
        pytest.skip(f"the {name} here has other questions or databases than that of the recording")
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(RUNS).with_suffix("").with_suffix(""))


@pytest.mark.parametrize("path", evaluations_in(RUNS), ids=name_of)
def test_a_recorded_run_has_its_recorded_score(path: Path, request: pytest.FixtureRequest) -> None:
    assert read_run(path, data_of(read_json(path), request)).differences == []


@pytest.mark.slow
@pytest.mark.parametrize("path", evaluations_in(RUNS), ids=name_of)
def test_a_recorded_run_has_its_recorded_score_on_neighbours(
    path: Path, request: pytest.FixtureRequest
) -> None:
    manifest = read_json(path)
    if manifest["neighbours"] is None:
        pytest.skip("the plan did not ask for neighbours")
    assert read_run(path, data_of(manifest, request), neighbours=True).differences == []


def kept_adapters() -> list[Path]:
    """One evaluation of every student whose adapter is recorded."""
    found = [path for path in evaluations_in(RUNS) if "kept" in (training_of(path) or {})]
    return list({path.parent: path for path in reversed(found)}.values())


@pytest.mark.parametrize("path", kept_adapters(), ids=name_of)
def test_the_recorded_adapter_answers_as_recorded(
    path: Path, request: pytest.FixtureRequest
) -> None:
    recipe, given = recipe_of(path), os.environ.get("MODELS_DIR")
    if not recipe.pocket:
        name = recipe.base.rpartition("/")[2]
        if not given or not (Path(given) / name).exists():
            pytest.skip(f"no weights: set MODELS_DIR to a folder with {name}")
    found = answered_again(path, data_of(read_json(path), request))
    assert same_share(found) >= SAME, [one for one in found if one.recorded != one.found]

"""Experiments have their own folders, are shared, and resume after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models.generation import generate
from distill_sql.models.recipes import Recipe
from distill_sql.teacher.traces import Trace
from distill_sql.training import experiments
from distill_sql.training.experiments import Experiment, run_experiment, run_experiments

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(12)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "DEV_ANSWER_TOKENS", 8)


@pytest.mark.usefixtures("short")
def test_a_finished_experiment_is_read_back(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Experiment(recipe, tuple(traces[:16]))
    first = run_experiment(one, dev, tmp_path, framework="torch", progress=False)
    assert first.trained is not None
    assert len(first.trained.updates) == 2
    assert len(first.report.verdicts) == len(dev)
    record = read_json(first.predictions.with_suffix(".manifest.json"))
    assert (record["recipe"], record["dataset"]["examples"]) == (recipe.name, len(dev))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(experiments, "generate", never)
    again = run_experiment(one, dev, tmp_path, framework="torch", progress=False)
    assert again.report.summary() == first.report.summary()
    assert again.trained is not None
    assert again.trained.updates == first.trained.updates


@pytest.mark.usefixtures("short")
def test_a_student_that_is_asked_in_several_ways_is_trained_once(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = Experiment(recipe, tuple(traces[:16]), tuple(traces[180:184]))
    asked: list[Dataset] = []

    def noted(student: object, dataset: Dataset, *rest: object, **options: object) -> Path:
        asked.append(dataset)
        return generate(student, dataset, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(experiments, "generate", noted)
    ways = [
        usual,
        replace(usual, grammar=True),
        replace(usual, schema_tokens=60),
        replace(usual, synonyms=False),
    ]
    outcomes = run_experiments(ways, dev, tmp_path, framework="torch", processes=1)
    assert len(list(tmp_path.iterdir())) == 1
    adapters = {one.trained.adapter for one in outcomes if one.trained}
    assert len(adapters) == 1
    names = [one.predictions.name.partition("-")[0] for one in outcomes]
    assert names == ["predictions", "predictions.grammar", "predictions.schema", "predictions.no"]
    assert asked[-1].schemas == dev.without_synonyms().schemas != dev.schemas
    records = [read_json(one.predictions.with_suffix(".manifest.json")) for one in outcomes]
    assert [one["way"] for one in records] == ["", "grammar", "schema-60", "no-synonyms"]
    assert [one["schema_tokens"] for one in records] == [0, 0, 60, 0]
    assert outcomes[0].trained is not None
    assert len(outcomes[0].trained.validation) == 3


@pytest.mark.usefixtures("short")
def test_other_questions_are_asked_of_the_same_student(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
) -> None:
    one = Experiment(recipe, tuple(traces[:16]))
    some, more = (
        run_experiment(one, dev.limit(count), tmp_path, framework="torch", progress=False)
        for count in (2, 3)
    )
    assert some.trained is not None
    assert more.trained is not None
    assert some.trained.adapter == more.trained.adapter
    assert some.predictions != more.predictions
    # A chapter knows them by their records.
    record = read_json(more.predictions.with_suffix(".manifest.json"))
    assert (record["recipe"], record["traces"], record["way"]) == ("pocket-s", 16, "")
    assert record["dataset"]["fingerprint"] == dev.limit(3).fingerprint


@pytest.mark.usefixtures("short")
def test_what_decides_a_result_has_a_folder_of_its_own(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
) -> None:
    plan = [
        Experiment(replace(recipe, trained=False)),
        Experiment(recipe, tuple(traces[:16])),
        Experiment(replace(recipe, seed=7), tuple(traces[:16])),
        Experiment(recipe, tuple(traces[8:24])),
    ]
    outcomes = run_experiments(plan, dev, tmp_path, framework="torch", processes=1)
    assert [one.experiment for one in outcomes] == plan
    assert len({one.predictions for one in outcomes}) == 4
    assert [one.trained is None for one in outcomes] == [True, False, False, False]


@pytest.mark.slow
def test_side_by_side_is_as_one_by_one(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
) -> None:
    some = dev.limit(2)
    plan = [Experiment(replace(recipe, seed=seed), tuple(traces[:8])) for seed in (1, 2)]
    both = run_experiments(plan, some, tmp_path / "a", framework="torch", processes=2)
    for outcome in both:
        alone = run_experiment(
            outcome.experiment, some, tmp_path / "b", framework="torch", progress=False
        )
        assert outcome.trained is not None
        assert alone.trained is not None
        assert alone.trained.updates[0].loss == pytest.approx(
            outcome.trained.updates[0].loss, rel=1e-4
        )


def test_a_failure_beside_others_is_told(
    recipe: Recipe,
    traces: list[Trace],
    dev: Dataset,
    tmp_path: Path,
) -> None:
    plan = [Experiment(recipe, tuple(traces[:2])), Experiment(recipe, tuple(traces[2:4]))]
    with pytest.raises(TrainingError, match="fewer than a batch"):
        run_experiments(plan, dev, tmp_path, framework="torch", processes=2)

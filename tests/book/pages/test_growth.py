from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from distill_sql.book.pages import growth, scaling
from distill_sql.models.folders import parameters

from . import students

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> scaling.Ladder:
    return students.scaling_ladder(tmp_path_factory.mktemp("students"))


@pytest.mark.parametrize("over_databases", [True, False])
def test_accuracies_have_the_interval_that_is_asked_for(
    ladder: scaling.Ladder, over_databases: bool
) -> None:
    found = growth.accuracies(ladder.outcomes, over_databases=over_databases)
    for one, outcome in zip(
        [one for one in found if one["questions"] == "all"], ladder.outcomes, strict=True
    ):
        right, recipe = outcome.report.accuracy(), outcome.experiment.recipe
        interval = right.clustered_interval if over_databases else right.interval
        assert (one["low"], one["high"]) == pytest.approx(interval, nan_ok=True)
        assert one["parameters"] == parameters(recipe)
        assert one["seed"] == (recipe.seed if recipe.trained else None)
        assert one["traces"] == len(outcome.experiment.traces)


def test_means_are_sorted_by_size_and_kind(ladder: scaling.Ladder) -> None:
    rows = growth.sizes_table(ladder).rows
    assert [(row["size"], row["kind"]) for row in rows] == [
        ("pocket-s", "base"), ("pocket-s", "distilled"), ("pocket-m", "base"),
        ("pocket-m", "distilled"), ("pocket-teacher", "teacher"),
    ]  # fmt: skip
    assert (rows[1]["mean"], rows[1]["min"], rows[1]["max"]) == pytest.approx(
        (3.5 / 6, 3 / 6, 4 / 6)
    )


def test_what_the_next_size_adds(ladder: scaling.Ladder) -> None:
    table = growth.steps_table(ladder)
    assert table is not None
    [row] = table.rows
    assert row["step"] == "pocket-s to pocket-m"
    assert (row["distilled"], row["kinder"], row["base"]) == pytest.approx((100 / 6,) * 3)
    assert growth.steps_table(replace(ladder, sizes=("pocket-s",))) is None


def rows_of(figure: Callable[[scaling.Ladder], growth.Figure], ladder: scaling.Ladder) -> list[int]:
    [rows] = figure(ladder).chart.to_dict()["datasets"].values()
    return [row["traces"] for row in rows]


def test_charts_by_size_and_by_number_of_traces(ladder: scaling.Ladder) -> None:
    assert rows_of(growth.sizes_chart, ladder) == [0, 0, 0, 4, 4, 4, 4]
    assert rows_of(growth.traces_chart, ladder) == [0, 4, 4, 2]  # pocket-m's
    assert growth.traces_chart(ladder).alt == (
        "Accuracy by number of traces: 0 traces 33%; 2 traces 33%; 4 traces 75%"
    )

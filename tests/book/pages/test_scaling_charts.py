from __future__ import annotations

import pytest

from distill_sql.book.pages import scaling, scaling_charts
from distill_sql.scoring import LEVELS

from . import students

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> scaling.Ladder:
    return students.scaling_ladder(tmp_path_factory.mktemp("students"))


def test_conditions_are_points_of_every_model_and_group(ladder: scaling.Ladder) -> None:
    found = scaling.under_conditions(ladder, neighbours=1)
    figure = scaling_charts.conditions_chart(ladder, found)
    [rows] = figure.chart.to_dict()["datasets"].values()
    assert {row["group"] for row in rows} == set(ladder.setup.groups.values())
    for row in rows:
        assert row["accuracy"] == found.record(row["model"], row["group"])[row["way"]]
    assert "mean of 2 seeds" in figure.caption


def test_right_answers_and_forgiven_ones_are_stacked(ladder: scaling.Ladder) -> None:
    figure = scaling_charts.forms_chart(ladder)
    [rows] = figure.chart.to_dict()["datasets"].values()
    shares = {(row["student"], row["order"]): row["share"] for row in rows}
    assert shares["pocket-s distilled", 0] == 3 / 6  # the first seed
    assert shares["pocket-teacher", 0] == 1
    assert {share for (_, order), share in shares.items() if order} == {0}
    assert [row["parameters"] for row in rows] == sorted(row["parameters"] for row in rows)


def test_the_grid_has_the_mean_over_seeds_at_each_level(ladder: scaling.Ladder) -> None:
    figure = scaling_charts.hardness_chart(ladder)
    [rows] = figure.chart.to_dict()["datasets"].values()
    for row in rows:
        level = next(one for one in LEVELS if row["questions"].startswith(one))
        parts = [one.accuracy(level) for one in ladder.reports[row["student"]]]
        assert row["questions"] == f"{level} ({parts[0].n})"
        assert row["accuracy"] == pytest.approx(
            sum(p.correct for p in parts) / parts[0].n / len(parts)
        )

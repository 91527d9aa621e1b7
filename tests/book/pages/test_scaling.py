from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import growth, scaling, scaling_charts
from distill_sql.models.folders import parameters
from distill_sql.models.recipes import recipe_for
from distill_sql.scoring import LEVELS

from . import students

pytestmark = pytest.mark.filterwarnings("default")
SIZES, SEEDS = ("pocket-s", "pocket-m"), (1, 2)
#: The answers of each model on six questions, by recipe and seed.
LETTERS = {
    ("pocket-s-base", 42): "rwwwww", ("pocket-m-base", 42): "rrwwww",
    ("pocket-teacher", 42): "rrrrrr", ("pocket-s", 1): "rrrwww", ("pocket-s", 2): "rrrrww",
    ("pocket-m", 1): "rrrrww", ("pocket-m", 2): "rrrrrw",
}  # fmt: skip


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> scaling.Ladder:
    """Two sizes with two seeds each, the teacher, and a student of pocket-m on two traces."""
    folder = tmp_path_factory.mktemp("students")
    setup, given = students.setup(folder, count=1), students.material()
    planned = scaling.plan(setup, given, SIZES, SEEDS, amounts=[2], scaled="pocket-m")
    ladder, bare, fewer = (
        tuple(
            replace(
                students.outcome(
                    setup.dev, one.recipe, letters or LETTERS[one.recipe.name, one.recipe.seed],
                    folder=folder, run=students.trained([1.0]) if one.recipe.trained else None,
                ),
                experiment=one,
            )
            for one in part
        )
        for part, letters in ((planned.ladder, ""), (planned.bare, "rwwwww"),
                              (planned.fewer, "rrwwww"))
    )  # fmt: skip
    return scaling.Ladder(setup, given, SIZES, SEEDS, "pocket-m", ladder, bare, fewer)


def test_the_plan_has_a_base_for_every_size_and_a_student_for_every_seed(tmp_path: Path) -> None:
    given = students.material(learned=4, validation=2)
    found = scaling.plan(
        students.setup(tmp_path), given, SIZES, SEEDS, amounts=[2, 4], scaled="pocket-s"
    )
    assert [(one.recipe.name, one.recipe.seed, len(one.traces)) for one in found.ladder] == [
        ("pocket-s-base", 42, 0), ("pocket-m-base", 42, 0), ("pocket-teacher", 42, 0),
        ("pocket-s", 1, 4), ("pocket-s", 2, 4), ("pocket-m", 1, 4), ("pocket-m", 2, 4),
    ]  # fmt: skip
    assert [replace(one, synonyms=True) for one in found.bare] == list(found.ladder)
    assert not any(one.synonyms for one in found.bare)
    # Four traces are all there are, so only two make another student.
    [fewer] = found.fewer
    assert (fewer.recipe.seed, len(fewer.traces), fewer.validation) == (1, 2, ())
    other = replace(students.setup(tmp_path), dataset="spider")
    plain = scaling.plan(other, given, ["0.5b"], [1], scaled="0.5b")
    assert [one.recipe.name for one in plain.ladder] == ["0.5b-base", "0.5b"]
    assert (plain.bare, plain.fewer) == ((), ())


def test_without_traces_nothing_is_trained(tmp_path: Path) -> None:
    assert scaling.train(students.setup(tmp_path), SIZES, SEEDS) is None


def test_outcomes_return_to_their_parts(
    ladder: scaling.Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_experiment = [*ladder.outcomes, *ladder.bare, *ladder.fewer]
    monkeypatch.setattr(scaling.Setup, "material", lambda *_, **__: ladder.material)
    monkeypatch.setattr(
        scaling.Setup,
        "run",
        lambda _, plan: [
            next(one for one in by_experiment if one.experiment == wanted) for wanted in plan
        ],
    )
    assert scaling.train(ladder.setup, SIZES, SEEDS, amounts=[2]) == ladder


@pytest.mark.parametrize(
    ("recipe", "kind", "name"),
    [
        ("0.5b", "distilled", "Qwen2.5-0.5B-Instruct distilled"),
        ("0.5b-base", "base", "Qwen2.5-0.5B-Instruct base"),
        ("pocket-teacher", "teacher", "pocket-teacher"),
    ],
)
def test_models_are_named_after_their_base_and_kind(recipe: str, kind: str, name: str) -> None:
    assert scaling.kind_of(recipe_for(recipe)) == kind
    assert scaling.name_of(recipe_for(recipe)) == name


def test_gains_are_means_over_seeds(ladder: scaling.Ladder) -> None:
    small, medium = scaling.gains_table(ladder).rows
    assert (small["base"], small["distilled"]) == (1 / 6, pytest.approx(3.5 / 6))
    assert small["points"] == small["kinder"] == pytest.approx(250 / 6)
    assert medium["points"] == pytest.approx(100 * 2.5 / 6)
    assert "distilled (mean of 2 seeds)" in scaling.gains_table(ladder).caption
    words = scaling.gains_in_words(ladder)
    assert "pocket-s by +41.7 points, and by **+41.7 points**" in words
    groups = scaling.gains_by_group(ladder)
    assert groups.count("\n- pocket-") == 2
    assert "pretrained" in groups
    one = replace(ladder, seeds=(1,))
    assert one.seeds_in_words == "one seed"


def test_conditions_of_all_models(ladder: scaling.Ladder) -> None:
    found = scaling.under_conditions(ladder, neighbours=1)
    assert list(found.models) == [*ladder.runs, "nearest question"]
    assert set(scaling.conditions_table(ladder, found).formats) == set(found.names)
    words = scaling.gains_on_neighbours(ladder, found)
    assert "by: pocket-s **+41.7 points**" in words
    figure = scaling_charts.conditions_chart(ladder, found)
    [rows] = figure.chart.to_dict()["datasets"].values()
    assert {row["group"] for row in rows} == set(ladder.setup.groups.values())
    for row in rows:
        assert row["accuracy"] == found.record(row["model"], row["group"])[row["way"]]
    assert "mean of 2 seeds" in figure.caption


def test_both_sources_are_told_apart(ladder: scaling.Ladder) -> None:
    dev = ladder.setup.dev
    groups = {e.question_id: ("handwritten", "generated")[n % 2] for n, e in enumerate(dev)}
    assert scaling.has_both_sources(groups)
    assert not scaling.has_both_sources(dict.fromkeys(groups, "generated"))
    found = scaling.under_conditions(ladder, neighbours=1)
    words = scaling.sources_in_words(ladder, replace(found, groups=groups))
    # pocket-m answers questions 1 to 4, and 1 to 5: of the odd ones 2 and 3, of the even ones 2.
    assert "answers **83.3%** of the 3 handwritten questions and **66.7%** of the 3" in words


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

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import scaling
from distill_sql.models.recipes import recipe_for

from . import students

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> scaling.Ladder:
    return students.scaling_ladder(tmp_path_factory.mktemp("students"))


def test_the_plan_has_a_base_for_every_size_and_a_student_for_every_seed(tmp_path: Path) -> None:
    given = students.material(learned=4, validation=2)
    found = scaling.plan(
        students.setup(tmp_path),
        given,
        students.SIZES,
        students.SEEDS,
        amounts=[2, 4],
        scaled="pocket-s",
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
    assert scaling.train(students.setup(tmp_path), students.SIZES, students.SEEDS) is None


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
    assert scaling.train(ladder.setup, students.SIZES, students.SEEDS, amounts=[2]) == ladder


@pytest.mark.parametrize(
    ("recipe", "kind", "name"),
    [
        ("0.5b", "distilled", "Qwen2.5-0.5B-Instruct distilled"),
        ("0.5b-base", "base", "Qwen2.5-0.5B-Instruct base"),
        ("coder-0.5b", "distilled", "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M) distilled"),
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
    gains = "execution accuracy +41.7 points, with further columns forgiven **+41.7 points**"
    assert f": pocket-s: {gains}" in words
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
    assert "forgiven: pocket-s **+41.7 points**" in words


def test_both_sources_are_told_apart(ladder: scaling.Ladder) -> None:
    dev = ladder.setup.dev
    groups = {e.question_id: ("handwritten", "generated")[n % 2] for n, e in enumerate(dev)}
    assert scaling.has_both_sources(groups)
    assert not scaling.has_both_sources(dict.fromkeys(groups, "generated"))
    found = scaling.under_conditions(ladder, neighbours=1)
    words = scaling.sources_in_words(ladder, replace(found, groups=groups))
    # pocket-m answers questions 1 to 4, and 1 to 5: of the odd ones 2 and 3, of the even ones 2.
    assert "answers **83.3%** of the 3 handwritten questions and **66.7%** of the 3" in words

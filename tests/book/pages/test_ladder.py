from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.book.pages import ladder
from distill_sql.book.pages.ladder import ASKED, BARE, NEAREST
from distill_sql.data.datasets import load_dataset
from distill_sql.models.recipes import recipe_for
from distill_sql.scoring import score
from distill_sql.scoring.baseline import NearestQuestion
from distill_sql.training.splits import training_set

from . import students

pytestmark = pytest.mark.filterwarnings("default")


def test_recipes_follow_the_traces_and_the_parameters(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    given = [asdict(one) | {"schema_tokens": 90} for one in students.traces(2)]
    file.write_text("".join(json.dumps(one) + "\n" for one in given))
    setup = ladder.set_up("pocket", traces=str(file), micro_batch=2, precision=None, length=300)
    recipe = setup.recipe("0.5b", seed=7)
    assert (recipe.style, recipe.schema_tokens, recipe.length, recipe.seed) == (
        "compact", 90, 300, 7,
    )  # fmt: skip
    assert recipe.precision == recipe_for("0.5b").precision
    assert (setup.micro_batch, setup.traces_used, len(setup.traces)) == (2, "some.jsonl", 2)


def test_without_traces_recipes_are_as_they_stand(toy_dataset: Path, tmp_path: Path) -> None:
    setup = ladder.set_up(str(toy_dataset), students=str(tmp_path), seed=0)
    assert setup.recipe("0.5b") == recipe_for("0.5b", seed=0)
    assert (setup.traces_used, setup.micro_batch, setup.folder) == (0, None, tmp_path)
    assert setup.train is None
    assert setup.train_or_dev == setup.whole == load_dataset(toy_dataset)
    assert set(setup.groups.values()) <= {"easy", "medium", "hard", "extra"}
    assert setup.left_out == ""


def test_dev_questions_and_their_databases_are_counted(tmp_path: Path) -> None:
    setup = students.setup(tmp_path, count=2)
    assert len(setup.dev) == students.QUESTIONS
    databases = len({example.db_id for example in setup.dev})
    assert setup.questions_in_words == (
        f"6 dev questions of pocket about {databases} databases (none has traces)"
    )
    assert setup.train_or_dev.split == "train"
    assert set(setup.groups.values()) <= {"handwritten", "generated"}


def test_material_is_prepared_for_the_recipe(tmp_path: Path) -> None:
    setup = students.setup(tmp_path, count=40)
    recipe = setup.recipe("pocket-s")
    found = setup.material(recipe, amount=3)
    assert found.prepared == training_set(setup.traces, found.tokenizer, max_tokens=recipe.length)
    assert len(found.learned) == 3
    assert all(trace in found.prepared.train for trace in found.learned)
    assert found.databases == len({trace.db_id for trace in setup.traces})


def test_experiments_share_validation_and_nest_samples() -> None:
    found = students.material(learned=4, validation=2)
    recipe = recipe_for("pocket-s")
    whole, some = found.experiment(recipe), found.experiment(recipe, count=2, validate=False)
    assert (whole.traces, whole.validation) == (found.learned, found.prepared.validation)
    assert whole.left_out == {"near_duplicates": 1, "too_long": 3}
    assert (len(some.traces), some.validation) == (2, ())
    more = found.experiment(recipe, count=3)
    assert some.traces == more.traces[:2]
    assert found.held_out == len({trace.db_id for trace in found.prepared.validation})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ladder.Conditions:
    folder = tmp_path_factory.mktemp("students")
    setup = students.setup(folder)
    base, student = setup.recipe("pocket-s-base"), setup.recipe("pocket-s")
    runs = {
        "base": [students.outcome(setup.dev, base, "rwwwww", folder=folder)],
        "distilled": [
            students.outcome(setup.dev, student, letters, folder=folder)
            for letters in ("rrrrrr", "rrrrww")
        ],
    }
    bare = {"base": [students.outcome(setup.dev, base, "wwwwww", synonyms=False)]}
    return ladder.conditions(setup, runs, bare, neighbours=1, train=setup.train)


def test_models_are_scored_under_all_conditions(found: ladder.Conditions) -> None:
    beside = "also on 1 neighbours"
    assert found.names == [ASKED, BARE, beside]
    base, distilled = found.record("base"), found.record("distilled")
    # Gold queries are right on neighbours, and the other answers are wrong on the database.
    assert [base[name] for name in found.names] == [1 / 6, 0, 1 / 6]
    assert distilled[BARE] is None
    assert distilled[ASKED] == distilled[beside] == pytest.approx(5 / 6)
    gain = found.gain("base", "distilled")
    assert gain.strict.difference == pytest.approx(4 / 6)
    assert gain.kinder.difference == pytest.approx(4 / 6)
    written = found.record("distilled", "handwritten")
    assert written["questions"] == list(found.groups.values()).count("handwritten")


def test_the_nearest_question_is_scored_as_a_model(found: ladder.Conditions) -> None:
    train = load_dataset("pocket", split="train")
    asked = score(NearestQuestion(train).predict(found.dev), found.dev)
    bare = score(
        NearestQuestion(train.without_synonyms()).predict(found.dev.without_synonyms()), found.dev
    )
    assert found.record(NEAREST)[ASKED] == asked.accuracy().share
    assert found.record(NEAREST)[BARE] == bare.accuracy().share
    assert found.record(NEAREST)[found.beside] <= asked.accuracy().share


def test_without_training_questions_no_question_is_the_nearest(tmp_path: Path) -> None:
    setup = students.setup(tmp_path)
    one = students.outcome(setup.dev, setup.recipe("pocket-s"), "rrrrrr", folder=tmp_path)
    assert list(ladder.conditions(setup, {"m": [one]}, {}, neighbours=1, train=None).models) == [
        "m"
    ]

"""Recipes: shared hyperparameters, intended differences, validation of values."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from distill_sql.errors import ParameterError
from distill_sql.models import recipes
from distill_sql.models.gguf_file import SHA256
from distill_sql.models.recipes import (
    CODER_SIZES,
    LINEARS,
    POCKET_SIZES,
    RECIPES,
    Recipe,
    overridden,
    recipe_for,
    size_for,
    sizes_for,
)

#: What may differ between the Qwen2.5 recipes: which model, how it is held, what an ablation drops.
MAY_DIFFER = {"name", "base", "trained", "modes", "precision", "checkpointing"}


def test_every_row_of_the_headline_table_is_there() -> None:
    for size in ("0.5b", "1.5b", "3b", "7b", "14b"):
        assert RECIPES[size].base == f"Qwen/Qwen2.5-{size.upper()}-Instruct"
        assert not RECIPES[f"{size}-base"].trained
        coder = RECIPES[f"coder-{size}-base"].base
        assert coder.startswith(f"Qwen/Qwen2.5-Coder-{size.upper()}-Instruct")
        assert coder.endswith(".gguf") == (size in CODER_SIZES)
    for size in CODER_SIZES:
        assert RECIPES[f"coder-{size}"].base == RECIPES[f"coder-{size}-base"].base
        assert RECIPES[f"coder-{size}"].base.rpartition("/")[2] in SHA256
    assert RECIPES["coder-0.5b-direct"].modes == "direct"
    assert RECIPES["0.5b-direct"].modes == "direct"
    assert (RECIPES["3b"].precision, RECIPES["3b"].checkpointing) == ("nf4", True)
    assert (RECIPES["7b"].precision, RECIPES["14b"].precision) == ("auto", "nf4")


def test_a_base_has_its_usual_name() -> None:
    for recipe, name in {
        "7b": "Qwen2.5-7B-Instruct",
        "coder-0.5b": "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
        "coder-1.5b-base": "Qwen2.5-Coder-1.5B-Instruct (Q4_K_M)",
        "pocket-s": "pocket-s",
    }.items():
        assert RECIPES[recipe].model == name
    assert recipe_for("coder-0.5b", base="folder/own-q8_0.gguf").model == "own-q8_0.gguf"


def test_the_recipes_of_a_family_are_one_recipe() -> None:
    shared = [field.name for field in fields(Recipe) if field.name not in MAY_DIFFER]
    of_family: dict[str, set[tuple[object, ...]]] = {}
    for recipe in RECIPES.values():
        values = of_family.setdefault(recipe.family, set())
        values.add(tuple(getattr(recipe, name) for name in shared))
    assert of_family.keys() == {"pocket", "Qwen2.5", "Qwen2.5-Coder"}
    assert all(len(values) == 1 for values in of_family.values())


def test_both_qwen_families_differ_in_how_updates_are_composed_only() -> None:
    qwen, coder = RECIPES["1.5b"], RECIPES["coder-1.5b"]
    differing = [f.name for f in fields(Recipe) if getattr(qwen, f.name) != getattr(coder, f.name)]
    assert differing == ["name", "base", "grouping"]
    assert coder.grouping == "database"


def test_the_shared_values_are_the_published_intent() -> None:
    recipe = RECIPES["1.5b"]
    assert (recipe.rank, recipe.alpha, recipe.dropout) == (16, 32, 0.05)
    assert (recipe.learning_rate, recipe.warm_up, recipe.batch, recipe.epochs) == (5e-5, 50, 8, 1)
    assert recipe.targets == LINEARS
    assert len(LINEARS) == 7
    assert (recipe.seed, recipe.length) == (42, 1024)
    assert (recipe.beta1, recipe.beta2, recipe.epsilon) == (0.9, 0.999, 1e-8)
    assert (recipe.weight_decay, recipe.max_norm) == (0, 1)
    assert {other.schema_tokens for other in RECIPES.values()} == {0}


def test_no_recipe_claims_what_nothing_does() -> None:
    """Every field of a recipe is used outside its module, and no name claims a bit width."""
    package = Path(recipes.__file__).parents[1]
    code = "".join(path.read_text() for path in package.rglob("*.py") if path.stem != "recipes")
    for field in fields(Recipe):
        assert f"recipe.{field.name}" in code or field.name == "name", field.name
    assert not [name for name in RECIPES if "bit" in name]


def test_what_the_text_cites_is_there() -> None:
    text = str(recipes.__doc__) + str(Recipe.__doc__)
    for name in re.findall(r":\w+:`~?([\w.]+)`", text):
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(module) if module else recipes, last), name


def test_a_base_row_for_every_trained_size() -> None:
    for recipe in RECIPES.values():
        if recipe.trained:
            assert any(r.base == recipe.base and not r.trained for r in RECIPES.values())
    assert {RECIPES[size].style for size in POCKET_SIZES} == {"compact"}


@pytest.mark.parametrize("dataset", ["pocket", "spider", "/a/folder"])
def test_every_dataset_has_a_ladder_and_a_student(dataset: str) -> None:
    assert set(sizes_for(dataset)) <= RECIPES.keys()
    assert size_for(dataset) in sizes_for(dataset)
    assert RECIPES[size_for(dataset)].pocket == (dataset == "pocket")


def test_what_is_overridden_is_known() -> None:
    recipe = recipe_for("pocket-s", seed=7, rank=None)
    assert overridden(recipe) == {"seed": 7}
    assert overridden(recipe_for("7b")) == {}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("0.5", {}, r"Unknown recipe '0.5'. Did you mean '0.5b'\?"),
        ("7b", {"lr": 1}, "has no lr; its values are alpha, base, batch"),
        ("7b", {"rank": 0}, "rank is 0; expected 1 or more"),
        ("7b", {"dropout": 1.0}, "dropout is 1.0; expected less than 1"),
        ("7b", {"beta2": 1}, "beta2 is 1; expected less than 1"),
        ("7b", {"beta1": -0.1}, "beta1 is -0.1; expected 0 or more"),
        ("7b", {"epsilon": 0}, "epsilon is 0; expected more than 0"),
        ("7b", {"max_norm": 0}, "max_norm is 0; expected more than 0"),
        ("7b", {"weight_decay": -1}, "weight_decay is -1; expected 0 or more"),
        ("7b", {"seed": -1}, "seed is -1; expected 0 or more"),
        ("7b", {"schema_tokens": -1}, "schema_tokens is -1; expected 0 or more"),
    ],
)
def test_mistakes_are_named(name: str, changes: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        recipe_for(name, **changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", "abc"), ("rank", [1]), ("rank", True), ("rank", 1.5), ("epochs", 10**30),
        ("seed", float("inf")), ("learning_rate", float("nan")), ("dropout", "0"), ("targets", 5),
        ("targets", ()), ("targets", ("x",)), ("targets", ([],)), ("targets", ("q_proj", "q_proj")),
        ("precision", "fp4"), ("precision", []), ("base", 5), ("base", " "),
        ("schema_tokens", 1.5), ("checkpointing", 1), ("style", {}), ("modes", "none"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"Recipe 0.5b: {name} is .*; expected "):
        recipe_for("0.5b", **{name: value})


def test_a_recipe_keeps_its_name() -> None:
    with pytest.raises(ParameterError, match="A recipe has no name"):
        recipe_for("0.5b", **{"name": "other"})


def test_targets_of_a_list_are_those_of_a_tuple() -> None:
    """Targets given as a list, as JSON has them."""
    assert recipe_for("0.5b", targets=list(LINEARS)) == RECIPES["0.5b"]

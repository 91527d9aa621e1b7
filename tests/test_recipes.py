"""Recipes: one set of hyperparameters, and nothing that differs by accident."""

from __future__ import annotations

from dataclasses import fields

import pytest

from distill_sql.errors import ParameterError
from distill_sql.recipes import (
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
MAY_DIFFER = {"name", "base", "trained", "modes", "precision", "checkpointing", "bits"}


def test_every_row_of_the_headline_table_is_there() -> None:
    for size in ("0.5b", "1.5b", "3b", "7b", "14b"):
        assert RECIPES[size].base == f"Qwen/Qwen2.5-{size.upper()}-Instruct"
        assert not RECIPES[f"{size}-base"].trained
        assert RECIPES[f"coder-{size}-base"].base == f"Qwen/Qwen2.5-Coder-{size.upper()}-Instruct"
    assert RECIPES["0.5b-direct"].modes == "direct"
    assert RECIPES["1.5b-4bit"].bits == 4
    assert (RECIPES["3b"].precision, RECIPES["3b"].checkpointing) == ("nf4", True)
    assert (RECIPES["7b"].precision, RECIPES["14b"].precision) == ("bfloat16", "nf4")


def test_the_recipes_of_a_family_are_one_recipe() -> None:
    shared = [field.name for field in fields(Recipe) if field.name not in MAY_DIFFER]
    for family in (True, False):
        members = [recipe for recipe in RECIPES.values() if recipe.pocket is family]
        assert len({tuple(getattr(r, name) for name in shared) for r in members}) == 1


def test_the_shared_values_are_the_published_intent() -> None:
    recipe = RECIPES["1.5b"]
    assert (recipe.rank, recipe.alpha, recipe.dropout) == (16, 32, 0.05)
    assert (recipe.learning_rate, recipe.warm_up, recipe.batch, recipe.epochs) == (5e-5, 50, 8, 1)
    assert recipe.targets == LINEARS
    assert len(LINEARS) == 7
    assert (recipe.seed, recipe.length) == (42, 1024)


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
        ("targets", ()), ("targets", ("x",)), ("targets", ([],)), ("precision", "fp4"),
        ("precision", []), ("base", 5), ("checkpointing", 1), ("style", {}), ("modes", "none"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"Recipe 0.5b: {name} is .*; expected "):
        recipe_for("0.5b", **{name: value})


def test_a_recipe_keeps_its_name() -> None:
    with pytest.raises(ParameterError, match="A recipe has no name"):
        recipe_for("0.5b", **{"name": "other"})

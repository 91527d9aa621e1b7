"""The recipe of a command line: its options, and the recipe that they choose."""

from __future__ import annotations

import argparse
import ast
import sys
from typing import Any, Literal

from distill_sql.errors import ParameterError
from distill_sql.models.recipes import RECIPES, Recipe, overridden, recipe_for


def add_recipe(parser: argparse.ArgumentParser, *, nargs: Literal["?"] | None = None) -> None:
    """Add the argument RECIPE and the options ``--framework`` and ``--set``."""
    parser.add_argument(
        "recipe", nargs=nargs, metavar="RECIPE", help=f"one of {', '.join(RECIPES)}"
    )
    parser.add_argument(
        "--framework",
        choices=("torch", "mlx"),
        help="default: mlx on a Mac that has it, else torch",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a value of the recipe, such as --set seed=7 (may be repeated)",
    )


def chosen_recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe with the values of ``--set`` and ``--schema-tokens``; prints what it overrides."""
    changes: dict[str, Any] = {}
    for assignment in arguments.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ParameterError(f"--set {assignment}: expected NAME=VALUE, such as seed=7.")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            changes[name] = value
    if arguments.schema_tokens is not None:
        changes["schema_tokens"] = arguments.schema_tokens
    recipe = recipe_for(arguments.recipe, **changes)
    if other := overridden(recipe):
        told = ", ".join(f"{name} = {value!r}" for name, value in other.items())
        print(f"recipe {recipe.name} with {told}", file=sys.stderr)
    return recipe

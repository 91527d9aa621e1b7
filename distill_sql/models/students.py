"""Loading a student: the recipe's base model and its adapter, on either back end."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from distill_sql.errors import MissingDependencyError
from distill_sql.models.folders import base_folder, check_adapter
from distill_sql.models.protocol import Framework, Student
from distill_sql.models.recipes import Recipe

#: The version of the code that generates answers. It is incremented when the same prompts get other
#: answers: by decoding, by the end of an answer, by the grammar. A test pins a student's answers.
ANSWERING_CODE = 2


class Backend(Protocol):
    """The interface of a back end's module."""

    def resolve(self, recipe: Recipe) -> Recipe:
        """The recipe with precision ``auto`` replaced by the one for this machine."""
        ...

    def load(self, folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> Student:
        """The model in a folder at the recipe's precision, with an adapter if one is given."""
        ...


def default_framework() -> Framework:
    """``mlx`` on a Mac with Apple silicon and mlx-lm, ``torch`` otherwise."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return "mlx" if apple and find_spec("mlx_lm") else "torch"


def check_installed(framework: Framework) -> None:
    """Raise :class:`MissingDependencyError` unless a back end's packages are installed."""
    needs = {"torch": ("torch", "transformers", "peft", "trl"), "mlx": ("mlx", "mlx_lm")}
    if missing := [name for name in needs[framework] if find_spec(name) is None]:
        extra = "mlx" if framework == "mlx" else "train"
        raise MissingDependencyError(
            f"The {framework} back end needs {', '.join(missing)}: "
            f"pip install 'distill-sql[{extra}]'."
        )


def backend(framework: Framework | None = None) -> Backend:
    """The back end of a framework (default: :func:`default_framework`)."""
    framework = framework or default_framework()
    check_installed(framework)
    from distill_sql.models import mlx_backend, torch_backend

    return mlx_backend if framework == "mlx" else torch_backend


def open_student(
    recipe: Recipe, *, adapter: Path | None = None, framework: Framework | None = None
) -> Student:
    """The recipe's base model, with a trained adapter if one is given.

    Raises :class:`TrainingError` if the base cannot be found, the adapter has another base, or the
    weights exceed the available memory.
    """
    chosen = backend(framework)
    folder = base_folder(recipe)
    if adapter is not None:
        check_adapter(adapter, recipe, folder)
    return chosen.load(folder, recipe, adapter=adapter)

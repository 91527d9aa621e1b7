"""Base models on this machine: which are here, how much space they take, which can be removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill_sql.errors import ParameterError
from distill_sql.models.gguf_file import conversions
from distill_sql.models.recipes import RECIPES

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo


@dataclass(frozen=True)
class Copy:
    """A base model, or what was made from it, on this machine.

    ``kind`` is ``yours`` (in ``MODELS_DIR``), ``hub`` (the hub's cache) or ``converted`` (float32
    weights of a GGUF file). ``size`` is in bytes. Only the last two can be removed and made again.
    """

    kind: str
    path: Path
    size: int


@dataclass(frozen=True)
class Base:
    """A base model with the recipes that use it and its copies on this machine."""

    base: str
    recipes: tuple[str, ...]
    copies: tuple[Copy, ...]


def bases() -> list[Base]:
    """The base models of all recipes but pocket's, in the recipes' order."""
    users: dict[str, list[str]] = {}
    for recipe in RECIPES.values():
        if not recipe.pocket:
            users.setdefault(recipe.base, []).append(recipe.name)
    cached = _cached()
    return [Base(base, tuple(names), tuple(_copies(base, cached))) for base, names in users.items()]


def base_of(recipe: str) -> Base:
    """The base model of a recipe; :class:`ParameterError` if there is none to fetch."""
    found = next((base for base in bases() if recipe in base.recipes), None)
    if found is None:
        known = ", ".join(name for base in bases() for name in base.recipes)
        raise ParameterError(
            f"No base model to fetch for {recipe!r}; expected a recipe, one of {known}. Pocket's "
            "models are in the package."
        )
    return found


def remove(base: Base) -> int:
    """Remove a base's removable copies and return the freed bytes."""
    freed = 0
    for copy in base.copies:
        if copy.kind != "yours":
            shutil.rmtree(copy.path)
            freed += copy.size
    return freed


def _copies(base: str, cached: dict[str, CachedRepoInfo]) -> Iterator[Copy]:
    repository, _, name = base.rpartition("/")
    given = os.environ.get("MODELS_DIR")
    if given and (own := Path(given) / name).exists():
        yield Copy("yours", own, _size(own))
    is_file = base.endswith(".gguf")
    if found := cached.get(repository if is_file else base):
        yield Copy("hub", Path(found.repo_path), int(found.size_on_disk))
    if is_file:
        for folder in conversions(name):
            yield Copy("converted", folder, _size(folder))


def _cached() -> dict[str, CachedRepoInfo]:
    """The models in the hub's cache by their id."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return {}
    return {one.repo_id: one for one in found.repos if one.repo_type == "model"}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())

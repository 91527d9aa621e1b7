"""Which systems have left answers on disk, what to call them, and which to show.

Every prediction file of :mod:`distill_sql.training.experiments` has a manifest beside it, which
says what was asked and of whom. A file counts for a dataset if its manifest names that dataset's
fingerprint: the same questions, schemas and databases. Files without a manifest, or whose manifest
does not say recipe, seed and number of traces, are left alone. Predictions of other origin are
found by :func:`~distill_sql.scoring.predictions.prediction_files`; :func:`of_dataset` tells which
of them answer a dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.errors import PredictionError
from distill_sql.files import read_json
from distill_sql.models.recipes import RECIPES
from distill_sql.scoring.predictions import read_predictions

#: What a manifest must have to say whose answers a file holds.
_NEEDED = ("recipe", "seed", "traces", "dataset")
#: The words of a manifest's ``way``, as they are called.
_WAYS = {"grammar": "by the grammar", "no-synonyms": "without synonyms"}


@dataclass(frozen=True)
class System:
    """A student, a base or pocket's teacher that answered all questions of a dataset.

    ``traces`` is how many it learned from, 0 for a base or a teacher. ``way`` says how it was
    asked, empty for the usual way, and ``changed`` what of its recipe was not as usual, the seed
    aside. ``date`` is ISO text.
    """

    recipe: str
    seed: int
    traces: int
    way: str
    changed: tuple[tuple[str, Any], ...]
    date: str
    predictions: Path


def systems(dataset: Dataset, folder: Path) -> list[System]:
    """The systems below ``folder`` that answered ``dataset``, in the order of the recipes.

    Of a recipe the usual comes first: as it stands, asked the usual way, by the lowest seed, after
    most traces; the newest where all that is alike. Accuracy plays no part.
    """
    found = []
    for record in sorted(folder.glob("*/predictions*.manifest.json")):
        predictions = record.with_name(record.name.replace(".manifest.json", ".jsonl"))
        about = read_json(record)
        if not isinstance(about, Mapping) or any(about.get(name) is None for name in _NEEDED):
            continue
        if predictions.exists() and _is_of(about["dataset"], dataset):
            changed = {k: v for k, v in (about.get("overridden") or {}).items() if k != "seed"}
            found.append(
                System(
                    recipe=str(about["recipe"]),
                    seed=int(about["seed"]),
                    traces=int(about["traces"]),
                    way=str(about.get("way") or ""),
                    changed=tuple(sorted(changed.items())),
                    date=str(about.get("date") or ""),
                    predictions=predictions,
                )
            )
    found.sort(key=lambda one: one.date, reverse=True)
    return sorted(found, key=_place)


def main(found: Iterable[System]) -> list[System]:
    """The first of each recipe that learns from all kinds of traces: bases, students, teacher.

    ``found`` is in the order of :func:`systems`.
    """
    first: dict[str, System] = {}
    for one in found:
        recipe = RECIPES.get(one.recipe)
        if not one.way and (recipe is None or recipe.modes == "both"):
            first.setdefault(one.recipe, one)
    return list(first.values())


def named(found: Sequence[System]) -> dict[str, System]:
    """The systems by a name for readers, in their order.

    A name says the recipe; the seed of one that was trained; how many traces it learned from, if
    another of its recipe learned from more; and what was not as usual. Those that are alike in all
    this are told apart by their folder.
    """
    most = {one.recipe: one.traces for one in sorted(found, key=lambda one: one.traces)}
    names = [_name(one, most[one.recipe]) for one in found]
    times = Counter(names)
    return {
        name if times[name] == 1 else f"{name} ({one.predictions.parent.name[-6:]})": one
        for name, one in zip(names, found, strict=True)
    }


def of_dataset(files: Iterable[Path], dataset: Dataset) -> list[Path]:
    """Those prediction files that have an answer to each question of ``dataset``, in its order.

    Files that merely lie beside a dataset may be another's: Spider's beside BIRD.
    """
    found = []
    for path in files:
        try:
            read_predictions(path, dataset)
        except PredictionError:
            continue
        found.append(path)
    return found


def _is_of(described: object, dataset: Dataset) -> bool:
    """Whether a manifest describes this dataset; the fingerprint, which takes a while, is last."""
    return (
        isinstance(described, Mapping)
        and described.get("name") == dataset.name
        and described.get("examples") == len(dataset)
        and described.get("fingerprint") == dataset.fingerprint
    )


def _place(one: System) -> tuple[int, str, int, bool, int, int]:
    order = list(RECIPES)
    place = order.index(one.recipe) if one.recipe in RECIPES else len(order)
    return place, one.recipe, len(one.changed), bool(one.way), one.seed, -one.traces


def _name(one: System, most: int) -> str:
    parts = [one.recipe]
    if one.traces:
        parts.append(f"seed {one.seed}")
    if one.traces < most:
        parts.append(f"{one.traces:,} traces")
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in one.changed]
    for word in filter(None, one.way.split(".")):
        budget = word.removeprefix("schema-")
        parts.append(_WAYS.get(word) or (f"schema of {budget} tokens" if budget != word else word))
    return ", ".join(parts)

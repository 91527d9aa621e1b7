"""Systems whose predictions are on disk: finding them, naming them, choosing which to show.

Every prediction file of :mod:`distill_sql.training.experiments` has a manifest with the model and
the dataset. A file belongs to a dataset if its manifest has the dataset's fingerprint, so the
questions, schemas and databases are the same. A file is ignored if it has no manifest, or if its
manifest lacks the recipe, the seed or the number of traces. Other predictions are found by
:func:`~distill_sql.scoring.predictions.prediction_files`; :func:`of_dataset` keeps those that
answer a dataset.
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

#: Fields that a manifest must have.
_NEEDED = ("recipe", "seed", "traces", "dataset")
#: Names for readers of the parts of a manifest's ``way``.
_WAYS = {"grammar": "with the grammar", "no-synonyms": "without synonyms"}


@dataclass(frozen=True)
class System:
    """A student, a base or pocket's teacher with predictions for all questions of a dataset.

    ``traces`` is the number of traces it was trained on, 0 for a base or a teacher. ``way`` has the
    options of generation, empty for the defaults. ``changed`` has the recipe's values that differ
    from the defaults, without the seed. ``date`` is in ISO format.
    """

    recipe: str
    seed: int
    traces: int
    way: str
    changed: tuple[tuple[str, Any], ...]
    date: str
    predictions: Path


def systems(dataset: Dataset, folder: Path) -> list[System]:
    """The systems below ``folder`` with predictions for ``dataset``, in the order of the recipes.

    Within a recipe, the default comes first: the fewest changed values, default generation, the
    lowest seed, the most traces, and of equal ones the newest. Accuracy has no influence.
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
    """The first system of each recipe that uses both modes of traces, with default generation.

    ``found`` is in the order of :func:`systems`.
    """
    first: dict[str, System] = {}
    for one in found:
        recipe = RECIPES.get(one.recipe)
        if not one.way and (recipe is None or recipe.modes == "both"):
            first.setdefault(one.recipe, one)
    return list(first.values())


def named(found: Sequence[System]) -> dict[str, System]:
    """The systems by a name for readers, in the same order.

    A name has the recipe; the seed, if the system was trained; the number of traces, if another
    system of the recipe was trained on more; and all options that differ from the defaults. If two
    names are equal, the end of the folder's name is added.
    """
    most = {one.recipe: one.traces for one in sorted(found, key=lambda one: one.traces)}
    names = [_name(one, most[one.recipe]) for one in found]
    times = Counter(names)
    return {
        name if times[name] == 1 else f"{name} ({one.predictions.parent.name[-6:]})": one
        for name, one in zip(names, found, strict=True)
    }


def of_dataset(files: Iterable[Path], dataset: Dataset) -> list[Path]:
    """The prediction files that answer every question of ``dataset``, in its order.

    Files in the folder beside a dataset may answer another one: Spider's beside BIRD.
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
    """Whether a manifest describes this dataset; the slow comparison of fingerprints is last."""
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

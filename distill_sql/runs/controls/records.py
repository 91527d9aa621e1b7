"""The results of the controls: one folder per student, with predictions, losses and a manifest.

Predictions are those of :mod:`distill_sql.runs.records`. ``losses.json`` is that of the training
run. ``manifest.json`` is that of the training run, with the control, the number of traces and the
accuracy.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_sql.data.datasets import Dataset
from distill_sql.files import read_json
from distill_sql.runs.controls.sets import AGAINST, CONTROLS
from distill_sql.runs.records import (
    MANIFEST,
    Record,
    generation_manifest,
    read_records,
    write_manifest,
    write_predictions,
)
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.gains import Gain, gain
from distill_sql.training.experiments import Outcome

#: The losses of the training run.
LOSSES = "losses.json"


@dataclass(frozen=True)
class Recorded(Record):
    """A recorded student of a control."""

    @property
    def control(self) -> str:
        """The control, one of :data:`~distill_sql.runs.controls.sets.CONTROLS`."""
        return str(self.manifest["control"])

    @property
    def recipe(self) -> str:
        """The recipe that trained it."""
        return str(self.manifest["recipe"])

    @property
    def seed(self) -> int:
        """The seed of its training run."""
        return int(self.manifest["seed"])


def write_record(outcome: Outcome, control: str, out: Path) -> Path:
    """Write, or overwrite, the folder of a control's student below ``out``, and return it."""
    if outcome.trained is None:
        raise ValueError("expected a control's student that was trained, found one that was not")
    recipe = outcome.experiment.recipe
    folder = out / f"{recipe.name}-{control}-seed{recipe.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    student = outcome.trained.adapter.parent
    write_predictions(folder, outcome)
    shutil.copyfile(student / LOSSES, folder / LOSSES)
    generated = generation_manifest(outcome)
    about = read_json(student / MANIFEST) | {
        "control": control,
        "learned_from": CONTROLS[control],
        "traces": len(outcome.experiment.traces),
        "dataset": generated["dataset"],
        "asked": {name: generated[name] for name in ("max_tokens", "schema_tokens", "way")},
    }
    write_manifest(folder, outcome, about)
    return folder


def recorded(folder: Path, dev: Dataset) -> list[Recorded]:
    """Read the students recorded below ``folder`` on ``dev``, and score their predictions again.

    They are sorted by recipe, then in the order of
    :data:`~distill_sql.runs.controls.sets.CONTROLS`, then by seed. The list is empty if there is no
    such folder. Raises :class:`~distill_sql.errors.DatasetError` for a record on other questions.
    """
    found = read_records(
        Recorded, folder, f"*/{MANIFEST}", dev, command="python -m distill_sql.runs.controls"
    )
    order = list(CONTROLS)
    return sorted(found, key=lambda one: (one.recipe, order.index(one.control), one.seed))


def comparisons(found: Sequence[Recorded], dev: Dataset) -> list[tuple[str, str, Gain]]:
    """Each recipe and control, with its gain over what it is compared with; means over seeds."""
    runs: dict[tuple[str, str], list[ScoreReport]] = {}
    for one in found:
        runs.setdefault((one.recipe, one.control), []).append(one.report)
    return [
        (recipe, control, gain(runs[recipe, AGAINST[control]], reports, dev))
        for (recipe, control), reports in runs.items()
        if (recipe, AGAINST.get(control, "")) in runs
    ]

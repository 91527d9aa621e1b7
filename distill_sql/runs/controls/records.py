"""What became of a control's student: a folder with predictions, losses and a manifest.

``predictions.jsonl`` has a line a question: what was asked and answered, and what execution said of
it. ``losses.json`` is the training run's own. ``manifest.json`` is that of the training run, with
the control, the number of traces and the accuracy, so that a rescoring can be compared with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.errors import DatasetError
from distill_sql.files import read_json, read_json_lines, write_json, write_json_lines
from distill_sql.runs.controls.sets import AGAINST, CONTROLS
from distill_sql.scoring import ScoreReport, read_predictions, score
from distill_sql.scoring.gains import Gain, gain
from distill_sql.training.experiments import Outcome

#: The files of a student's folder.
PREDICTIONS, LOSSES, MANIFEST = "predictions.jsonl", "losses.json", "manifest.json"


@dataclass(frozen=True)
class Recorded:
    """A student as its folder has it; ``report`` is scored anew from its predictions."""

    control: str
    recipe: str
    seed: int
    folder: Path
    manifest: Mapping[str, Any]
    report: ScoreReport


def write_record(outcome: Outcome, control: str, out: Path, dev: Dataset) -> Path:
    """Write the folder of a control's student below ``out``, or write it again, and return it."""
    if outcome.trained is None:
        raise ValueError("a control is a student that was trained")
    recipe = outcome.experiment.recipe
    place = out / f"{recipe.name}-{control}-seed{recipe.seed}"
    place.mkdir(parents=True, exist_ok=True)
    student = outcome.trained.adapter.parent
    verdicts = {verdict.question_id: verdict for verdict in outcome.report.verdicts}
    write_json_lines(
        place / PREDICTIONS,
        (
            answer
            | {
                "difficulty": verdict.hardness,
                "gold_sql": verdict.gold_sql,
                "exec_match": verdict.exec,
                "exact_set_match": verdict.exact,
                "failure_mode": verdict.failure_mode,
            }
            for _, answer in read_json_lines(outcome.predictions, fix="Ask the student again.")
            for verdict in [verdicts[answer["question_id"]]]
        ),
    )
    shutil.copyfile(student / LOSSES, place / LOSSES)
    asked = read_json(outcome.predictions.with_suffix(".manifest.json"))
    right = outcome.report.accuracy()
    write_json(
        place / MANIFEST,
        read_json(student / MANIFEST)
        | {
            "control": control,
            "learned_from": CONTROLS[control],
            "traces": len(outcome.experiment.traces),
            "dataset": asked["dataset"],
            "asked": {name: asked[name] for name in ("max_tokens", "schema_tokens", "way")},
            "questions": right.n,
            "correct": right.correct,
        },
    )
    return place


def recorded(folder: Path, dev: Dataset) -> list[Recorded]:
    """The students whose folders are below ``folder`` and that answered ``dev``, scored anew.

    In the order of :data:`~distill_sql.runs.controls.sets.CONTROLS`, then by recipe and seed; none
    where there is no such folder. Raises :class:`DatasetError` for a record of other questions.
    """
    found = []
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        manifest = read_json(path)
        if manifest["dataset"]["examples"] != len(dev) or manifest["dataset"]["name"] != dev.name:
            raise DatasetError(
                f"{path} is of {manifest['dataset']['examples']} questions of "
                f"{manifest['dataset']['name']}, and {len(dev)} of {dev.name} were given. Give the "
                "split that it is of, or record the controls again."
            )
        report = score(read_predictions(path.with_name(PREDICTIONS), dev), dev)
        found.append(
            Recorded(
                manifest["control"], manifest["recipe"], manifest["seed"], path.parent, manifest,
                report,
            )
        )  # fmt: skip
    order = list(CONTROLS)
    return sorted(found, key=lambda one: (one.recipe, order.index(one.control), one.seed))


def comparisons(found: Sequence[Recorded], dev: Dataset) -> list[tuple[str, str, Gain]]:
    """Recipe, control, and its gain over what it is compared with, as means over their seeds."""
    runs: dict[tuple[str, str], list[ScoreReport]] = {}
    for one in found:
        runs.setdefault((one.recipe, one.control), []).append(one.report)
    return [
        (recipe, control, gain(runs[recipe, AGAINST[control]], reports, dev))
        for (recipe, control), reports in runs.items()
        if (recipe, AGAINST.get(control, "")) in runs
    ]

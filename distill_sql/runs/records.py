"""Folders of recorded runs: predictions and a manifest, which are scored again when they are read.

``predictions.json`` is a JSON array with one object per line: a question's id and the predicted
query. Everything that is shown of a run is computed from them. ``manifest.json`` ends with the
number of questions and of right answers at the time of recording, so that a later score can be
compared with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distill_sql.data.datasets import Dataset
from distill_sql.errors import DatasetError
from distill_sql.files import read_json, read_json_lines, write_json, write_text
from distill_sql.scoring import ScoreReport, read_predictions, score
from distill_sql.training.experiments import Outcome

#: The files of a folder.
PREDICTIONS, MANIFEST = "predictions.json", "manifest.json"


@dataclass(frozen=True)
class Record:
    """A recorded student: its folder, its manifest, and a new score of its predictions."""

    folder: Path
    manifest: Mapping[str, Any]
    report: ScoreReport


Kind = TypeVar("Kind", bound=Record)


def write_manifest(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> None:
    """Write the manifest: what is known ``about`` a student, and the counts of its score."""
    accuracy = outcome.report.accuracy()
    write_json(folder / MANIFEST, {**about, "questions": accuracy.n, "correct": accuracy.correct})


def write_predictions(folder: Path, outcome: Outcome) -> None:
    """Write the id and the predicted query of every question."""
    lines = [
        json.dumps(
            {"question_id": answer["question_id"], "pred_sql": answer["pred_sql"]},
            ensure_ascii=False,
        )
        for _, answer in read_json_lines(outcome.predictions, fix="Generate the answers again.")
    ]
    write_text(folder / PREDICTIONS, "[\n" + ",\n".join(lines) + "\n]\n")


def generation_manifest(outcome: Outcome) -> dict[str, Any]:
    """The manifest of the run that made an outcome's predictions."""
    found: dict[str, Any] = read_json(outcome.predictions.with_suffix(".manifest.json"))
    return found


def read_records(
    kind: type[Kind], folder: Path, pattern: str, dev: Dataset, *, command: str
) -> list[Kind]:
    """Read and score the records whose manifests match ``pattern`` below ``folder``, by path.

    The list is empty if there is no such folder. Raises :class:`DatasetError`, which names the
    ``command`` that records again, if a record is not of the questions of ``dev``.
    """
    found = []
    for path in sorted(folder.glob(pattern)):
        manifest = read_json(path)
        dataset = manifest["dataset"]
        if (dataset["name"], dataset["examples"]) != (dev.name, len(dev)):
            raise DatasetError(
                f"{path} was recorded on {dataset['examples']} questions of {dataset['name']}; "
                f"expected {len(dev)} of {dev.name}. Load the split that it was recorded on, or "
                f"record it again with `{command}`."
            )
        report = score(read_predictions(path.with_name(PREDICTIONS), dev), dev)
        found.append(kind(path.parent, manifest, report))
    return found

"""Folders of recorded runs: predictions and a manifest, which are scored again when they are read.

``predictions.json`` is a JSON array with one object per line: a question's id and the predicted
query. Everything that is shown of a run is computed from them. ``manifest.json`` ends with the
number of questions and of right answers at the time of recording, so that a later score can be
compared with them.

The runs of ``distill-sql record`` have a folder for each student and seed, with the files
``manifest.json`` and ``losses.json`` of its training. Each evaluation has two files there:
``NAME.json`` has the whole completions too, and ``NAME.manifest.json`` all counts of the score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import DatasetError
from distill_sql.files import read_json, read_json_lines, write_json, write_text
from distill_sql.scoring import LEVELS, ScoreReport, read_predictions, score
from distill_sql.scoring.report import METRICS
from distill_sql.training.experiments import Outcome

#: The files of a folder.
PREDICTIONS, MANIFEST, LOSSES = "predictions.json", "manifest.json", "losses.json"


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
    write_answers(folder / PREDICTIONS, outcome.predictions, ("question_id", "pred_sql"))


def write_answers(
    path: Path,
    predictions: Path,
    fields: Sequence[str] = ("question_id", "pred_sql", "raw_text"),
) -> None:
    """Write some fields of a prediction file as a JSON array with one object per line."""
    lines = [
        json.dumps({name: answer[name] for name in fields}, ensure_ascii=False)
        for _, answer in read_json_lines(predictions, fix="Generate the answers again.")
    ]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


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


# --- The runs of `distill-sql record` -------------------------------------------------------------


@dataclass(frozen=True)
class Run(Record):
    """A recorded evaluation. ``folder`` is that of its student and seed.

    ``training`` and ``losses`` are the records of the student's training, None for a base row.
    ``on_neighbours`` is the score on neighbours of each database too, if it was asked for.
    ``same_data`` says whether the questions and databases are those of the recording.
    """

    training: Mapping[str, Any] | None
    losses: Mapping[str, Any] | None
    on_neighbours: ScoreReport | None
    same_data: bool

    @property
    def student(self) -> str:
        """The student's name in its plan."""
        return str(self.manifest["student"])

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return int(self.manifest["seed"])

    @property
    def evaluation(self) -> str:
        """The evaluation's name in its plan."""
        return str(self.manifest["evaluation"])

    @property
    def differences(self) -> list[str]:
        """How the score of today differs from the recorded one; empty if it is the same."""
        scores = [("", self.report, self.manifest)]
        if self.on_neighbours is not None:
            scores.append((" on neighbours", self.on_neighbours, self.manifest["neighbours"]))
        return [
            f"{self.folder}, {self.evaluation}: {name}{where} is {value}, recorded {recorded[name]}"
            for where, report, recorded in scores
            for name, value in score_counts(report).items()
            if value != recorded[name]
        ]


def score_counts(report: ScoreReport) -> dict[str, Any]:
    """The counts of a score by metric and hardness, for a manifest."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        total = report.accuracy(metric=metric)
        found[metric] = {
            "questions": total.n,
            "correct": total.correct,
            "by_hardness": {
                level: [one.n, one.correct]
                for level in LEVELS
                for one in [report.accuracy(level, metric=metric)]
            },
        }
    return found


def evaluations_in(folder: Path) -> list[Path]:
    """The manifests of the evaluations below a folder of results, by path."""
    return sorted(folder.glob(f"*/*/*.{MANIFEST}"))


def answers_of(path: Path) -> Path:
    """The answers of the evaluation with this manifest."""
    return path.with_name(f"{path.name.removesuffix(f'.{MANIFEST}')}.json")


def training_of(path: Path) -> dict[str, Any] | None:
    """The manifest of the training of the student whose evaluation has this manifest."""
    file = path.with_name(MANIFEST)
    found: dict[str, Any] | None = read_json(file) if file.is_file() else None
    return found


def read_runs(folder: Path, dataset: Dataset, *, neighbours: bool = False) -> list[Run]:
    """The runs below ``folder`` on the questions of ``dataset``, scored again, by path.

    With ``neighbours``, runs whose plan asked for it are also scored on neighbours of each
    database. A run on fewer questions, the first ones, is read as such. Raises
    :class:`DatasetError` for a run on other questions of the same name.
    """
    found = []
    for path in evaluations_in(folder):
        about = read_json(path)["dataset"]
        if (about["name"], about["split"]) == (dataset.name, dataset.split):
            found.append(read_run(path, dataset, neighbours=neighbours))
    return found


def read_run(path: Path, dataset: Dataset, *, neighbours: bool = False) -> Run:
    """The run of an evaluation's manifest, scored again; see :func:`read_runs`."""
    manifest = read_json(path)
    about = manifest["dataset"]
    asked = dataset.limit(about["examples"])
    if (about["name"], about["examples"]) != (asked.name, len(asked)):
        raise DatasetError(
            f"{path} was recorded on {about['examples']} questions of {about['name']}; found "
            f"{len(asked)} of {asked.name}. Load the questions that it was recorded on, or record "
            "it again with `distill-sql record`."
        )
    predictions = read_predictions(answers_of(path), asked)
    beside = None
    if neighbours and (wanted := manifest["neighbours"]) is not None:
        made = build_neighbours(asked, count=wanted["count"])
        beside = score(predictions, asked, neighbours=made)
    losses = path.with_name(LOSSES)
    return Run(
        path.parent,
        manifest,
        score(predictions, asked),
        training=training_of(path),
        losses=read_json(losses) if losses.is_file() else None,
        on_neighbours=beside,
        same_data=about["fingerprint"] == asked.fingerprint,
    )


def dataset_of(manifest: Mapping[str, Any], *, path: Path | None = None) -> Dataset:
    """The questions of a recorded evaluation, whose dataset is in the folder ``path``.

    The folder's default is that of :func:`~distill_sql.data.datasets.load_dataset`. Another file of
    questions is looked for in the folder that has the dataset's.
    """
    asked = manifest["asked"]
    found = load_dataset(asked["dataset"], split=asked["split"], path=path)
    if asked["questions"]:
        file = found.root.resolve().parent / asked["questions"]
        found = load_dataset(asked["dataset"], split=asked["split"], path=path, questions=file)
    return found.present().limit(asked["limit"] or None)

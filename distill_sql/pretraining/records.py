"""The record of a pretrained model, with one entry per training run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.pretraining import batches
from distill_sql.pretraining.corpus import lessons
from distill_sql.pretraining.ladder import Shape
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.provenance import manifest

#: The lesson that a record shows as an example.
EXAMPLE = 30_000


def history(after: Sequence[Path]) -> dict[str, Any]:
    """The part of a record about the models that a run continues from.

    ``after`` is the record of the first model with its history, ``beside`` those of its other
    branches. Raises :class:`TrainingError` if the models did not branch off from the same one.
    """
    records = [read_json(folder / "pretraining.json") for folder in after]
    for folder, record in zip(after, records, strict=True):
        if record.get("after") != records[0].get("after"):
            raise TrainingError(
                f"{after[0]} and {folder} did not continue from the same model; expected branches "
                "of one model (--after MODEL --branch NUMBER). Pass those, or a single model."
            )
    return {
        "after": records[0] if records else None,
        "beside": [{**record, "after": None} for record in records[1:]],
    }


def runs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of all runs of a model, in order.

    A record contains that of the previous run and those of the other branches.
    """
    before = record.get("after")
    return [*(runs_of(before) if before else []), *record.get("beside", []), record]


def tokens_read(record: dict[str, Any], form: str, language: str) -> float:
    """The tokens of a model's runs in a form (``chat``, ``text``) and a language.

    The language is ``keywords`` or ``sentences``; the number follows from the share of each run.
    """
    runs = [run for run in runs_of(record) if run["shape"].get("form", "chat") == form]
    rich = float(sum(run["tokens"] * run["shape"]["rich"] for run in runs))
    return rich if language == "sentences" else sum(run["tokens"] for run in runs) - rich


def write_record(shape: Shape, lexicon: Lexicon, folder: Path, **known: Any) -> None:
    """Write a model's ``pretraining.json``: its shape, its losses, and an example of a lesson."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lesson = next(lessons(lexicon, shape.rich, shape.shown, kind=shape.kind, seed=0, start=EXAMPLE))
    record = manifest(
        model=shape.name,
        seed=shape.seed,
        wall_time_s=log[-1]["seconds"],
        shape=asdict(shape),
        batch=batches.BATCH,
        updates=log[-1]["step"],
        tokens=log[-1]["tokens"],
        losses=_means(log, 200),
        example={"context": lesson.context, "turns": [turn._asdict() for turn in lesson.turns]},
        **known,
    )
    write_json(folder / "pretraining.json", record)


def _means(log: list[dict[str, Any]], points: int) -> list[tuple[int, float]]:
    """The tokens read and the mean loss at about ``points`` points of a log."""
    size = max(1, len(log) // points)
    stretches = [log[start : start + size] for start in range(0, len(log), size)]
    return [
        (part[-1]["tokens"], round(sum(entry["loss"] for entry in part) / len(part), 4))
        for part in stretches
    ]

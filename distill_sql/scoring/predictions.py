"""Reading prediction files, and refusing those that do not line up with the dataset.

Two formats. JSON Lines: one object a line with ``question_id`` and ``pred_sql`` (``db_id`` is
checked where given; other fields are ignored). Plain text: one query a line, in dataset order; an
empty line is an empty prediction. Files are only ever read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.datasets import Dataset
from distill_sql.errors import PredictionError


@dataclass(frozen=True)
class Prediction:
    """What a system answered to one question; ``pred_sql`` is empty if it gave no query."""

    question_id: int
    db_id: str
    pred_sql: str


def prediction_files(dataset: Dataset, folder: str | Path = "") -> list[Path]:
    """The prediction files to look at: every ``*.jsonl`` of a folder, by name.

    Without ``folder``: the environment variable ``PREDICTIONS_DIR``, or a folder
    ``published_predictions`` beside the dataset; none of them is an empty list. A folder that was
    asked for and holds no such file is a :class:`PredictionError`.
    """
    given = folder or os.environ.get("PREDICTIONS_DIR")
    beside = dataset.root.resolve().parent / "published_predictions"
    files = sorted(Path(given or beside).glob("*.jsonl"))
    if given and not files:
        raise PredictionError(
            f"No predictions in {given}: expected one <model>.jsonl each, with question_id and "
            "pred_sql on each line."
        )
    return files


def read_predictions(path: Path | str, dataset: Dataset) -> list[Prediction]:
    """The predictions of a file, one per example and in the dataset's order.

    Raises :class:`PredictionError` naming the first line that is wrong: not JSON, without its
    fields, for another question than the dataset has there, one too many; or saying how many are
    missing at the end.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise PredictionError(f"No prediction file at {path}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise PredictionError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    parse = _json_lines if path.suffix in {".jsonl", ".json"} else _plain_lines
    predictions = []
    examples = iter(dataset)
    for number, question_id, db_id, pred_sql in parse(path, lines):
        example = next(examples, None)
        if example is None:
            raise PredictionError(
                f"{path}, line {number}: the dataset has {len(dataset)} questions, and this is one "
                f"more. Score the file against the split it was made for."
            )
        if question_id not in (None, example.question_id) or db_id not in (None, example.db_id):
            raise PredictionError(
                f"{path}, line {number}: found question_id {question_id}, db_id {db_id!r}; "
                f"expected {example.question_id}, {example.db_id!r}, since a file must have every "
                "question once, in the dataset's order. Sort it, or score it against its own split."
            )
        predictions.append(Prediction(example.question_id, example.db_id, pred_sql))
    if len(predictions) < len(dataset):
        raise PredictionError(
            f"{path} ends after {len(predictions)} predictions; the dataset has {len(dataset)} "
            f"questions, and {dataset.examples[len(predictions)].question_id} is the first without "
            "one. Finish the run, or score with the same limit."
        )
    return predictions


def _plain_lines(path: Path, lines: list[str]) -> Iterator[tuple[int, None, None, str]]:
    for number, line in enumerate(lines, start=1):
        yield number, None, None, line.strip()


def _json_lines(path: Path, lines: list[str]) -> Iterator[tuple[int, int | None, str | None, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record: Mapping[str, Any] = json.loads(line)
            yield (
                number,
                record["question_id"],
                record.get("db_id"),
                record["pred_sql"] or "",
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PredictionError(
                f"{path}, line {number}: {type(error).__name__}: {error}. Expected a JSON object "
                'like {"question_id": 0, "db_id": "...", "pred_sql": "SELECT ..."}.'
            ) from error

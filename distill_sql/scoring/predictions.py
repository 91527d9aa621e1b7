"""Reading prediction files, and refusing those that do not line up with the dataset.

Four formats. JSON Lines: one object a line with ``question_id`` and ``pred_sql`` (``db_id`` is
checked where given; other fields are ignored). A JSON array of such objects. BIRD's own: an object
with a text for each question, the query, a separator and the ``db_id``. Plain text: one query a
line, in dataset order; an empty line is an empty prediction. Files are only ever read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.data.predictions import Prediction
from distill_sql.errors import PredictionError
from distill_sql.files import lines, parse_json, read_json, read_json_lines, read_text

__all__ = ["Prediction", "prediction_files", "read_predictions"]

#: Stands between a query and its database in BIRD's prediction files.
_BIRD = "\t----- bird -----\t"
_EXPECTED = (
    'Expected a JSON object like {"question_id": 0, "db_id": "...", "pred_sql": "SELECT ..."}.'
)
#: Digits of the longest question id: more are no id.
_ID_DIGITS = 18


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


@dataclass(frozen=True)
class _Entry:
    """One prediction as a file has it; ``place`` says where, None stands for what is not there."""

    place: str
    pred_sql: str
    question_id: int | None = None
    db_id: str | None = None


def read_predictions(path: Path | str, dataset: Dataset) -> list[Prediction]:
    """The predictions of a file, one per example and in the dataset's order.

    Raises :class:`PredictionError` naming the first line that is wrong: not JSON, without its
    fields, with something else than text for a query, for another question than the dataset has
    there, one too many; or saying how many are missing at the end.
    """
    path = Path(path)
    if not path.exists():
        raise PredictionError(f"No prediction file at {path}. Check the path.")
    predictions = []
    examples = iter(dataset)
    for entry in _entries(path):
        example = next(examples, None)
        if example is None:
            raise PredictionError(
                f"{path}, {entry.place}: the dataset has {len(dataset)} questions, and this is one "
                "more. Score the file against the split it was made for."
            )
        found, expected = (entry.question_id, entry.db_id), (example.question_id, example.db_id)
        if any(a not in (None, b) for a, b in zip(found, expected, strict=True)):
            raise PredictionError(
                f"{path}, {entry.place}: found question_id {found[0]}, db_id {found[1]!r}; "
                f"expected {expected[0]}, {expected[1]!r}, since a file must have every question "
                "once, in the dataset's order. Sort it, or score it against its own split."
            )
        predictions.append(Prediction(*expected, entry.pred_sql))
    if len(predictions) < len(dataset):
        raise PredictionError(
            f"{path} ends after {len(predictions)} predictions; the dataset has {len(dataset)} "
            f"questions, and {dataset.examples[len(predictions)].question_id} is the first without "
            "one. Finish the run, or score with the same limit."
        )
    return predictions


def _entries(path: Path) -> Iterator[_Entry]:
    """The predictions of a file in any of the formats; no query begins with a bracket."""
    text = read_text(path, error=PredictionError)
    start = text.lstrip()[:1]
    if start not in ("{", "[") and path.suffix not in (".json", ".jsonl"):
        for number, line in enumerate(lines(text), start=1):
            yield _Entry(f"line {number}", line.strip())
    elif start == "[":
        for number, record in enumerate(read_json(path, error=PredictionError, nan=True)):
            yield _from_record(path, f"entry {number}", record)
    elif start == "{" and (bird := _bird_object(text)) is not None:
        yield from _from_bird(path, bird)
    else:
        records = read_json_lines(path, error=PredictionError, fix=_EXPECTED, nan=True)
        for number, record in records:
            yield _from_record(path, f"line {number}", record)


def _from_record(path: Path, place: str, record: Any) -> _Entry:
    try:
        question_id, pred_sql = record["question_id"], record["pred_sql"]
        db_id = record.get("db_id")
    except (KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else f"{_shown(record)} is no object"
        raise PredictionError(f"{path}, {place}: {what}. {_EXPECTED}") from None
    if pred_sql is not None and not isinstance(pred_sql, str):
        raise PredictionError(
            f"{path}, {place}: pred_sql is {_shown(pred_sql)}. Expected one query as text, or null "
            "where the model gave none."
        )
    if db_id is not None and not isinstance(db_id, str):
        raise PredictionError(f"{path}, {place}: db_id is {_shown(db_id)}. Expected its name.")
    return _Entry(place, pred_sql or "", _id(path, place, question_id), db_id)


def _id(path: Path, place: str, found: object) -> int:
    """A question's id; text of digits and a whole float are clear enough."""
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    text = str(found).strip() if isinstance(found, int | str) else ""
    digits = text.removeprefix("-")
    if isinstance(found, bool) or not digits.isdecimal() or len(digits) > _ID_DIGITS:
        raise PredictionError(
            f"{path}, {place}: question_id is {_shown(found)}. Expected a whole number."
        )
    return int(text)


def _bird_object(text: str) -> Mapping[str, Any] | None:
    """The whole text as one object of numbered queries, if it is one."""
    try:
        value = parse_json(text, nan=True)
    except ValueError:
        return None
    numbered = isinstance(value, dict) and all(key.strip().isdecimal() for key in value)
    return value if numbered else None


def _from_bird(path: Path, queries: Mapping[str, Any]) -> Iterator[_Entry]:
    # Keys count the questions of the file, or are the questions' ids; the first is no check.
    counted = [key.strip() for key in queries] == [str(n) for n in range(len(queries))]
    for key, value in queries.items():
        place = f"question {key[:_ID_DIGITS]}"
        if not isinstance(value, str | None):
            raise PredictionError(
                f"{path}, {place}: its value is {_shown(value)}. Expected a query as text, the "
                f"separator {_BIRD!r} and a db_id."
            )
        sql, _, db_id = (value or "").partition(_BIRD)
        yield _Entry(
            place, sql.strip(), None if counted else _id(path, place, key), db_id.strip() or None
        )


def _shown(value: object) -> str:
    """A value for a message: its type, and how it begins."""
    return f"{type(value).__name__} {repr(value)[:40]}"

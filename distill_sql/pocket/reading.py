"""Reading pocket's test split: predictions are scored once, and the reading is logged.

A test split that is evaluated repeatedly becomes another validation split. So each version of the
package reads it once, for all models together, from a checkout without uncommitted edits. A
committed log has one line per reading, and no other figures on the split are shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import DistillSqlError, PredictionError
from distill_sql.files import check_output, read_json, read_json_lines, write_text
from distill_sql.pocket import sealed
from distill_sql.provenance import VERSION, git_state
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.comparison import compare
from distill_sql.scoring.hardness import LEVELS
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.report import (
    Accuracy,
    ScoreReport,
    align,
    as_percent,
    score,
    score_with,
)
from distill_sql.scoring.verdicts import Rules
from distill_sql.sql.skeletons import skeleton, skeletons

#: The log of the released versions.
LOG = Path(__file__).parents[2] / "book" / "results" / "pocket_test" / "log.jsonl"
#: The fields of a manifest of ``distill-sql generate`` that identify the model and its settings.
_MANIFEST = ("recipe", "model", "revision", "seed", "overridden", "adapter", "settings")
_MADE = "Make the predictions with distill-sql generate ... --dataset pocket --split test."


@dataclass(frozen=True)
class Answers:
    """A prediction file of the test split, and its manifest."""

    file: Path
    predictions: Sequence[Prediction]
    manifest: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """The model and the file, as the log records them."""
        return {
            "file": self.file.name,
            "sha256": hashlib.sha256(self.file.read_bytes()).hexdigest(),
            "commit": (self.manifest.get("git") or {}).get("commit"),
        } | {name: self.manifest.get(name) for name in _MANIFEST}


def read_test_split(
    files: Sequence[Path],
    *,
    log: Path | None = None,
    version: str = VERSION,
    state: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score prediction files on the test split, append the reading to a log, and return it.

    ``log`` defaults to :data:`LOG`, and ``state`` to :func:`~distill_sql.provenance.git_state` of
    the checkout. Raises :class:`DistillSqlError`, before anything is scored, if ``version`` has
    read the split already, if the package is not in a git checkout or has uncommitted edits, or if
    the split has changed.
    """
    log = LOG if log is None else log
    sealed.check_frozen()
    _check_unread(log, version)
    commit = _clean_commit(git_state() if state is None else state)
    dataset = sealed.with_gold()
    read = [_answers(file, dataset) for file in dict.fromkeys(files)]
    check_output(log)
    reports = _reports(read, dataset, progress=progress)
    forms = skeletons(e.query for e in load_dataset("pocket", split="train"))
    reading = {
        "version": version,
        "split_version": sealed.VERSION,
        "split_sha256": sealed.SHA256,
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "predictions": [
            answers.record() | _figures(views, dataset, forms)
            for answers, views in zip(read, reports, strict=True)
        ],
        "compared": [
            {"a": read[a].file.name, "b": read[b].file.name}
            | compare(_first(reports[a]), _first(reports[b])).summary()
            for a, b in combinations(range(len(read)), 2)
        ],
    }
    # Logged before it is returned, so that no figure is shown that is not in the log.
    before = log.read_text(encoding="utf-8") if log.is_file() else ""
    write_text(log, before + json.dumps(reading, ensure_ascii=False) + "\n")
    return reading


def table(reading: Mapping[str, Any]) -> str:
    """A reading as text: one line per prediction file and view."""
    rows = [["", "count", "execution accuracy", "95 % interval", "over databases"]]
    for found in reading["predictions"]:
        for view, figures in found["accuracy"].items():
            rows.append(
                [
                    f"{found['file']}, {view}",
                    str(figures["n"]),
                    f"{100 * figures['accuracy']:.1f}",
                    *(as_percent(tuple(figures[k])) for k in ("interval", "clustered_interval")),
                ]
            )
    lines = [align(rows)]
    for pair in reading["compared"]:
        lines.append(
            f"{pair['b']} less {pair['a']}: {100 * pair['difference']:+.1f} points, exact p = "
            f"{pair['p_value']:.2g}, over databases {pair['clustered_p_value']:.2g}"
        )
    return "\n".join(lines)


def _check_unread(log: Path, version: str) -> None:
    entries = read_json_lines(log, fix="Restore the log from git.") if log.is_file() else ()
    for number, entry in entries:
        if entry["version"] == version:
            raise DistillSqlError(
                f"Version {version} has read pocket's test split already, on {entry['date']} at "
                f"commit {str(entry['commit'])[:12]} ({log}, line {number}); each version reads "
                "it once. Use those figures, or raise the version number for the next release. "
                "To choose between models, score the validation split."
            )


def _clean_commit(state: Mapping[str, Any]) -> str:
    if state["commit"] is None:
        raise DistillSqlError(
            "This package is not in a git checkout. The test split is only read from one, because "
            "the log names the commit. Clone the repository and install the package from there."
        )
    if state["dirty"] is not False:
        raise DistillSqlError(
            f"The checkout at commit {state['commit'][:12]} has uncommitted edits, so the commit "
            "does not identify what is measured. Commit everything first, and keep predictions in "
            "an ignored folder, such as book/.work."
        )
    return str(state["commit"])


def _answers(file: Path, dataset: Dataset) -> Answers:
    predictions = read_predictions(file, dataset)
    beside = file.with_name(f"{file.name}.manifest.json")
    if not beside.is_file():
        raise PredictionError(f"{file} has no manifest ({beside.name}) in its folder. {_MADE}")
    manifest = read_json(beside, error=PredictionError)
    about = manifest.get("dataset") if isinstance(manifest, dict) else None
    found = (about or {}).get("name"), (about or {}).get("split")
    if found != ("pocket", "test"):
        raise PredictionError(
            f"{beside} is for {' '.join(map(str, found))}; expected pocket test. {_MADE}"
        )
    return Answers(file, predictions, manifest)


def _first(views: Mapping[str, ScoreReport]) -> ScoreReport:
    return next(iter(views.values()))


def _reports(
    read: Iterable[Answers], dataset: Dataset, *, progress: bool
) -> list[dict[str, ScoreReport]]:
    """The reports of each file in four views; the first is the one used on all other splits."""
    neighbours = build_neighbours(dataset, progress=progress)
    rules = Rules(etype="exec")
    strict = Rules(etype="exec", keep_distinct=True)
    found = []
    with Judge(dataset, rules) as judge, Judge(dataset, rules, neighbours=neighbours) as severe:
        for answers in read:
            report = score_with(judge, answers.predictions, progress=progress)
            found.append(
                {
                    "as on dev": report,
                    f"{severe.neighbour_count} neighbours too": score_with(
                        severe, answers.predictions
                    ),
                    "DISTINCT kept": score(answers.predictions, dataset, strict),
                    "further columns forgiven": forgiven(report, dataset),
                }
            )
    return found


def _figures(
    views: Mapping[str, ScoreReport], dataset: Dataset, forms: frozenset[str]
) -> dict[str, Any]:
    """Accuracies of a file: by view, and for the first view by hardness, database and skeleton."""
    first = _first(views)
    known = {e.question_id for e in dataset if skeleton(e.query) in forms}
    every = {e.question_id for e in dataset}
    return {
        "accuracy": {view: report.accuracy().summary() for view, report in views.items()},
        "by_hardness": {level: _counts(first.accuracy(level)) for level in LEVELS},
        "by_database": {
            db_id: _counts(
                first.only({e.question_id for e in dataset if e.db_id == db_id}).accuracy()
            )
            for db_id in dataset.db_ids
        },
        "by_skeleton": {
            "in training": _counts(first.only(known).accuracy()),
            "not in training": _counts(first.only(every - known).accuracy()),
        },
    }


def _counts(accuracy: Accuracy) -> dict[str, int]:
    return {"n": accuracy.n, "correct": accuracy.correct}

"""``distill-sql score``: the verdicts on a prediction file, as a table by hardness."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from distill_sql.datasets import load_dataset
from distill_sql.provenance import write_json
from distill_sql.sandbox import DEADLINE
from distill_sql.scoring.predictions import read_predictions
from distill_sql.scoring.score import ScoreReport, score


def configure(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql score``."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="predictions: JSON Lines, or plain text with one query a line in dataset order",
    )
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="where the dataset lies (else SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--strict", action="store_true", help="without the official leniencies")
    parser.add_argument("--keep-distinct", action="store_true", help="do not drop DISTINCT")
    parser.add_argument("--jobs", type=int, help="worker processes (default: one per core)")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds per prediction")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write summary and verdicts here")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    # Every file is read before any is scored: a broken one is told at once.
    answers = {file: read_predictions(file, dataset) for file in arguments.files}
    reports = {}
    for file, predictions in answers.items():
        reports[file] = score(
            predictions,
            dataset,
            strict=arguments.strict,
            keep_distinct=arguments.keep_distinct,
            jobs=arguments.jobs,
            deadline=arguments.deadline,
            progress=sys.stderr.isatty(),
        )
        print(f"{file}\n{reports[file].table()}\n")
    if arguments.json:
        found = [_record(file, report) for file, report in reports.items()]
        write_json(arguments.json, found[0] if len(found) == 1 else found)
    return 0


def _record(file: Path, report: ScoreReport) -> dict[str, object]:
    return {
        "summary": {
            "file": str(file),
            "n": report.accuracy().n,
            "exec": report.accuracy().correct,
            "failure_modes": report.failure_modes(),
        },
        "examples": [asdict(verdict) for verdict in report.verdicts],
    }

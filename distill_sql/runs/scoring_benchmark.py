"""The scorer's speed: ``python -m distill_sql.runs.scoring_benchmark FILE FILE [...]``.

The first file is scored cold; the others reuse its gold results. ``sqlite3`` is the lower bound:
the same queries on open connections, without a sandbox or verdicts. Each time is the best of
``--rounds`` rounds, and each round starts new worker processes with empty caches. ``--record``
records the times (:mod:`distill_sql.runs.measured`).
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.runs import measured
from distill_sql.scoring.execution import prediction_text, prepare, prepare_short
from distill_sql.scoring.hardness import hardness
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.report import align, score, score_with
from distill_sql.scoring.verdicts import Rules
from distill_sql.sql.failures import facets


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table of times in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--dataset", default="spider")
    parser.add_argument("--path", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="record the times")
    arguments = parser.parse_args(argv)
    dataset = load_dataset(arguments.dataset, path=arguments.path)
    files = [read_predictions(file, dataset) for file in arguments.files]
    jobs, rounds = arguments.jobs, range(arguments.rounds)
    executed = [_executions(dataset, files, jobs) for _ in rounds]
    seconds = {"cold": min(times[0] for times in executed)}
    words = {
        "cold": "execution accuracy, cold",
        "known": "execution accuracy, gold results known",
        "match": "exact set match and hardness",
        "sqlite3": "sqlite3 alone, gold and prediction",
    }
    if len(files) > 1:
        seconds["known"] = min(sum(times[1:]) / len(times[1:]) for times in executed)
    seconds["match"] = min(
        _timed(lambda: score(files[0], dataset, Rules(etype="match"), jobs=jobs)) for _ in rounds
    )
    seconds["sqlite3"] = min(_timed(lambda: _raw(dataset, files[0])) for _ in rounds)
    rows = [["seconds", f"{len(dataset):,} pairs"]]
    rows += [[words[name], f"{value:.2f}"] for name, value in seconds.items()]
    print(align(rows))
    if arguments.record:
        command = measured.spelled(
            "python -m distill_sql.runs.scoring_benchmark",
            argv if argv is not None else sys.argv[1:],
        )
        values = {f"scoring.{name}": (value, "s") for name, value in seconds.items()}
        measured.record(values, command=command)
    return 0


def _timed(call: Callable[[], object]) -> float:
    for cache in (hardness, prepare_short, facets):
        cache.cache_clear()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _executions(
    dataset: Dataset, files: Sequence[list[Prediction]], jobs: int | None
) -> list[float]:
    times = []
    for cache in (hardness, prepare_short, facets):
        cache.cache_clear()
    start = time.perf_counter()
    with Judge(dataset, Rules(etype="exec"), jobs=jobs) as judge:
        for predictions in files:
            score_with(judge, predictions)
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
    return times


def _raw(dataset: Dataset, predictions: Sequence[Prediction]) -> None:
    connections = {
        db_id: sqlite3.connect(
            f"{dataset.database_path(db_id).resolve().as_uri()}?mode=ro", uri=True
        )
        for db_id in dataset.db_ids
    }
    for example, prediction in zip(dataset, predictions, strict=True):
        connection = connections[example.db_id]
        connection.text_factory = bytes
        for sql in (prepare(example.query), prepare(prediction_text(prediction.pred_sql))):
            with suppress(sqlite3.Error, sqlite3.Warning), closing(connection.execute(sql)) as rows:
                rows.fetchall()
    for connection in connections.values():
        connection.close()


if __name__ == "__main__":
    sys.exit(main())

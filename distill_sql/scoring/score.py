"""Scoring a list of predictions: every example's verdict, and the table by hardness."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from tqdm import tqdm

from distill_sql.datasets import Dataset, Example
from distill_sql.errors import DatasetError, PredictionError
from distill_sql.failures import primary_cause
from distill_sql.sandbox import DEADLINE, Result, Row, Sandbox
from distill_sql.scoring.execution import (
    order_matters,
    prepare,
    prepare_prediction,
    rows_equal,
)
from distill_sql.scoring.hardness import LEVELS, Hardness, hardness
from distill_sql.scoring.predictions import Prediction

FailureMode: TypeAlias = Literal["ok", "wrong-result", "execution", "parse", "empty", "timeout"]
#: Every failure mode, and what it means.
FAILURE_MODES: dict[FailureMode, str] = {
    "ok": "it gives the gold rows",
    "wrong-result": "it runs, and gives other rows",
    "execution": "the database refuses it while it runs: an unknown column, most often",
    "parse": "it is not SQL",
    "empty": "the model gave no query",
    "timeout": "it did not end within the deadline",
}


@dataclass(frozen=True)
class Verdict:
    """What became of one prediction.

    ``exec`` is execution accuracy's verdict. ``failure_mode`` compares more strictly, as the
    published study does (no leniency in the text, columns in order, values as text), so it can
    differ from "ok" where ``exec`` is true. ``cause`` is empty where ``exec`` is true.
    """

    question_id: int
    db_id: str
    hardness: Hardness
    gold_sql: str
    pred_sql: str
    exec: bool
    failure_mode: FailureMode
    cause: str = ""
    error: str = ""
    gold_is_empty: bool = False


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``n`` and the 95 % Wilson interval of the share (Wilson 1927)."""

    n: int
    correct: int

    @property
    def share(self) -> float:
        """The accuracy, between 0 and 1; not a number if there are no examples."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the 95 % interval.

        >>> low, high = Accuracy(1034, 721).interval
        >>> f"{low:.3f} {high:.3f}"
        '0.669 0.725'
        """
        if not self.n:
            return math.nan, math.nan
        z = 1.959964
        centre = self.share + z * z / (2 * self.n)
        spread = z * math.sqrt(self.share * (1 - self.share) / self.n + (z / (2 * self.n)) ** 2)
        scale = 1 + z * z / self.n
        return (centre - spread) / scale, (centre + spread) / scale


@dataclass(frozen=True)
class ScoreReport:
    """All verdicts of one prediction file."""

    verdicts: tuple[Verdict, ...]

    def accuracy(self, level: Hardness | None = None) -> Accuracy:
        """Execution accuracy, overall or of one level of hardness."""
        chosen = [v for v in self.verdicts if level is None or v.hardness == level]
        return Accuracy(len(chosen), sum(v.exec for v in chosen))

    def failure_modes(self) -> dict[FailureMode, int]:
        """How many predictions ended in each mode."""
        counts = Counter(v.failure_mode for v in self.verdicts)
        return {mode: counts[mode] for mode in FAILURE_MODES}

    def table(self) -> str:
        """The table by hardness, as text."""
        names = ["all", *LEVELS]
        scores = [self.accuracy(), *map(self.accuracy, LEVELS)]
        rows = [
            ["", *names],
            ["count", *(str(score.n) for score in scores)],
            ["execution accuracy", *(f"{100 * s.share:.1f}" if s.n else "-" for s in scores)],
            ["95 % interval", *(_interval(score) for score in scores)],
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if position == 0 else cell.rjust(width)
                for position, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )


def _interval(score: Accuracy) -> str:
    low, high = score.interval
    return f"{100 * low:.1f}-{100 * high:.1f}" if score.n else "-"


def score(
    predictions: Sequence[Prediction],
    dataset: Dataset,
    *,
    strict: bool = False,
    keep_distinct: bool = False,
    jobs: int | None = None,
    deadline: float = DEADLINE,
    progress: bool = False,
) -> ScoreReport:
    """Score predictions, one per example of ``dataset`` and in its order.

    ``strict`` drops the official evaluator's leniencies. Every ``*.sqlite`` file in a database's
    folder counts, so a folder with the official test suite gives test-suite accuracy. ``jobs``
    worker processes run the queries (default: one per core); ``deadline`` is in seconds and per
    prediction. Raises :class:`PredictionError` if the two do not line up and :class:`DatasetError`
    if a gold query fails.
    """
    if [p.question_id for p in predictions] != [e.question_id for e in dataset]:
        raise PredictionError(
            f"{len(predictions)} predictions do not line up with the {len(dataset)} examples of "
            f"{dataset.name}: read them with read_predictions, which names the line that is wrong."
        )
    judge = _Judge(dataset, deadline, strict=strict, keep_distinct=keep_distinct or strict)
    try:
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            verdicts = tqdm(
                pool.map(judge, dataset, predictions),
                total=len(dataset),
                desc="scoring",
                disable=not progress,
            )
            return ScoreReport(tuple(verdicts))
    finally:
        judge.close()


class _Judge:
    """Judges one example at a time, from any thread: each has a sandbox, all share gold rows."""

    def __init__(
        self, dataset: Dataset, deadline: float, *, strict: bool, keep_distinct: bool
    ) -> None:
        self._dataset = dataset
        self._deadline = deadline
        self._strict = strict
        self._keep_distinct = keep_distinct
        self._local = threading.local()
        self._sandboxes: list[Sandbox] = []
        self._gold = lru_cache(maxsize=512)(self._run_gold)

    def __call__(self, example: Example, prediction: Prediction) -> Verdict:
        database = self._dataset.database_path(example.db_id)
        gold_sql = prepare(example.query, keep_distinct=self._keep_distinct)
        pred_sql = prepare_prediction(
            prediction.pred_sql, strict=self._strict, keep_distinct=self._keep_distinct
        )
        ordered = order_matters(example.query)
        correct, left = True, self._deadline
        for path in suite(database):
            gold = self._gold(path, gold_sql)
            result = self._run(path, pred_sql, gold, left)
            left -= result.seconds  # the deadline is the prediction's, not each database's
            correct = result.ok and rows_equal(gold.rows, result.rows, ordered=ordered)
            if not correct:
                break
        mode = self._failure_mode(prediction.pred_sql, example.query, database, result, pred_sql)
        error = result.error
        return Verdict(
            question_id=example.question_id,
            db_id=example.db_id,
            hardness=hardness(example.query),
            gold_sql=example.query,
            pred_sql=prediction.pred_sql,
            exec=correct,
            failure_mode=mode,
            cause="" if correct else primary_cause(prediction.pred_sql, example.query, error=error),
            error=error,
            gold_is_empty=not self._gold(database, gold_sql).rows,
        )

    def close(self) -> None:
        """End every sandbox."""
        for sandbox in self._sandboxes:
            sandbox.close()

    def _failure_mode(
        self, pred_sql: str, gold_sql: str, database: Path, judged: Result, executed: str
    ) -> FailureMode:
        """The mode by the strict comparison: the texts as they are, columns in order."""
        if not pred_sql.strip():
            return "empty"
        if judged.kind == "timeout":
            return "timeout"
        gold = self._gold(database, gold_sql)
        result = judged if executed == pred_sql else self._run(database, pred_sql, gold)
        if result.ok:
            return "ok" if _as_text(gold.rows) == _as_text(result.rows) else "wrong-result"
        return result.kind if result.kind in ("parse", "timeout") else "execution"

    def _run(self, database: Path, sql: str, gold: Result, deadline: float | None = None) -> Result:
        """Run a prediction, fetching no more rows than tell it from the gold ones."""
        result = self._sandbox.run(
            database, sql, deadline=deadline, max_rows=max(len(gold.rows), 1)
        )
        if result.kind == "too_large" and "rows" in result.error:
            return Result("ok", [*gold.rows, ()], error=result.error, seconds=result.seconds)
        return result

    def _run_gold(self, database: Path, sql: str) -> Result:
        result = self._sandbox.run(database, sql, deadline=max(60.0, self._deadline))
        if not result.ok:
            raise DatasetError(
                f"A gold query of {self._dataset.name} fails on {database}: {result.error}. The "
                f"query is {sql!r}. Correct the dataset, or leave the question out."
            )
        return result

    @property
    def _sandbox(self) -> Sandbox:
        sandbox: Sandbox | None = getattr(self._local, "sandbox", None)
        if sandbox is None:
            sandbox = self._local.sandbox = Sandbox(deadline=self._deadline)
            self._sandboxes.append(sandbox)
        return sandbox


def suite(database: Path) -> list[Path]:
    """Every database that a verdict looks at: all files with ``.sqlite`` beside this one."""
    return sorted(path for path in database.parent.iterdir() if ".sqlite" in path.name)


def _as_text(rows: Sequence[Row]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(map(str, row)) for row in rows)

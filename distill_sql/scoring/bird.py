"""BIRD's metrics: execution accuracy over sets of rows, soft F1, and R-VES, which rewards speed.

The metrics are from Li et al., "Can LLM Already Serve as A Database Interface?" (NeurIPS 2023) and
the scripts of bird-bench/mini_dev (``evaluation_ex.py``, ``evaluation_f1.py``,
``evaluation_ves.py``). They differ from Spider's: rows are compared as a set, columns in their
order, and the queries run unchanged. Soft F1 depends on the order of rows. R-VES depends on the
machine, so compare only values from one machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.scoring.predictions import Prediction
from distill_sql.scoring.verdicts import gives_table, gold_error
from distill_sql.sql.sandbox import Row, Sandbox

#: The published number of timings per query for R-VES, and the timeout of a query in seconds.
ITERATIONS = 100
DEADLINE = 30.0


@dataclass(frozen=True)
class BirdVerdict:
    """The verdict of BIRD's metrics on one prediction.

    ``exec`` is the verdict of execution accuracy, ``soft_f1`` is between 0 and 1, and ``reward`` is
    that of R-VES, between 0 and 1.25, or None if nothing was timed.
    """

    question_id: int
    exec: bool
    soft_f1: float
    reward: float | None


@dataclass(frozen=True)
class BirdReport:
    """The verdicts of one file; its properties are the published scores, 0 to 100 (R-VES: 112)."""

    verdicts: tuple[BirdVerdict, ...]

    @property
    def ex(self) -> float:
        """Execution accuracy: the share of predictions with the gold set of rows."""
        return 100 * _mean([verdict.exec for verdict in self.verdicts])

    @property
    def soft_f1(self) -> float:
        """The mean soft F1."""
        return 100 * _mean([verdict.soft_f1 for verdict in self.verdicts])

    @property
    def r_ves(self) -> float | None:
        """The mean of the rewards' square roots, or None if nothing was timed."""
        rewards = [verdict.reward for verdict in self.verdicts if verdict.reward is not None]
        return 100 * float(np.mean(np.sqrt(rewards))) if rewards else None


def score_bird(
    predictions: Sequence[Prediction],
    dataset: Dataset,
    *,
    iterations: int = ITERATIONS,
    deadline: float = DEADLINE,
    skip_failing_gold: bool = False,
    progress: bool = False,
) -> BirdReport:
    """Score predictions, one per example of ``dataset`` and in its order, by BIRD's metrics.

    With ``iterations`` of 0, R-VES is left out. Queries run one at a time, since they are timed. A
    gold query that fails raises :class:`~distill_sql.errors.GoldQueryError`; with
    ``skip_failing_gold``, its question is left out of the report.
    """
    verdicts = []
    pairs = list(zip(dataset, predictions, strict=True))
    with Sandbox(deadline=deadline) as sandbox:
        for example, prediction in tqdm(pairs, desc="BIRD's metrics", disable=not progress):
            database = dataset.database_path(example.db_id)
            gold = sandbox.run(database, example.query)
            if not gives_table(gold):
                if skip_failing_gold:
                    continue
                raise gold_error(dataset, example, database, gold)
            found = sandbox.run(database, prediction.pred_sql) if prediction.pred_sql else None
            correct = found is not None and found.ok and set(found.rows) == set(gold.rows)
            ratio = 0.0
            if correct and iterations:
                ratio = _time_ratio(
                    sandbox, database, example.query, prediction.pred_sql, iterations
                )
            verdicts.append(
                BirdVerdict(
                    example.question_id,
                    correct,
                    soft_f1(gold.rows, found.rows) if found is not None and found.ok else 0.0,
                    reward(ratio) if iterations else None,
                )
            )
    return BirdReport(tuple(verdicts))


def soft_f1(gold: Sequence[Row], pred: Sequence[Row]) -> float:
    """F1 over the cells of rows at the same position, after duplicate rows are removed.

    A cell is found if its value occurs anywhere in the other row. Two empty results are equal.

    >>> soft_f1([("Ann", 1), ("Bo", 2)], [("Ann", 1), ("Bo", 3)])
    0.75
    """
    if not gold and not pred:
        return 1.0
    gold, pred = list(dict.fromkeys(gold)), list(dict.fromkeys(pred))
    both = only_pred = only_gold = 0.0
    for expected, found in zip(gold, pred, strict=False):
        ours, theirs = set(expected), set(found)
        both += sum(value in ours for value in found) / len(expected)
        only_pred += sum(value not in ours for value in found) / len(expected)
        only_gold += sum(value not in theirs for value in expected) / len(expected)
    only_gold += max(len(gold) - len(pred), 0)
    only_pred += max(len(pred) - len(gold), 0)
    precision = both / (both + only_pred) if both + only_pred else 0.0
    recall = both / (both + only_gold) if both + only_gold else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def reward(ratio: float) -> float:
    """The reward of R-VES for a correct query that takes 1 / ``ratio`` of the gold query's time.

    >>> [reward(ratio) for ratio in (0, 0.1, 0.3, 0.6, 1.0, 2.5)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    """
    if ratio == 0:
        return 0.0
    return next((r for bound, r in _REWARDS if ratio >= bound), 0.25)


_REWARDS = ((2, 1.25), (1, 1.0), (0.5, 0.75), (0.25, 0.5))


def _time_ratio(
    sandbox: Sandbox, database: Path, gold_sql: str, pred_sql: str, iterations: int
) -> float:
    """The mean ratio of gold time to prediction time, without outliers beyond 3 deviations."""
    ratios = []
    for _ in range(iterations):
        pred = sandbox.run(database, pred_sql).seconds
        ratios.append(sandbox.run(database, gold_sql).seconds / max(pred, 1e-9))
    mean, spread = np.mean(ratios), np.std(ratios)
    kept = [ratio for ratio in ratios if abs(ratio - mean) < 3 * spread] or ratios
    return float(np.mean(kept))

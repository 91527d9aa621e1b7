"""Scoring: Spider's metrics with the official semantics, a strict mode, and failure modes."""

from __future__ import annotations

from distill_sql.scoring.hardness import LEVELS, Hardness, hardness
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.report import Accuracy, ScoreReport, score, score_with
from distill_sql.scoring.verdicts import FAILURE_MODES, Rules, Verdict

__all__ = [
    "FAILURE_MODES",
    "LEVELS",
    "Accuracy",
    "Hardness",
    "Judge",
    "Prediction",
    "Rules",
    "ScoreReport",
    "Verdict",
    "hardness",
    "read_predictions",
    "score",
    "score_with",
]

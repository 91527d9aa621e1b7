"""Scoring: execution accuracy with the official semantics, hardness, failure modes."""

from __future__ import annotations

from distill_sql.scoring.hardness import LEVELS, Hardness, hardness
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.score import FAILURE_MODES, Accuracy, ScoreReport, Verdict, score

__all__ = [
    "FAILURE_MODES",
    "LEVELS",
    "Accuracy",
    "Hardness",
    "Prediction",
    "ScoreReport",
    "Verdict",
    "hardness",
    "read_predictions",
    "score",
]

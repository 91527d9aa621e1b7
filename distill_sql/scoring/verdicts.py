"""What a prediction is judged by, what becomes of it, and the error of a gold query that fails."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from distill_sql.data.datasets import Dataset, Example
from distill_sql.errors import GoldQueryError
from distill_sql.scoring.hardness import Hardness
from distill_sql.sql.failures import primary_cause
from distill_sql.sql.sandbox import Result

EvaluationType: TypeAlias = Literal["exec", "match", "all"]
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
class Rules:
    """How predictions are judged. The defaults are the official evaluator's.

    ``etype`` chooses the metrics: execution accuracy (``exec``), exact set match (``match``), or
    ``all``. ``keep_distinct`` and ``plug_value`` are the official flags; ``strict`` drops the
    leniencies of execution accuracy: DISTINCT counts, and ``value`` is a word like any other.
    ``skip_failing_gold`` leaves questions out whose gold query fails, which otherwise is an error.
    """

    etype: EvaluationType = "all"
    strict: bool = False
    keep_distinct: bool = False
    plug_value: bool = False
    skip_failing_gold: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of one prediction.

    ``exec`` is execution accuracy's verdict and ``exact`` exact set match's; None where it was not
    asked for, or where the gold query is outside the SQL that exact set match is defined on.
    ``hardness`` is None where the gold query cannot be parsed. ``skipped`` says that the gold query
    fails on its database, so that there is no verdict at all. ``note`` says why something is
    missing.
    ``failure_mode`` compares more strictly, as the published study does (no leniency in the text,
    columns in order, values as text), so it can differ from "ok" where ``exec`` is true; None where
    nothing was executed. ``error`` is what the database said. ``gold_is_empty`` flags examples
    whose gold query has no rows, which a wrong query passes easily.
    """

    question_id: int
    db_id: str
    hardness: Hardness | None
    gold_sql: str
    pred_sql: str
    exec: bool | None = None
    exact: bool | None = None
    failure_mode: FailureMode | None = None
    error: str = ""
    gold_is_empty: bool = False
    skipped: bool = False
    note: str = ""

    @cached_property
    def cause(self) -> str | None:
        """What went wrong, one of :data:`distill_sql.sql.failures.CAUSES`; None if nothing did."""
        right = self.exact if self.exec is None else self.exec
        if right or right is None:
            return None
        return primary_cause(self.pred_sql, self.gold_sql, error=self.error)


def gives_table(gold: Result) -> bool:
    """Whether there is a table, if an empty one: an empty text or a comment runs and gives none."""
    return gold.ok and bool(gold.columns)


def gold_error(dataset: Dataset, example: Example, path: Path, result: Result) -> GoldQueryError:
    """The error of a gold query that gives no table."""
    found = result.error.rstrip(".") or "it is no query, so it gives no table"
    return GoldQueryError(
        f"The gold query of question {example.question_id} (db_id {example.db_id!r}, split "
        f"{dataset.split} in {dataset.root}) fails on {path}: {found}. The query is "
        f"{example.query[:500]!r}. Correct it there, or skip the questions whose gold query fails "
        "(--skip-failing-gold)."
    )

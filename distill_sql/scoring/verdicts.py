"""The rules that predictions are judged by, verdicts, and the error of a failing gold query."""

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
#: Every failure mode and its meaning, in the words of the book.
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
    """How predictions are judged. The defaults are those of the official evaluator.

    ``etype`` selects the metrics: execution accuracy (``exec``), exact set match (``match``), or
    ``all``. ``keep_distinct`` and ``plug_value`` are the official flags. ``strict`` turns off the
    leniency of execution accuracy: DISTINCT counts, and the word ``value`` is not replaced. A gold
    query that fails is an error; with ``skip_failing_gold``, its question is left out.
    """

    etype: EvaluationType = "all"
    strict: bool = False
    keep_distinct: bool = False
    plug_value: bool = False
    skip_failing_gold: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict on one prediction.

    ``exec`` is the verdict of execution accuracy and ``exact`` that of exact set match. Each is
    None if it was not computed; ``exact`` is also None if Spider's parser rejects the gold query.
    ``hardness`` is None if the gold query cannot be parsed. ``skipped`` means that the gold query
    fails on its database, so there is no verdict. ``note`` gives the reason for missing values.

    ``failure_mode`` is stricter, as in the published study (unchanged texts, columns in order,
    values as text), so it may differ from "ok" even if ``exec`` is true; it is None if nothing was
    executed. ``error`` is the database's message. ``gold_is_empty`` flags examples whose gold query
    returns no rows, which a wrong query often matches.
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
        """The cause of failure, one of :data:`distill_sql.sql.failures.CAUSES`; None if right."""
        right = self.exact if self.exec is None else self.exec
        if right or right is None:
            return None
        return primary_cause(self.pred_sql, self.gold_sql, error=self.error)


def gives_table(gold: Result) -> bool:
    """Whether a query returned a table, even an empty one; empty texts and comments return none."""
    return gold.ok and bool(gold.columns)


def gold_error(dataset: Dataset, example: Example, path: Path, result: Result) -> GoldQueryError:
    """The error for a gold query that returns no table."""
    found = result.error.rstrip(".") or "it is not a query, so it returns no table"
    return GoldQueryError(
        f"The gold query of question {example.question_id} (db_id {example.db_id!r}, split "
        f"{dataset.split} in {dataset.root}) fails on {path}: {found}. The query is "
        f"{example.query[:500]!r}. Correct the query, or skip questions whose gold query fails "
        "(--skip-failing-gold)."
    )

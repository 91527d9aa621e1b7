"""Students that were never trained: outcomes with the verdicts that a test asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_sql.book.pages.ladder import Material, Setup
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.files import write_json_lines
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.scoring import ScoreReport, Verdict, hardness
from distill_sql.teacher.traces import Trace
from distill_sql.training.experiments import Experiment, Outcome
from distill_sql.training.outcome import Trained, Update, Validation
from distill_sql.training.splits import TrainingSet

#: As many dev questions as the students below answer.
QUESTIONS = 6


def setup(folder: Path, *, count: int = 0, **changes: Any) -> Setup:
    """Pocket with its first dev questions, and ``count`` traces made of gold queries."""
    return Setup(
        "pocket", tuple(traces(count)), {"style": "compact", "schema_tokens": 0} | changes,
        questions=QUESTIONS, folder=folder,
    )  # fmt: skip


def traces(count: int) -> list[Trace]:
    train = load_dataset("pocket", split="train").limit(count or 1)
    return [
        Trace(
            e.question_id, e.db_id, e.question, e.query, "direct",
            tuple(prompt_messages(train, e, style="compact")), f"```sql\n{e.query}\n```", e.query,
            3, 3, "teacher", 0, 0, 0,
        )
        for e in list(train)[:count]
    ]  # fmt: skip


def material(learned: int = 4, validation: int = 2) -> Material:
    """Traces of which some are for validation, without any preparation."""
    given = tuple(traces(learned + validation))
    prepared = TrainingSet(given[:learned], given[learned:], too_long=3, near_duplicates=1)
    recipe = recipe_for("pocket-s")
    return Material(given, prepared, prepared.train, load_tokenizer(base_folder(recipe)))


def report(dev: Dataset, letters: str) -> ScoreReport:
    """A letter per question: r for right, w for wrong rows, e for a query that does not run."""
    modes = {"r": "ok", "w": "wrong-result", "e": "execution"}
    return ScoreReport(
        tuple(
            Verdict(
                e.question_id, e.db_id, hardness(e.query), e.query, "SELECT 0",
                exec=letter == "r", failure_mode=modes[letter],  # type: ignore[arg-type]
                error="no such column: x" if letter == "e" else "",
            )
            for e, letter in zip(dev, letters, strict=True)
        )
    )  # fmt: skip


def trained(losses: list[float], validation: list[tuple[int, float]] | None = None) -> Trained:
    return Trained(
        Path("adapter"), tuple(Update(n, loss, 1e-3) for n, loss in enumerate(losses)),
        tokens=1000, learned_tokens=100, too_long=0, seconds=10, peak_memory=2**31,
        validation=tuple(Validation(*one) for one in validation or ()),
    )  # fmt: skip


def outcome(
    dev: Dataset,
    recipe: Recipe,
    letters: str,
    *,
    folder: Path = Path(),
    run: Trained | None = None,
    **how: Any,
) -> Outcome:
    """The outcome of a student whose right answers are the gold queries."""
    path = folder / f"{recipe.name}-{recipe.seed}-{letters}.jsonl"
    if folder != Path():
        write_json_lines(
            path,
            (
                {"question_id": e.question_id, "pred_sql": e.query if right == "r" else "SELECT 0"}
                for e, right in zip(dev, letters, strict=True)
            ),
        )
    return Outcome(Experiment(recipe, **how), run, path, report(dev, letters))

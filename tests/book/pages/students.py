"""Outcomes of students without any training: a test chooses which answers are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_sql.book.pages import scaling, training
from distill_sql.book.pages.ladder import Material, Setup
from distill_sql.book.pages.training import BASE, DIRECT, DISTILLED
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

#: The number of dev questions that every student answers.
QUESTIONS = 6
#: The answers of the training chapter's students, by name; letters as in :func:`report`.
LETTERS = {BASE: "rrwwww", DISTILLED: "rrrrww", DIRECT: "rrrwwe"}
ON_GRAMMAR = "rrrrre"
#: The sizes and seeds of the scaling chapter's students.
SIZES, SEEDS = ("pocket-s", "pocket-m"), (1, 2)
#: The answers of each model on six questions, by recipe and seed.
LADDER = {
    ("pocket-s-base", 42): "rwwwww", ("pocket-m-base", 42): "rrwwww",
    ("pocket-teacher", 42): "rrrrrr", ("pocket-s", 1): "rrrwww", ("pocket-s", 2): "rrrrww",
    ("pocket-m", 1): "rrrrww", ("pocket-m", 2): "rrrrrw",
}  # fmt: skip


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
    """Traces for training and validation that were not prepared."""
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


def training_run(folder: Path) -> training.Run:
    """Students of pocket-s as the training chapter has them."""
    there, given = setup(folder), material()
    outcomes = []
    for one in training.plan(there, "pocket-s", given):
        name = training.name_of(one.recipe)
        letters = "rwwwww" if not one.synonyms else ON_GRAMMAR if one.grammar else LETTERS[name]
        found = outcome(
            there.dev, one.recipe, letters, folder=folder,
            run=trained([1.0] * len(letters[: -1 if name == DIRECT else None])),
        )  # fmt: skip
        outcomes.append(replace(found, experiment=one))
    return training.collect(there, there.recipe("pocket-s"), given, outcomes)


def scaling_ladder(folder: Path) -> scaling.Ladder:
    """Two sizes with two seeds each, the teacher, and a student of pocket-m on two traces."""
    there, given = setup(folder, count=1), material()
    planned = scaling.plan(there, given, SIZES, SEEDS, amounts=[2], scaled="pocket-m")
    ladder, bare, fewer = (
        tuple(
            replace(
                outcome(
                    there.dev, one.recipe, letters or LADDER[one.recipe.name, one.recipe.seed],
                    folder=folder, run=trained([1.0]) if one.recipe.trained else None,
                ),
                experiment=one,
            )
            for one in part
        )
        for part, letters in ((planned.ladder, ""), (planned.bare, "rwwwww"),
                              (planned.fewer, "rrwwww"))
    )  # fmt: skip
    return scaling.Ladder(there, given, SIZES, SEEDS, "pocket-m", ladder, bare, fewer)

"""Answers of a recorded student, generated again from its recorded adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_sql.data.datasets import Dataset
from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models.generation import answers
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.models.students import open_student
from distill_sql.runs.recording.adapter import weights_digest
from distill_sql.runs.records import MANIFEST, answers_of, training_of
from distill_sql.scoring import read_predictions

#: The share of answers that must be the same. The recorded adapter is rounded to bfloat16, and
#: another processor adds in another order, so an answer can differ where two tokens are about
#: equally likely.
SAME = 0.9


@dataclass(frozen=True)
class Again:
    """The recorded query of a question, and the one that is generated now."""

    question_id: int
    recorded: str
    found: str


def recipe_of(path: Path) -> Recipe:
    """The recipe of the student whose evaluation has this manifest."""
    about = read_json(path)
    return recipe_for(about["recipe"], **about["overridden"])


def answered_again(path: Path, dataset: Dataset, *, count: int = 20) -> list[Again]:
    """Answer ``count`` questions or a few more with the adapter that is recorded beside ``path``.

    ``path`` is the manifest of an evaluation and ``dataset`` its questions. Whole databases are
    asked, the smallest first, since the questions of a database are answered together. Raises
    :class:`TrainingError` if no adapter is recorded there, or another one than its manifest says.
    """
    about, training = read_json(path), training_of(path)
    adapter = path.with_name("adapter")
    kept = (training or {}).get("kept")
    if kept is None or not adapter.is_dir():
        raise TrainingError(
            f"No adapter is recorded in {adapter}. Record it with --keep-adapter "
            f"{about['student']}, or delete its entry in {MANIFEST}."
        )
    if (found := weights_digest(adapter)) != kept["sha256"]:
        raise TrainingError(
            f"The adapter in {adapter} has the SHA-256 {found[:16]}..., its manifest says "
            f"{kept['sha256'][:16]}...: it was changed or is incomplete. Record it again."
        )
    asked, recipe = about["asked"], recipe_of(path)
    recorded = {
        one.question_id: one.pred_sql for one in read_predictions(answers_of(path), dataset)
    }
    student = open_student(recipe, adapter=adapter, framework="torch")
    return [
        Again(one.question_id, recorded[one.question_id], one.pred_sql)
        for together in answers(
            student, dataset, whole_databases(dataset, count), style=recipe.style,
            max_tokens=asked["max_tokens"], grammar=asked["grammar"],
            schema_tokens=asked["schema_tokens"],
        )
        for one in together
    ]  # fmt: skip


def whole_databases(dataset: Dataset, count: int) -> Dataset:
    """At least ``count`` questions, all of some databases; the databases with the fewest."""
    sizes = dict.fromkeys(dataset.db_ids, 0)
    for example in dataset:
        sizes[example.db_id] += 1
    chosen: list[str] = []
    for db_id in sorted(sizes, key=lambda one: sizes[one]):
        if sum(sizes[one] for one in chosen) < count:
            chosen.append(db_id)
    return dataset.only(*chosen)


def same_share(found: list[Again]) -> float:
    """The share of answers that are the recorded ones."""
    return sum(one.recorded == one.found for one in found) / len(found)

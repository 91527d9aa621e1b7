"""The pieces of a plan, trainings and evaluations, with their inputs and their status.

The inputs of a piece are everything that the plan and its data determine: the recipe, the hashes of
traces and datasets, how questions are asked. They are part of the piece's record, so a piece that
was recorded with other inputs is recognised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from distill_sql.errors import ParameterError
from distill_sql.files import read_json
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe
from distill_sql.models.students import ANSWERING_CODE
from distill_sql.runs.recording.plan import Evaluation, Plan, PlannedStudent
from distill_sql.runs.recording.sources import Sources
from distill_sql.runs.recording.work import begun
from distill_sql.runs.records import MANIFEST
from distill_sql.training.experiments import DEV_ANSWER_TOKENS
from distill_sql.training.student import TRAINING_CODE

Status = Literal["done", "begun", "missing", "changed"]


@dataclass(frozen=True)
class Piece:
    """The training of a student with one seed, or one evaluation of it."""

    student: PlannedStudent
    recipe: Recipe
    evaluation: Evaluation | None = None

    @property
    def folder(self) -> str:
        """The folder of the student's records, relative to that of all results."""
        return f"{self.student.name}/{self.recipe.seed}"

    @property
    def name(self) -> str:
        """The name in lists, which ``--only`` takes."""
        return f"{self.folder}/{self.evaluation.name if self.evaluation else 'training'}"

    @property
    def manifest(self) -> str:
        """The file that says that the piece is done, relative to the folder of results."""
        return f"{self.folder}/{self.evaluation.name}.{MANIFEST}" if self.evaluation else (
            f"{self.folder}/{MANIFEST}"
        )  # fmt: skip


def pieces_of(plan: Plan) -> list[Piece]:
    """All pieces in the order of execution: a student's training, then its evaluations."""
    found = []
    for student in plan.students:
        for seed in student.all_seeds:
            recipe = student.with_seed(seed)
            if recipe.trained:
                found.append(Piece(student, recipe))
            found += [Piece(student, recipe, one) for one in plan.evaluations_of(student)]
    return found


def selected(pieces: Sequence[Piece], names: Sequence[str]) -> list[Piece]:
    """The pieces with these names, or all of a student or a seed; all without names.

    The training of a selected evaluation is selected too. Raises :class:`ParameterError` for a
    name that no piece has.
    """
    if not names:
        return list(pieces)
    for name in names:
        if not any(_has(piece, name) for piece in pieces):
            every = [piece.name for piece in pieces]
            close = get_close_matches(name, {*every, *(p.student.name for p in pieces)}, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ParameterError(f"No piece {name!r} in the plan.{hint} --list shows all.")
    chosen = {piece.name for piece in pieces if any(_has(piece, name) for name in names)}
    needed = {f"{piece.folder}/training" for piece in pieces if piece.name in chosen}
    return [piece for piece in pieces if piece.name in chosen | needed]


def _has(piece: Piece, name: str) -> bool:
    return f"{piece.name}/".startswith(f"{name.rstrip('/')}/")


def inputs_of(piece: Piece, sources: Sources, framework: Framework) -> dict[str, Any]:
    """The inputs of a piece, as JSON has them."""
    inputs: dict[str, Any] = {"recipe": asdict(piece.recipe), "framework": framework}
    if piece.recipe.trained:
        inputs["training"] = _lessons(piece.student, sources)
    if (evaluation := piece.evaluation) is not None:
        about = sources.dataset(evaluation).description()
        inputs["evaluation"] = {
            "questions": {name: about[name] for name in ("examples", "fingerprint")},
            "grammar": evaluation.grammar,
            "neighbours": evaluation.neighbours,
            "schema_tokens": evaluation.schema_tokens,
            "max_tokens": DEV_ANSWER_TOKENS,
            "answering_code": ANSWERING_CODE,
        }
    found: dict[str, Any] = json.loads(json.dumps(inputs))
    return found


def _lessons(student: PlannedStudent, sources: Sources) -> dict[str, Any]:
    """What decides the traces that a student learns, those of its comparison included."""
    members = sources.plan.compared(student)
    gold = any(one.learns == "gold" for one in members)
    return {
        **_source(student, sources),
        "compared_with": [_source(one, sources) for one in members if one is not student],
        "gold": sources.train.fingerprint if gold else None,
        "validation": sources.plan.validation,
        "training_code": TRAINING_CODE,
    }


def _source(student: PlannedStudent, sources: Sources) -> dict[str, Any]:
    return {
        "learns": student.learns,
        "modes": student.example.modes,
        "amount": student.amount,
        "traces": sources.traces_of(student).sha256,
    }


def changes(old: Any, new: Any, name: str = "") -> list[str]:
    """Where two inputs differ, in words.

    >>> changes({"recipe": {"seed": 1, "batch": 8}}, {"recipe": {"seed": 2, "batch": 8}})
    ['recipe.seed was 1, now 2']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            change
            for key in dict.fromkeys([*old, *new])
            for change in changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return changes(dict(enumerate(old)), dict(enumerate(new)), name)
    return [] if old == new else [f"{name} was {_short(old)}, now {_short(new)}"]


def _short(value: Any) -> str:
    """A value in a message; hashes are cut."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


@dataclass(frozen=True)
class State:
    """Where a piece stands; ``changes`` says what differs from its record."""

    piece: Piece
    status: Status
    seconds: float
    changes: Sequence[str] = ()


def state_of(piece: Piece, inputs: Mapping[str, Any], results: Path, state: Path) -> State:
    """The status of a piece, from its record in ``results`` and its begun work in ``state``."""
    manifest = results / piece.manifest
    if manifest.is_file():
        found = read_json(manifest)
        recorded = found["inputs"]
        # Values that recipes did not have then were their defaults.
        recorded["recipe"] = asdict(Recipe("any", "any")) | recorded["recipe"]
        differing = changes(recorded, inputs)
        return State(piece, "changed" if differing else "done", found["seconds"], differing)
    known = begun(state, piece.name)
    if known.get("inputs") == inputs:
        return State(piece, "begun", known["seconds"])
    return State(piece, "missing", 0.0)

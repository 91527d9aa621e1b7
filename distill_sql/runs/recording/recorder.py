"""Executing a plan: each piece is computed in a state folder, and recorded when it is finished.

Training checkpoints and partial predictions stay in the state folder, so a killed piece continues.
Only finished pieces are written to the results.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import OutOfTime, ParameterError, TrainingError
from distill_sql.files import check_folder, read_json, read_json_lines, write_json
from distill_sql.models.folders import base_folder
from distill_sql.models.gguf_file import weights_record
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import overridden
from distill_sql.models.students import default_framework
from distill_sql.provenance import manifest
from distill_sql.runs.memory import peak_memory
from distill_sql.runs.recording.adapter import keep_adapter, weights_digest
from distill_sql.runs.recording.pieces import (
    Piece,
    State,
    inputs_of,
    pieces_of,
    selected,
    state_of,
)
from distill_sql.runs.recording.plan import Evaluation, Plan
from distill_sql.runs.recording.sources import Learned, Sources
from distill_sql.runs.recording.work import Session, alone, working
from distill_sql.runs.records import LOSSES, MANIFEST, score_counts, write_answers
from distill_sql.scoring import read_predictions, score
from distill_sql.training.experiments import (
    DEV_ANSWER_TOKENS,
    Experiment,
    Outcome,
    run_experiment,
    student_folder,
    train_experiment,
)


@dataclass
class Recorder:
    """Executes pieces of a plan.

    ``state`` keeps unfinished work, ``results`` the records. ``keep`` names the students one of
    whose adapters is recorded too. ``stop_at``, a time of ``time.monotonic``, ends the work.
    ``tell`` gets a line for each piece.
    """

    plan: Plan
    state: Path
    results: Path
    keep: str = ""
    framework: Framework = field(default_factory=default_framework)
    micro_batch: int | None = None
    stop_at: float | None = None
    progress: bool = True
    tell: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.sources = Sources(self.plan, self.state)
        self._learned: dict[str, Learned] = {}

    def states(self, only: Sequence[str] = ()) -> list[State]:
        """The status of the pieces, or of those named by ``only``."""
        return [
            state_of(piece, self._inputs(piece), self.results, self.state)
            for piece in selected(pieces_of(self.plan), only)
        ]

    def run(self, only: Sequence[str] = ()) -> None:
        """Execute what is not done of the pieces, or of those named by ``only``.

        Raises :class:`ParameterError` before any work if a piece was recorded with other inputs,
        and :class:`OutOfTime` if time runs out; finished pieces are recorded.
        """
        self._check_kept()
        with alone(check_folder(self.state)):
            check_folder(self.results)
            states = self.states(only)
            self._refuse_changes(states)
            for student in {one.piece.student.name: one.piece.student for one in states}.values():
                if student.example.trained:
                    self.sources.check_prompts(student)
            for number, one in enumerate(states):
                if one.status != "done":
                    self._check_time(done=number, total=len(states))
                    self._execute(one.piece)
                if one.piece.evaluation is None:
                    self._keep_adapter(one.piece)

    def _inputs(self, piece: Piece) -> dict[str, Any]:
        return inputs_of(piece, self.sources, self.framework)

    def _check_kept(self) -> None:
        trained = [one.name for one in self.plan.students if one.example.trained]
        if self.keep and self.keep not in trained:
            raise ParameterError(
                f"--keep-adapter {self.keep}: no student of the plan that is trained has this "
                f"name; there are {', '.join(trained)}."
            )

    def _refuse_changes(self, states: Sequence[State]) -> None:
        changed = [one for one in states if one.status == "changed"]
        if not changed:
            return
        told = "".join(f"\n  {one.piece.name}: {'; '.join(one.changes[:5])}" for one in changed)
        raise ParameterError(
            f"{len(changed)} pieces were recorded with other inputs:{told}\n"
            "Their records are kept. To record them anew, give the student or the evaluation "
            "another name in the plan, or delete its files in "
            f"{self.results / changed[0].piece.folder}. To go on with the others, name them with "
            "--only."
        )

    def _check_time(self, *, done: int, total: int) -> None:
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            raise OutOfTime(
                f"The time limit was reached after {done} of {total} pieces. Run the same command "
                "again to continue."
            )

    def _execute(self, piece: Piece) -> None:
        inputs = self._inputs(piece)
        self.tell(f"{piece.name}: begins")
        with working(self.state, piece.name, inputs) as session:
            written = (
                self._train(piece, session)
                if piece.evaluation is None
                else self._answer(piece, session)
            )
        self.tell(f"{piece.name}: {written}")

    # --- Training ---

    def _experiment(self, piece: Piece) -> Experiment:
        """The experiment of a piece's student, asked as in training."""
        if not piece.recipe.trained:
            return Experiment(piece.recipe)
        name = piece.student.name
        if name not in self._learned:
            self._learned[name] = self.sources.learned(piece.student)
        learned = self._learned[name]
        return Experiment(
            piece.recipe, learned.train, learned.validation, left_out=learned.left_out
        )

    @property
    def _students(self) -> Path:
        return self.state / "students"

    def _train(self, piece: Piece, session: Session) -> str:
        experiment = self._experiment(piece)
        with peak_memory() as peak:
            trained = train_experiment(
                experiment, self._students, framework=self.framework,
                micro_batch=self.micro_batch, progress=self.progress, stop_at=self.stop_at,
            )  # fmt: skip
        assert trained is not None
        place, folder = trained.adapter.parent, self.results / piece.folder
        seconds = session.seconds
        about = read_json(place / MANIFEST)
        if session.number > 1:  # the trainer counts its last session only
            about["training"]["tokens_per_second"] = round(trained.tokens / seconds, 1)
        about["training"]["peak_memory"] = peak.bytes
        about |= self._about(piece, session, seconds) | {
            "traces": self.sources.traces_of(piece.student).description(),
            "adapter": weights_digest(trained.adapter),
            "state": place.name,
        }
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / LOSSES, folder / LOSSES)
        write_json(folder / MANIFEST, about)
        return f"last loss {trained.updates[-1].loss:.3f}, {seconds:.0f} s"

    def _about(self, piece: Piece, session: Session, seconds: float) -> dict[str, Any]:
        """What the manifests of both kinds of pieces have."""
        return {
            "plan": self.plan.name,
            "student": piece.student.name,
            "learns": piece.student.learns if piece.recipe.trained else None,
            "inputs": session.inputs,
            "seconds": seconds,
            "sessions": session.number,
        }

    def _keep_adapter(self, piece: Piece) -> None:
        """Record the adapter of the student to keep, with its first seed, if it is not there."""
        if piece.student.name != self.keep or piece.recipe.seed != piece.student.all_seeds[0]:
            return
        folder = self.results / piece.folder
        about = read_json(folder / MANIFEST)
        if "kept" in about and (folder / "adapter").is_dir():
            return
        adapter = self._students / about["state"] / "adapter"
        about["kept"] = keep_adapter(adapter, folder / "adapter", piece.recipe)
        write_json(folder / MANIFEST, about)
        self.tell(f"{piece.name}: the adapter is kept in {folder / 'adapter'}")

    # --- Evaluation ---

    def _answer(self, piece: Piece, session: Session) -> str:
        evaluation = piece.evaluation
        assert evaluation is not None
        dev = self.sources.dataset(evaluation)
        experiment = replace(
            self._experiment(piece), grammar=evaluation.grammar,
            schema_tokens=evaluation.schema_tokens,
        )  # fmt: skip
        if piece.recipe.trained:
            self._check_trained(piece, experiment)
        with peak_memory() as peak:
            outcome = run_experiment(
                experiment, dev, self._students, framework=self.framework, progress=self.progress,
                stop_at=self.stop_at,
            )  # fmt: skip
        seconds = session.seconds
        folder = self.results / piece.folder
        folder.mkdir(parents=True, exist_ok=True)
        about = manifest(
            recipe=piece.recipe.name,
            model=piece.recipe.base,
            base_weights=weights_record(base_folder(piece.recipe)),
            seed=piece.recipe.seed,
            dataset=dev.description(),
            wall_time_s=seconds,
            overridden=overridden(piece.recipe),
            framework=self.framework,
            adapter=weights_digest(outcome.trained.adapter) if outcome.trained else None,
            evaluation=evaluation.name,
            asked=_asked(evaluation, experiment),
            generation=_speed(outcome, peak.bytes),
            **self._about(piece, session, seconds),
            **score_counts(outcome.report),
            neighbours=self._on_neighbours(evaluation, outcome),
        )
        write_answers(folder / f"{evaluation.name}.json", outcome.predictions)
        write_json(self.results / piece.manifest, about)
        return f"{outcome.report.accuracy().share:.1%} right, {seconds:.0f} s"

    def _check_trained(self, piece: Piece, experiment: Experiment) -> None:
        """Train again if the adapter is gone; raise :class:`TrainingError` if it is another one."""
        about = read_json(self.results / piece.folder / MANIFEST)
        place = student_folder(experiment, self._students, framework=self.framework)
        if place.name != about["state"]:
            raise TrainingError(
                f"The weights of {piece.recipe.base}, the packages that compute, or this machine's "
                f"precision are not those that {piece.folder} was trained with, so its evaluations "
                f"would be of another student. Restore them, or delete "
                f"{self.results / piece.folder} to train it again."
            )
        if not (place / MANIFEST).is_file():
            self.tell(
                f"{piece.folder}: its adapter is not in {self._students}; it is trained again"
            )
        trained = train_experiment(
            experiment, self._students, framework=self.framework, micro_batch=self.micro_batch,
            progress=self.progress, stop_at=self.stop_at,
        )  # fmt: skip
        assert trained is not None
        if (found := weights_digest(trained.adapter)) != about["adapter"]:
            raise TrainingError(
                f"{piece.folder}: the adapter in {trained.adapter} has the SHA-256 "
                f"{found[:16]}..., the recorded one {about['adapter'][:16]}...: it is another "
                f"student. Delete {self.results / piece.folder} to record it anew."
            )

    def _on_neighbours(self, evaluation: Evaluation, outcome: Outcome) -> dict[str, Any] | None:
        """The score on neighbours of each database too, None if it is not asked for."""
        if not evaluation.neighbours:
            return None
        dev = self.sources.dataset(evaluation)
        made = build_neighbours(dev, count=evaluation.neighbours)
        report = score(read_predictions(outcome.predictions, dev), dev, neighbours=made)
        return {"count": evaluation.neighbours, **score_counts(report)}


def _asked(evaluation: Evaluation, experiment: Experiment) -> dict[str, Any]:
    """How questions were chosen and asked, with what it takes to load them again."""
    return {
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "questions": evaluation.questions,
        "limit": evaluation.limit,
        "style": experiment.recipe.style,
        "schema_tokens": experiment.schema_asked,
        "grammar": experiment.grammar,
        "max_tokens": DEV_ANSWER_TOKENS,
    }


def _speed(outcome: Outcome, peak: int) -> dict[str, Any]:
    """Tokens and seconds of generation, from the predictions, and the peak memory in bytes."""
    fix = "Delete the file to answer again."
    answers = [one for _, one in read_json_lines(outcome.predictions, fix=fix)]
    tokens = sum(one["n_output_tokens"] for one in answers)
    seconds = sum(one["latency_s"] for one in answers)
    return {
        "seconds": round(seconds, 2),
        "prompt_tokens": sum(one["n_prompt_tokens"] for one in answers),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "peak_memory": peak,
    }

"""The data of a plan: its files of traces, its datasets, and what each student learns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import ParameterError
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.prompts import style_of
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.runs.controls.sets import gold_traces
from distill_sql.runs.recording.plan import Evaluation, Plan, PlannedStudent
from distill_sql.teacher.traces import Trace, read_traces
from distill_sql.training.experiments import sample
from distill_sql.training.splits import TrainingSet, training_set


@dataclass(frozen=True)
class TraceFile:
    """A file of traces with its hash; manifests do not contain its folder."""

    name: str
    sha256: str
    traces: tuple[Trace, ...]

    def description(self) -> dict[str, Any]:
        """The file's name, hash and counts, for records."""
        return {
            "file": self.name,
            "sha256": self.sha256,
            "traces": len(self.traces),
            "direct": sum(trace.mode == "direct" for trace in self.traces),
            "databases": len({trace.db_id for trace in self.traces}),
            "teachers": sorted({trace.model for trace in self.traces}),
        }


@dataclass(frozen=True)
class Learned:
    """What a student learns: traces for training and validation, and counts of the others."""

    train: tuple[Trace, ...]
    validation: tuple[Trace, ...]
    left_out: Mapping[str, int]


class Sources:
    """The data of a plan; everything is read once.

    A file that the plan names is looked for in the plan's folder, then in ``state``; a file of
    questions also in the folder that has the dataset's.
    """

    def __init__(self, plan: Plan, state: Path) -> None:
        self.plan, self._state = plan, state
        self._files: dict[Path, TraceFile] = {}
        self._datasets: dict[Evaluation, Dataset] = {}
        self._prepared: dict[tuple[str, str, int], TrainingSet] = {}

    def traces_of(self, student: PlannedStudent) -> TraceFile:
        """The file of traces that a student learns from."""
        path = self._find(student.traces or self.plan.traces, "traces")
        if path not in self._files:
            traces = tuple(read_traces(path))
            if not traces:
                raise ParameterError(f"{path} has no traces. Make them again.")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self._files[path] = TraceFile(path.name, digest, traces)
        return self._files[path]

    def dataset(self, evaluation: Evaluation) -> Dataset:
        """The questions of an evaluation whose databases are present."""
        # The same questions are the same dataset, however they are asked.
        key = replace(evaluation, name="", grammar=False, neighbours=0, schema_tokens=None)
        if key not in self._datasets:
            path = self._find(key.path, "the dataset") if key.path else None
            whole = load_dataset(key.dataset, split=key.split, path=path)
            if key.questions:
                file = self._find(key.questions, "questions", whole.root.resolve().parent)
                whole = load_dataset(key.dataset, split=key.split, path=path, questions=file)
            self._datasets[key] = whole.present().limit(key.limit or None)
        return self._datasets[key]

    @cached_property
    def train(self) -> Dataset:
        """The training questions whose gold queries students may learn."""
        path = self.plan.train_path
        return load_dataset(
            self.plan.train, split="train", path=self._find(path, "the dataset") if path else None
        )

    def _find(self, name: str, what: str, *more: Path) -> Path:
        folders = (self.plan.folder, self._state, *more)
        for folder in folders:
            if (path := folder / Path(name).expanduser()).exists():
                return path
        looked = ", ".join(map(str, folders))
        raise ParameterError(
            f"Plan {self.plan.name}: {name} ({what}) was looked for in {looked} and is in none of "
            "them. Correct its name in the plan, or put it there."
        )

    def check_prompts(self, student: PlannedStudent) -> None:
        """Raise :class:`ParameterError` if a student's prompts differ from those of its traces."""
        first = self.traces_of(student).traces[0]
        recipe = student.example
        for name, learned in (
            ("style", style_of(first.messages)),
            ("schema_tokens", first.schema_tokens),
        ):
            if (asked := getattr(recipe, name)) != learned:
                raise ParameterError(
                    f"Student {student.name}: its traces have prompts with {name} = {learned!r}, "
                    f"and its recipe {asked!r}. Give it set = {{{name} = {learned!r}}}."
                )

    def learned(self, student: PlannedStudent) -> Learned:
        """What a student learns, of the same size for all students of its comparison.

        Near duplicates and traces that are too long are left out, and whole databases are held out
        for validation; students of a comparison hold out the same ones. If one of them learns gold
        queries, all learn from the same questions.
        """
        members = self.plan.compared(student)
        recipe = student.example
        tokenizer = load_tokenizer(base_folder(recipe))
        prepared = {one.name: self._training_set(one, recipe, tokenizer) for one in members}
        held = {trace.db_id for one in prepared.values() for trace in one.validation}
        pools = {one.name: self._pool(one, prepared[one.name], held, tokenizer) for one in members}
        gold = [{t.question_id for t in pools[m.name]} for m in members if m.learns == "gold"]
        if gold:
            shared = set.intersection(*gold)
            pools = {
                name: [t for t in pool if t.question_id in shared] for name, pool in pools.items()
            }
        count = min(
            min(one.amount or len(pools[one.name]), len(pools[one.name])) for one in members
        )
        if not count:
            raise ParameterError(
                f"Student {student.name} has nothing to learn: none of its traces is on a training "
                f"database and within {recipe.length} tokens. Give other traces."
            )
        mine = prepared[student.name]
        validation, limit = mine.validation, self.plan.validation
        if limit is not None:
            validation = tuple(sample(validation, limit)) if limit else ()
        return Learned(tuple(sample(pools[student.name], count)), validation, mine.left_out)

    def _training_set(
        self, student: PlannedStudent, recipe: Recipe, tokenizer: ChatTokenizer
    ) -> TrainingSet:
        file = self.traces_of(student)
        key = file.sha256, recipe.base, recipe.length
        if key not in self._prepared:
            self._prepared[key] = training_set(file.traces, tokenizer, max_tokens=recipe.length)
        return self._prepared[key]

    def _pool(
        self,
        student: PlannedStudent,
        prepared: TrainingSet,
        held: set[str],
        tokenizer: ChatTokenizer,
    ) -> list[Trace]:
        """All that a student could learn, in the order of its traces."""
        recipe = student.example
        kept = [
            trace
            for trace in prepared.train
            if trace.db_id not in held and recipe.modes in ("both", trace.mode)
        ]
        if student.learns == "traces":
            return kept
        gold = self._gold(kept, recipe)
        alone = training_set(gold, tokenizer, max_tokens=recipe.length, validation_share=0)
        return list(alone.train)

    def _gold(self, traces: Iterable[Trace], recipe: Recipe) -> list[Trace]:
        """The gold queries of the traces' questions."""
        examples = {(e.question_id, e.db_id, e.question): e for e in self.train}
        asked = dict.fromkeys((one.question_id, one.db_id, one.question) for one in traces)
        if unknown := [key for key in asked if key not in examples]:
            number, db_id, question = unknown[0]
            raise ParameterError(
                f"Plan {self.plan.name}: trace {number} on {db_id} answers {question!r}, which is "
                f"not a training question of {self.train.name}. Name the traces' dataset: "
                'train = "...".'
            )
        return gold_traces(
            [examples[key] for key in asked], self.train, style=recipe.style,
            schema_tokens=recipe.schema_tokens,
        )  # fmt: skip

"""What the chapters that train students share: data, recipes, and accuracy by condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_sql.book import survey
from distill_sql.data.datasets import Dataset, has_split, load_dataset, reported_split
from distill_sql.data.neighbours import build_neighbours
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.prompting.prompts import style_of
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.scoring import Judge, Prediction, ScoreReport, read_predictions, score, score_with
from distill_sql.scoring.baseline import NearestQuestion
from distill_sql.scoring.breakdown import ALL, group_by, side_by_side
from distill_sql.scoring.gains import Gain, gain
from distill_sql.teacher.traces import Trace, chapter_traces
from distill_sql.training.experiments import FOLDER, Experiment, Outcome, run_experiments, sample
from distill_sql.training.splits import TrainingSet, training_set

#: The conditions under which every model is scored; the third is :attr:`Conditions.beside`.
ASKED, BARE = "as asked", "without synonyms"
#: The model without training: the query of the most similar training question.
NEAREST = "nearest question"
NO_TRACES = (
    "There are no traces of this dataset: the teacher chapter made none, and no file was given. So "
    "no student is trained here, and no loss or accuracy is shown. The parameter `traces` names a "
    "file of traces; with it, this chapter trains and scores its students."
)


@dataclass(frozen=True)
class Setup:
    """The data, traces and recipes of a chapter that trains students.

    ``overrides`` replace values of every recipe (None keeps a value). ``questions`` limits the dev
    questions, 0 for all. ``folder`` keeps the students. ``micro_batch`` is how many examples a
    device holds at once, None for the recipe's batch. ``file`` is the name of the file of traces,
    empty for the teacher chapter's.
    """

    dataset: str
    traces: tuple[Trace, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    questions: int = 0
    folder: Path = FOLDER
    micro_batch: int | None = None
    file: str = ""

    @property
    def is_pocket(self) -> bool:
        return self.dataset == "pocket"

    @cached_property
    def whole(self) -> Dataset:
        """The split that is reported on, with questions whose database is missing."""
        return load_dataset(self.dataset, split=reported_split(self.dataset))

    @cached_property
    def dev(self) -> Dataset:
        """The questions that students answer."""
        return self.whole.present().limit(self.questions or None)

    @cached_property
    def train(self) -> Dataset | None:
        """The training questions, if the dataset has any."""
        found = has_split(self.dataset, "train")
        return load_dataset(self.dataset, split="train") if found else None

    @property
    def train_or_dev(self) -> Dataset:
        """The training questions; those of the reported split if there are none."""
        return self.whole if self.train is None else self.train

    @property
    def traces_used(self) -> str | int:
        """The name of the file of traces; the number of the teacher chapter's traces."""
        return self.file or len(self.traces)

    @cached_property
    def groups(self) -> dict[int, str]:
        """The group of each dev question: its source on pocket, else its hardness."""
        return group_by("source" if self.is_pocket else "hardness", self.dev)

    @property
    def left_out(self) -> str:
        """A sentence about databases that are missing; empty if none is."""
        return survey.left_out(self.whole)

    @property
    def questions_in_words(self) -> str:
        """The dev questions and their databases, in words of a caption."""
        traced = set(self.dev.db_ids) & {trace.db_id for trace in self.traces}
        return (
            f"{len(self.dev):,} dev questions of {self.dev.name} about {len(self.dev.db_ids)} "
            f"databases ({f'{len(traced)} of them have' if traced else 'none has'} traces)"
        )

    def recipe(self, name: str, **changes: Any) -> Recipe:
        """The recipe called ``name`` with the chapter's overrides and ``changes``."""
        return recipe_for(name, **{**self.overrides, **changes})

    def material(self, recipe: Recipe, *, amount: int = 0) -> Material:
        """What students of ``recipe`` learn from: ``amount`` of the traces, 0 for all."""
        tokenizer = load_tokenizer(base_folder(recipe))
        prepared = training_set(self.traces, tokenizer, max_tokens=recipe.length)
        return Material(self.traces, prepared, tuple(sample(prepared.train, amount)), tokenizer)

    def run(self, plan: Iterable[Experiment]) -> list[Outcome]:
        """Train what is not trained yet, and answer and score the dev questions."""
        return run_experiments(plan, self.dev, self.folder, micro_batch=self.micro_batch)


@dataclass(frozen=True)
class Material:
    """The traces, how they were prepared for training, and those that are learned."""

    traces: tuple[Trace, ...]
    prepared: TrainingSet
    learned: tuple[Trace, ...]
    tokenizer: ChatTokenizer

    @property
    def databases(self) -> int:
        """The number of databases that the traces are about."""
        return len({trace.db_id for trace in self.traces})

    @property
    def held_out(self) -> int:
        """The number of validation databases."""
        return len({trace.db_id for trace in self.prepared.validation})

    def experiment(
        self, recipe: Recipe, *, count: int = 0, validate: bool = True, synonyms: bool = True
    ) -> Experiment:
        """A student of ``recipe`` that learns ``count`` of the traces, 0 for all."""
        return Experiment(
            recipe,
            tuple(sample(self.learned, count)),
            self.prepared.validation if validate else (),
            left_out=self.prepared.left_out,
            synonyms=synonyms,
        )


def set_up(
    dataset: str,
    *,
    traces: str = "",
    questions: int = 0,
    students: str = "",
    micro_batch: int = 0,
    **overrides: Any,
) -> Setup:
    """The setup for a chapter's parameters; empty values and zeros stand for the defaults.

    Students are asked as their traces were: in the same prompt style, with as much of the schema.
    """
    given = tuple(chapter_traces(traces, dataset))
    if given:
        overrides |= {
            "style": style_of(given[0].messages),
            "schema_tokens": given[0].schema_tokens,
        }
    return Setup(
        dataset,
        given,
        overrides,
        questions=questions,
        folder=Path(students or FOLDER),
        micro_batch=micro_batch or None,
        file=Path(traces).name,
    )


@dataclass(frozen=True)
class Conditions:
    """The reports of models under several conditions.

    ``models`` has the reports of each model's runs by condition. Answers of the condition
    ``beside`` are right only if they are right on every neighbour in ``suite`` as well.
    """

    dev: Dataset
    groups: Mapping[int, str]
    models: Mapping[str, Mapping[str, Sequence[ScoreReport]]]
    beside: str
    suite: Mapping[str, Sequence[Path]]

    @property
    def names(self) -> list[str]:
        """The conditions, in the order of the table's columns."""
        return list(next(iter(self.models.values())))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of :func:`~distill_sql.scoring.breakdown.side_by_side`."""
        return side_by_side(self.models, self.groups)

    def record(self, model: str, group: str = ALL) -> dict[str, Any]:
        """The record of one model and group."""
        return next(one for one in self.records if one["model"] == model and one["group"] == group)

    def gain(self, before: str, after: str) -> Gain:
        """The gain of one model over another on the database and its neighbours."""
        return gain(
            self.models[before][self.beside],
            self.models[after][self.beside],
            self.dev,
            neighbours=self.suite,
        )


def conditions(
    setup: Setup,
    runs: Mapping[str, Sequence[Outcome]],
    bare: Mapping[str, Sequence[Outcome]],
    *,
    neighbours: int,
    train: Dataset | None,
) -> Conditions:
    """Score the runs of each model on neighbours too, and :data:`NEAREST` under all conditions.

    ``bare`` has the runs without synonyms. Without training questions there is no nearest one.
    """
    suite = build_neighbours(setup.dev, count=neighbours)
    beside = f"also on {neighbours} neighbours"
    models: dict[str, dict[str, Sequence[ScoreReport]]] = {}
    with Judge(setup.dev, neighbours=suite) as judge:
        for name, outcomes in runs.items():
            models[name] = {ASKED: [one.report for one in outcomes]}
            if bare.get(name):
                models[name][BARE] = [one.report for one in bare[name]]
            models[name][beside] = [
                score_with(judge, read_predictions(one.predictions, setup.dev)) for one in outcomes
            ]
        if train is not None:
            floor = nearest(train, setup.dev, synonyms=True)
            models[NEAREST] = {ASKED: [score(floor, setup.dev)]}
            if setup.is_pocket:
                models[NEAREST][BARE] = [
                    score(nearest(train, setup.dev, synonyms=False), setup.dev)
                ]
            models[NEAREST][beside] = [score_with(judge, floor)]
    return Conditions(setup.dev, setup.groups, models, beside, suite)


def nearest(train: Dataset, dev: Dataset, *, synonyms: bool) -> list[Prediction]:
    """The answers of :class:`~distill_sql.scoring.baseline.NearestQuestion`."""
    if not synonyms:
        train, dev = train.without_synonyms(), dev.without_synonyms()
    return NearestQuestion(train).predict(dev)

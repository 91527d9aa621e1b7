"""Experiments: a student trained by its recipe, asked the dev questions, scored.

A student has a folder of its own, named after all that decides what it is, and in it a prediction
file for every way it was asked, named after all that decides its answers
(:mod:`distill_sql.training.identity`). What is complete is read back, and what was cut short goes
on. So chapters that show the same student share it, and one that is asked in several ways is
trained once.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.files import write_json
from distill_sql.models.folders import parameters
from distill_sql.models.generation import generate
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe, overridden
from distill_sql.models.students import default_framework, open_student
from distill_sql.provenance import manifest
from distill_sql.scoring import ScoreReport, read_predictions, score
from distill_sql.settings import work_folder
from distill_sql.teacher.traces import Trace
from distill_sql.training.identity import asked_digest, student_digest
from distill_sql.training.outcome import Trained
from distill_sql.training.student import read_trained, train_student

#: Where chapters keep their students.
FOLDER = work_folder() / "students"
#: The longest answer asked for, in tokens.
DEV_ANSWER_TOKENS = 160


@dataclass(frozen=True)
class Experiment:
    """A recipe, what it learns from (nothing for a base row), and how it is asked then.

    ``validation`` and ``left_out`` are those of a
    :class:`~distill_sql.training.splits.TrainingSet`. Asked by ``grammar``, an answer can only be a
    query on its database. ``schema_tokens`` is the most that a prompt's schema takes, None for what
    the student was trained with. Without ``synonyms`` the schemas list none.
    """

    recipe: Recipe
    traces: tuple[Trace, ...] = ()
    validation: tuple[Trace, ...] = ()
    grammar: bool = False
    schema_tokens: int | None = None
    synonyms: bool = True
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def schema_asked(self) -> int:
        """The most tokens that a prompt's schema takes when the student is asked, 0 for all."""
        return self.recipe.schema_tokens if self.schema_tokens is None else self.schema_tokens

    @property
    def way(self) -> str:
        """How the student is asked, in words of a file's name; empty for the usual way."""
        words = ["grammar"] if self.grammar else []
        if self.schema_asked != self.recipe.schema_tokens:
            words.append(f"schema-{self.schema_asked}")
        return ".".join([*words, *([] if self.synonyms else ["no-synonyms"])])


@dataclass(frozen=True)
class Outcome:
    """A finished experiment; ``trained`` is None for a base row."""

    experiment: Experiment
    trained: Trained | None
    predictions: Path
    report: ScoreReport


def run_experiment(
    experiment: Experiment,
    dev: Dataset,
    folder: Path = FOLDER,
    *,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    progress: bool = True,
) -> Outcome:
    """Train, ask and score one student in its place under ``folder``.

    ``micro_batch`` is how many examples a device holds at once while it trains. Raises what
    :func:`~distill_sql.training.student.train_student` raises.
    """
    trained, predictions = _answered(
        experiment, dev, folder, framework or default_framework(), micro_batch, progress
    )
    return Outcome(experiment, trained, predictions, score(read_predictions(predictions, dev), dev))


def _answered(
    experiment: Experiment,
    dev: Dataset,
    folder: Path,
    framework: Framework,
    micro_batch: int | None,
    progress: bool,
) -> tuple[Trained | None, Path]:
    """The student, trained and asked if need be, and its prediction file."""
    recipe = experiment.recipe
    place = folder / _student(experiment, framework)
    trained = None
    if recipe.trained and (place / "manifest.json").exists():
        trained = read_trained(place)
    elif recipe.trained:
        trained = train_student(
            recipe, experiment.traces, place, validation=experiment.validation,
            left_out=experiment.left_out, framework=framework, micro_batch=micro_batch,
            progress=progress,
        )  # fmt: skip
    asked = dev if experiment.synonyms else dev.without_synonyms()
    digest = asked_digest(
        recipe, asked, schema_tokens=experiment.schema_asked, grammar=experiment.grammar,
        max_tokens=DEV_ANSWER_TOKENS,
    )  # fmt: skip
    name = f"{'.'.join(filter(None, ['predictions', experiment.way]))}-{digest}"
    predictions, record = place / f"{name}.jsonl", place / f"{name}.manifest.json"
    if not record.exists():
        began = time.monotonic()
        student = open_student(
            recipe, adapter=trained.adapter if trained else None, framework=framework
        )
        generate(
            student, asked, predictions, model=place.name, style=recipe.style,
            max_tokens=DEV_ANSWER_TOKENS, grammar=experiment.grammar,
            schema_tokens=experiment.schema_asked, progress=progress,
        )  # fmt: skip
        write_json(
            record,
            manifest(
                recipe=recipe.name,
                model=recipe.base,
                seed=recipe.seed,
                dataset=dev.description(),
                wall_time_s=time.monotonic() - began,
                overridden=overridden(recipe),
                framework=framework,
                traces=len(experiment.traces),
                way=experiment.way,
                grammar=experiment.grammar,
                schema_tokens=experiment.schema_asked,
                synonyms=experiment.synonyms,
                max_tokens=DEV_ANSWER_TOKENS,
            ),
        )
    return trained, predictions


def run_experiments(
    experiments: Iterable[Experiment],
    dev: Dataset,
    folder: Path = FOLDER,
    *,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    processes: int | None = None,
) -> list[Outcome]:
    """Outcomes in the order given; on a CPU several students are trained side by side.

    A small model does not keep several cores busy, and several small models do. ``processes`` is
    how many, one per core unless an accelerator is there.
    """
    plan = list(experiments)
    framework = framework or default_framework()
    if processes is None:
        processes = 1 if framework == "mlx" or _has_gpu() else cores()
    # One student asked in several ways is one piece of work: it is trained once.
    students: dict[str, list[Experiment]] = {}
    for one in plan:
        students.setdefault(_student(one, framework), []).append(one)
    workers = max(1, min(processes, len(students)))
    if workers > 1:
        groups = list(students.values())
        _side_by_side(groups, dev, folder, framework, micro_batch, workers)
    # A chapter's page is no place for a progress bar.
    progress = workers == 1 and sys.stderr.isatty()
    return [
        run_experiment(
            one, dev, folder, framework=framework, micro_batch=micro_batch, progress=progress
        )
        for one in plan
    ]


def sample(traces: Sequence[Trace], count: int, *, seed: int = 42) -> list[Trace]:
    """``count`` of the traces, all for 0; of two counts the smaller sample is part of the other."""
    if not 0 < count < len(traces):
        return list(traces)
    return random.Random(seed).sample(traces, len(traces))[:count]


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _student(experiment: Experiment, framework: Framework) -> str:
    """The name of a student's folder."""
    recipe = experiment.recipe
    digest = student_digest(recipe, experiment.traces, experiment.validation, framework)
    return f"{recipe.name}-{digest}"


def _side_by_side(
    groups: Sequence[Sequence[Experiment]],
    dev: Dataset,
    folder: Path,
    framework: Framework,
    micro_batch: int | None,
    workers: int,
) -> None:
    # Threads are fixed before torch is loaded, so processes are started afresh.
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores() // workers)
    with ProcessPoolExecutor(workers, context, _begin, (threads,)) as pool:
        # The longest first, so that none is left to run alone at the end.
        longest = sorted(groups, key=lambda group: _work(group, len(dev)), reverse=True)
        futures = [
            pool.submit(_finish, group, dev, folder, framework, micro_batch) for group in longest
        ]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit="student"):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(group: Sequence[Experiment], questions: int) -> float:
    """How long a student takes, in no unit: an answer takes about half as long as a trace."""
    recipe, traces = group[0].recipe, len(group[0].traces)
    return parameters(recipe) * (traces * recipe.epochs + questions * len(group) / 2)


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _finish(
    group: Sequence[Experiment],
    dev: Dataset,
    folder: Path,
    framework: Framework,
    micro_batch: int | None,
) -> None:
    for one in group:
        _answered(one, dev, folder, framework, micro_batch, progress=False)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())

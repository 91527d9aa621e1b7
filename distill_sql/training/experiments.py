"""Experiments: train a student by its recipe, answer the dev questions, score the answers.

A student has its own folder, named after a digest of everything that determines it. The folder has
one prediction file per way of prompting, named after a digest of everything that determines the
answers (:mod:`distill_sql.training.identity`). Complete files are read back, and interrupted work
is resumed. So chapters share their students, and a student that is prompted in several ways is
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
from typing import Any

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.files import write_json
from distill_sql.models.folders import base_folder, parameters
from distill_sql.models.generation import generate
from distill_sql.models.gguf_file import weights_record
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
#: Tokens after which an answer to a dev question is cut off.
DEV_ANSWER_TOKENS = 160


@dataclass(frozen=True)
class Experiment:
    """A recipe, its training traces (none for a base row), and how the student is prompted.

    ``validation`` and ``left_out`` are those of a
    :class:`~distill_sql.training.splits.TrainingSet`. With ``grammar``, decoding is constrained to
    queries on the question's database. ``schema_tokens`` is the token limit of a prompt's schema,
    None for that of training. Without ``synonyms``, schemas do not list them.
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
        """The token limit of a prompt's schema in evaluation, 0 for no limit."""
        return self.recipe.schema_tokens if self.schema_tokens is None else self.schema_tokens

    @property
    def way(self) -> str:
        """The part of a file name for the way of prompting; empty for the default."""
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
    stop_at: float | None = None,
) -> Outcome:
    """Train, evaluate and score one student in its folder under ``folder``.

    ``micro_batch`` is the number of examples that a device holds at once in training. From
    ``stop_at`` on, a time of ``time.monotonic``, unfinished work is saved and
    :class:`~distill_sql.errors.OutOfTime` is raised. Raises what
    :func:`~distill_sql.training.student.train_student` raises.
    """
    trained, predictions = _answered(
        experiment, dev, folder, framework or default_framework(), micro_batch, progress, stop_at
    )
    return Outcome(experiment, trained, predictions, score(read_predictions(predictions, dev), dev))


def _answered(
    experiment: Experiment,
    dev: Dataset,
    folder: Path,
    framework: Framework,
    micro_batch: int | None,
    progress: bool,
    stop_at: float | None = None,
) -> tuple[Trained | None, Path]:
    """The result of training and the prediction file, computed if they are not there yet."""
    place = student_folder(experiment, folder, framework=framework)
    trained = train_experiment(
        experiment, folder, framework=framework, micro_batch=micro_batch, progress=progress,
        stop_at=stop_at,
    )  # fmt: skip
    asked = dev if experiment.synonyms else dev.without_synonyms()
    digest = asked_digest(
        experiment.recipe, asked, schema_tokens=experiment.schema_asked,
        grammar=experiment.grammar, max_tokens=DEV_ANSWER_TOKENS,
    )  # fmt: skip
    name = f"{'.'.join(filter(None, ['predictions', experiment.way]))}-{digest}"
    predictions, record = place / f"{name}.jsonl", place / f"{name}.manifest.json"
    if not record.exists():
        began = time.monotonic()
        student = open_student(
            experiment.recipe, adapter=trained.adapter if trained else None, framework=framework
        )
        generate(
            student, asked, predictions, model=place.name, style=experiment.recipe.style,
            max_tokens=DEV_ANSWER_TOKENS, grammar=experiment.grammar,
            schema_tokens=experiment.schema_asked, progress=progress, stop_at=stop_at,
        )  # fmt: skip
        write_json(record, _record(experiment, dev, framework, time.monotonic() - began))
    return trained, predictions


def train_experiment(
    experiment: Experiment,
    folder: Path = FOLDER,
    *,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    progress: bool = True,
    stop_at: float | None = None,
) -> Trained | None:
    """Train the student of an experiment in its folder under ``folder``; None for a base row.

    The options are those of :func:`run_experiment`.
    """
    if not experiment.recipe.trained:
        return None
    framework = framework or default_framework()
    place = student_folder(experiment, folder, framework=framework)
    if (place / "manifest.json").exists():
        return read_trained(place)
    return train_student(
        experiment.recipe, experiment.traces, place, validation=experiment.validation,
        left_out=experiment.left_out, framework=framework, micro_batch=micro_batch,
        progress=progress, stop_at=stop_at,
    )  # fmt: skip


def student_folder(
    experiment: Experiment, folder: Path = FOLDER, *, framework: Framework | None = None
) -> Path:
    """The folder under ``folder`` of an experiment's student, named after what determines it."""
    return folder / _student(experiment, framework or default_framework())


def _record(
    experiment: Experiment, dev: Dataset, framework: Framework, seconds: float
) -> dict[str, Any]:
    """The record of a prediction file."""
    recipe = experiment.recipe
    return manifest(
        recipe=recipe.name,
        model=recipe.base,
        base_weights=weights_record(base_folder(recipe)),
        seed=recipe.seed,
        dataset=dev.description(),
        wall_time_s=seconds,
        overridden=overridden(recipe),
        framework=framework,
        traces=len(experiment.traces),
        way=experiment.way,
        grammar=experiment.grammar,
        schema_tokens=experiment.schema_asked,
        synonyms=experiment.synonyms,
        max_tokens=DEV_ANSWER_TOKENS,
    )


def run_experiments(
    experiments: Iterable[Experiment],
    dev: Dataset,
    folder: Path = FOLDER,
    *,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    processes: int | None = None,
) -> list[Outcome]:
    """Outcomes in the given order; on a CPU several students are trained in parallel.

    One small model does not use several cores; several small models do. The default for
    ``processes`` is one per core, or a single one with an accelerator.
    """
    plan = list(experiments)
    framework = framework or default_framework()
    if processes is None:
        processes = 1 if framework == "mlx" or _has_gpu() else cores()
    # A student that is prompted in several ways is one job, so that it is trained once.
    students: dict[str, list[Experiment]] = {}
    for one in plan:
        students.setdefault(_student(one, framework), []).append(one)
    workers = max(1, min(processes, len(students)))
    if workers > 1:
        groups = list(students.values())
        _side_by_side(groups, dev, folder, framework, micro_batch, workers)
    # Pages of the book show no progress bar.
    progress = workers == 1 and sys.stderr.isatty()
    return [
        run_experiment(
            one, dev, folder, framework=framework, micro_batch=micro_batch, progress=progress
        )
        for one in plan
    ]


def sample(traces: Sequence[Trace], count: int, *, seed: int = 42) -> list[Trace]:
    """``count`` random traces, all for 0. Samples are nested: a smaller one is part of a larger."""
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
    # The number of threads must be set before torch is loaded, so processes are spawned.
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores() // workers)
    with ProcessPoolExecutor(workers, context, _begin, (threads,)) as pool:
        # The longest jobs start first, so that none runs alone at the end.
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
    """The relative time of a job; an answer takes about half as long as a training trace."""
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

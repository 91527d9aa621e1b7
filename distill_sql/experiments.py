"""Experiments: a student trained by its recipe, asked the dev questions, scored.

Each has a folder of its own, named after all that decides its result; one that is complete there is
read back, and one that was cut short goes on. So chapters that show the same student share it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tqdm import tqdm

from distill_sql.datasets import Dataset
from distill_sql.files import write_json
from distill_sql.provenance import manifest
from distill_sql.recipes import Recipe, overridden
from distill_sql.scoring import ScoreReport, read_predictions, score
from distill_sql.students import (
    Framework,
    Trained,
    default_framework,
    generate,
    open_student,
    parameters,
    train_student,
)
from distill_sql.students.models import base_folder
from distill_sql.traces import Trace

#: Where chapters keep their students.
FOLDER = Path("book/.work/students")
#: The longest answer asked for, in tokens.
MAX_TOKENS = 160


@dataclass(frozen=True)
class Experiment:
    """A recipe, what it learns from (nothing for a base row), and whether it then answers by the
    schema's grammar."""

    recipe: Recipe
    traces: tuple[Trace, ...] = ()
    grammar: bool = False


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
    folder: Path,
    *,
    framework: Framework | None = None,
    progress: bool = True,
) -> Outcome:
    """Train, ask and score one student in its place under ``folder``.

    Two that differ in the grammar alone are one student, trained once.

    Raises what :func:`~distill_sql.students.train_student` raises.
    """
    recipe = experiment.recipe
    framework = framework or default_framework()
    place = folder / f"{recipe.name}-{_digest(experiment, dev, framework)}"
    trained = None
    if recipe.trained:
        trained = train_student(
            recipe, experiment.traces, place, framework=framework, progress=progress
        )
    name = "predictions.grammar" if experiment.grammar else "predictions"
    predictions = place / f"{name}.jsonl"
    record = place / f"{name}.manifest.json"
    if not record.exists():
        began = time.monotonic()
        student = open_student(
            recipe, adapter=trained.adapter if trained else None, framework=framework
        )
        generate(
            student,
            dev,
            predictions,
            model=place.name,
            style=recipe.style,
            max_tokens=MAX_TOKENS,
            grammar=experiment.grammar,
            progress=progress,
        )
        write_json(
            record,
            manifest(
                recipe=recipe.name,
                model=recipe.base,
                seed=recipe.seed,
                dataset=dev,
                wall_time_s=time.monotonic() - began,
                overridden=overridden(recipe),
                framework=framework,
                grammar=experiment.grammar,
            ),
        )
    report = score(read_predictions(predictions, dev), dev)
    return Outcome(experiment, trained, predictions, report)


def run_experiments(
    experiments: Iterable[Experiment],
    dev: Dataset,
    folder: Path,
    *,
    framework: Framework | None = None,
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
    workers = max(1, min(processes, len(plan)))
    if workers > 1:
        _side_by_side(plan, dev, folder, framework, workers)
    # A chapter's page is no place for a progress bar.
    progress = workers == 1 and sys.stderr.isatty()
    return [
        run_experiment(one, dev, folder, framework=framework, progress=progress) for one in plan
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


def _side_by_side(
    plan: Sequence[Experiment], dev: Dataset, folder: Path, framework: Framework, workers: int
) -> None:
    # Threads are fixed before torch is loaded, so processes are started afresh.
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores() // workers)
    with ProcessPoolExecutor(workers, context, _begin, (threads,)) as pool:
        # The longest first, so that none is left to run alone at the end.
        longest = sorted(plan, key=_work, reverse=True)
        futures = [pool.submit(_finish, one, dev, folder, framework) for one in longest]
        try:
            for future in tqdm(as_completed(futures), total=len(plan), unit="student"):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(experiment: Experiment) -> int:
    return parameters(experiment.recipe) * len(experiment.traces) * experiment.recipe.epochs


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _finish(experiment: Experiment, dev: Dataset, folder: Path, framework: Framework) -> None:
    run_experiment(experiment, dev, folder, framework=framework, progress=False)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _digest(experiment: Experiment, dev: Dataset, framework: Framework) -> str:
    everything = [
        asdict(experiment.recipe),
        [(one.messages, one.completion) for one in experiment.traces],
        dev.fingerprint,
        framework,
        _model_digest(base_folder(experiment.recipe)),
        _code_digest(),
    ]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:12]


@cache
def _model_digest(folder: Path) -> str:
    """Digest of a model's files; of weights too large to read twice, names and sizes only."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        if path.stat().st_size < 2**26:
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _code_digest() -> str:
    """Digest of the code that trains and asks: changed, it makes other students."""
    package = Path(__file__).parent
    files = [*sorted((package / "students").glob("*.py")), package / "prompts.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

"""Students: train one from traces with a recipe, load it, let it answer.

:func:`train_student` and :func:`open_student` choose the back end and leave a complete record;
:func:`generate` writes predictions.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.prompts import style_of
from distill_sql.provenance import manifest
from distill_sql.recipes import Recipe, overridden
from distill_sql.students.generation import Answer, answers, generate
from distill_sql.students.memory import check_memory, estimate
from distill_sql.students.models import base_folder, check_adapter, parameters
from distill_sql.students.protocol import Framework, Student, Trained, Update, learning_rate
from distill_sql.students.rows import Row, Rows, make_row, make_rows
from distill_sql.tokenizer import load_tokenizer
from distill_sql.traces import Trace

__all__ = [
    "Answer",
    "Framework",
    "Row",
    "Rows",
    "Student",
    "Trained",
    "Update",
    "answers",
    "default_framework",
    "estimate",
    "generate",
    "learning_rate",
    "make_row",
    "make_rows",
    "open_student",
    "parameters",
    "read_trained",
    "train_student",
]


def default_framework() -> Framework:
    """``mlx`` on a Mac with Apple silicon that has mlx-lm, ``torch`` anywhere else."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return "mlx" if apple and find_spec("mlx_lm") else "torch"


def _backend(framework: Framework | None) -> Any:
    framework = framework or default_framework()
    needs = {"torch": ("torch", "transformers", "peft", "trl"), "mlx": ("mlx", "mlx_lm")}
    if missing := [name for name in needs[framework] if find_spec(name) is None]:
        extra = "mlx" if framework == "mlx" else "train"
        raise MissingDependencyError(
            f"The {framework} back end needs {', '.join(missing)}: "
            f"pip install 'distill-sql[{extra}]'."
        )
    return import_module(f"distill_sql.students.{framework}_backend")


def open_student(
    recipe: Recipe, *, adapter: Path | None = None, framework: Framework | None = None
) -> Student:
    """The recipe's base model, with a trained adapter if one is given.

    Raises :class:`TrainingError` if the base is not to be had or the adapter belongs to another.
    """
    backend = _backend(framework)
    folder = base_folder(recipe)
    if adapter is not None:
        check_adapter(adapter, recipe)
    student: Student = backend.load(folder, recipe, adapter=adapter)
    return student


def train_student(
    recipe: Recipe,
    traces: Sequence[Trace],
    out: Path,
    *,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    progress: bool = True,
) -> Trained:
    """Train the recipe's student on ``traces`` into the folder ``out``.

    The folder ends with ``adapter``, ``losses.json`` (every update's loss and learning rate) and
    ``manifest.json``. A run that was killed goes on from its last checkpoint; one that is complete
    is read back. Raises :class:`TrainingError` if the folder holds a run of another recipe or on
    other traces, if memory will not do, or if nothing can be learned.
    """
    if not recipe.trained:
        raise TrainingError(
            f"Recipe {recipe.name} is a base row: its model is measured as it comes. Train "
            f"{recipe.name.removesuffix('-base')} instead."
        )
    backend = _backend(framework)
    folder = base_folder(recipe)
    if strange := next((t for t in traces if style_of(t.messages) != recipe.style), None):
        raise TrainingError(
            f"Recipe {recipe.name} asks in the {recipe.style} style and trace "
            f"{strange.question_id} on {strange.db_id} in the {style_of(strange.messages)} style: "
            "a student would be asked otherwise than it was taught. Make the traces again in the "
            "recipe's style, or override it with theirs."
        )
    rows = make_rows(traces, load_tokenizer(folder), recipe)
    begun = _begin(out, recipe, rows)
    if begun and (out / "manifest.json").exists():
        return read_trained(out)
    check_memory(folder, recipe, micro_batch=micro_batch or recipe.batch)
    trained: Trained = backend.train(
        folder, recipe, rows, out, micro_batch=micro_batch, resume=begun, progress=progress
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return trained  # one process keeps the record
    losses = [asdict(update) for update in trained.updates]
    write_json(out / "losses.json", losses)
    write_json(
        out / "manifest.json",
        manifest(
            recipe=recipe.name,
            model=recipe.base,
            seed=recipe.seed,
            wall_time_s=trained.seconds,
            overridden=overridden(recipe),
            framework=framework or default_framework(),
            training={
                "rows": len(rows.rows),
                "too_long": rows.too_long,
                "tokens": trained.tokens,
                "learned_tokens": trained.learned_tokens,
                "updates": len(trained.updates),
                "tokens_per_second": round(trained.tokens_per_second, 1),
                "peak_memory": trained.peak_memory,
            },
        ),
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return trained


def _begin(out: Path, recipe: Recipe, rows: Rows) -> bool:
    """Whether ``out`` holds this very run, begun; notes down what run it is if it is empty."""
    import hashlib

    digest = hashlib.sha256(json.dumps([row.ids for row in rows.rows]).encode()).hexdigest()
    run = {"recipe": json.loads(json.dumps(asdict(recipe))), "rows": digest}
    record = out / "run.json"
    if not record.exists():
        write_json(record, run)
        return False
    found = read_json(record)
    if found == run:
        return True
    before = found.get("recipe", {})
    changed = [
        f"{name} was {before.get(name)!r}, now {value!r}"
        for name, value in run["recipe"].items()
        if before.get(name) != value
    ] or ["the traces are others"]
    raise TrainingError(
        f"{out} holds a run with another recipe: {'; '.join(changed)}. Train into another folder, "
        "or delete this one."
    )


def read_trained(out: Path) -> Trained:
    """A finished run, as :func:`train_student` left it in its folder."""
    record = read_json(out / "manifest.json")
    training = record["training"]
    return Trained(
        out / "adapter",
        tuple(Update(**entry) for entry in read_json(out / "losses.json")),
        training["tokens"],
        training["learned_tokens"],
        training["too_long"],
        record["wall_time_s"],
        training["peak_memory"],
    )

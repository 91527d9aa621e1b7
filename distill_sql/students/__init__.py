"""Students: train one from traces with a recipe, load it, let it answer.

:func:`train_student` and :func:`open_student` choose the back end and leave a complete record;
:func:`generate` writes predictions.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
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
from distill_sql.students.protocol import (
    Framework,
    Student,
    Trained,
    Update,
    Validation,
    learning_rate,
)
from distill_sql.students.rows import Row, Rows, make_row, make_rows, updates
from distill_sql.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.traces import Trace

__all__ = [
    "Answer",
    "Framework",
    "Row",
    "Rows",
    "Student",
    "Trained",
    "Update",
    "Validation",
    "answers",
    "default_framework",
    "estimate",
    "generate",
    "learning_rate",
    "make_row",
    "make_rows",
    "open_student",
    "parameters",
    "precision_used",
    "read_trained",
    "rows_digest",
    "train_student",
    "updates",
    "validation_rows",
]

#: Raised by one whenever the code that trains gives other losses for the same rows and recipe, so
#: that students of the earlier code are not taken for its own. A test holds a run's losses.
TRAINING_CODE = 2
#: The same for the code that answers: greedy choice, where an answer ends, the grammar.
ANSWERING_CODE = 1


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
    validation: Sequence[Trace] = (),
    left_out: Mapping[str, int] | None = None,
    framework: Framework | None = None,
    micro_batch: int | None = None,
    progress: bool = True,
) -> Trained:
    """Train the recipe's student on ``traces`` into the folder ``out``.

    ``validation`` are traces that are not learned and whose loss is measured along the way;
    :func:`~distill_sql.splits.training_set` makes both, and its ``left_out`` is kept in the record.
    The folder ends with ``adapter``, ``losses.json`` (every update's loss and learning rate, and
    the validation losses) and ``manifest.json``. A run that was killed goes on from its last
    checkpoint; one that is complete is read back.

    Raises :class:`TrainingError` if the folder holds a run of another recipe or on other traces, if
    the traces ask otherwise than the recipe, if memory will not do, or if nothing can be learned.
    """
    if not recipe.trained:
        raise TrainingError(
            f"Recipe {recipe.name} is a base row: its model is measured as it comes. Train "
            f"{recipe.name.removesuffix('-base')} instead."
        )
    framework = framework or default_framework()
    backend = _backend(framework)
    folder = base_folder(recipe)
    _check_prompts(recipe, [*traces, *validation])
    tokenizer = load_tokenizer(folder)
    rows = make_rows(traces, tokenizer, recipe)
    held = validation_rows(validation, tokenizer, recipe)
    precision = precision_used(recipe, framework)
    begun = _begin(out, recipe, rows.rows, held, precision)
    if begun and (out / "manifest.json").exists():
        return read_trained(out)
    check_memory(
        folder, backend.resolve(recipe), micro_batch=micro_batch, rows=rows, framework=framework
    )
    trained: Trained = backend.train(
        folder, recipe, rows, out, validation=held, micro_batch=micro_batch, resume=begun,
        progress=progress,
    )  # fmt: skip
    left = {"near_duplicates": 0, "too_long": 0, **(left_out or {})}
    left["too_long"] += rows.too_long
    trained = replace(trained, too_long=left["too_long"])
    if int(os.environ.get("RANK", "0")) > 0:
        return trained  # one process keeps the record
    losses = {
        "updates": [asdict(update) for update in trained.updates],
        "validation": [asdict(one) for one in trained.validation],
    }
    write_json(out / "losses.json", losses)
    write_json(
        out / "manifest.json",
        manifest(
            recipe=recipe.name,
            model=recipe.base,
            seed=recipe.seed,
            wall_time_s=trained.seconds,
            overridden=overridden(recipe),
            framework=framework,
            precision=precision,
            schema_tokens=recipe.schema_tokens,
            micro_batch=micro_batch or recipe.batch,
            training={
                "learned": len(rows.rows) // recipe.epochs,
                "validation": len(held),
                **left,
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


def validation_rows(
    traces: Sequence[Trace], tokenizer: ChatTokenizer, recipe: Recipe
) -> tuple[Row, ...]:
    """The rows that a recipe is validated on: of the modes that it learns, and no longer."""
    rows = (make_row(trace, tokenizer) for trace in traces if recipe.modes in ("both", trace.mode))
    return tuple(row for row in rows if len(row.ids) <= recipe.length)


def precision_used(recipe: Recipe, framework: Framework | None = None) -> str:
    """In which numbers a recipe trains on this machine: what ``auto`` and ``mixed`` come to."""
    framework = framework or default_framework()
    backend = _backend(framework)
    chosen: Recipe = backend.resolve(recipe)
    if chosen.precision != "mixed":
        return chosen.precision
    rounds = framework == "torch" and backend.trains_in_bfloat16(chosen)
    return "mixed" if rounds else "float32"


def _check_prompts(recipe: Recipe, traces: Sequence[Trace]) -> None:
    """Raise :class:`TrainingError` unless traces are asked as the recipe's student will be."""
    for trace in traces:
        if (style := style_of(trace.messages)) != recipe.style:
            raise TrainingError(
                f"Recipe {recipe.name} asks in the {recipe.style} style and trace "
                f"{trace.question_id} on {trace.db_id} in the {style} style: "
                "a student would be asked otherwise than it was taught. Make the traces again in "
                "the recipe's style, or override it with theirs."
            )
        if trace.schema_tokens != recipe.schema_tokens:
            raise TrainingError(
                f"Recipe {recipe.name} shows {_schema(recipe.schema_tokens)} and trace "
                f"{trace.question_id} on {trace.db_id} {_schema(trace.schema_tokens)}: a student "
                "would be asked otherwise than it was taught. Train with --schema-tokens "
                f"{trace.schema_tokens}, or make the traces again with --schema-tokens "
                f"{recipe.schema_tokens}."
            )


def _schema(tokens: int) -> str:
    return f"at most {tokens} tokens of a schema" if tokens else "the whole schema"


def _begin(
    out: Path, recipe: Recipe, rows: Sequence[Row], validation: Sequence[Row], precision: str
) -> bool:
    """Whether ``out`` holds this very run, begun; notes down what run it is if it is empty."""
    run = {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "rows": rows_digest(rows),
        "validation": rows_digest(validation),
        "precision used": precision,
        "training code": TRAINING_CODE,
    }
    record = out / "run.json"
    if not record.exists():
        write_json(record, run)
        return False
    found = read_json(record)
    if found == run:
        return True
    old, new = ({**one.get("recipe", {}), **one} for one in (found, run))
    changed = [
        f"{name} was {old.get(name)!r}, now {value!r}"
        for name, value in new.items()
        if name not in ("recipe", "rows", "validation") and old.get(name) != value
    ] or ["the traces are others"]
    raise TrainingError(
        f"{out} holds another run: {'; '.join(changed)}. Train into another folder, "
        "or delete this one."
    )


def rows_digest(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) of rows in their order: their token ids, and which of them are learned."""
    text = json.dumps([[row.prompt, row.ids] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()


def read_trained(out: Path) -> Trained:
    """A finished run, as :func:`train_student` left it in its folder."""
    record = read_json(out / "manifest.json")
    training, losses = record["training"], read_json(out / "losses.json")
    return Trained(
        out / "adapter",
        tuple(Update(**entry) for entry in losses["updates"]),
        training["tokens"],
        training["learned_tokens"],
        training["too_long"],
        record["wall_time_s"],
        training["peak_memory"],
        tuple(Validation(**entry) for entry in losses["validation"]),
    )

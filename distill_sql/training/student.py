"""Training a student on traces by a recipe, on either back end, with a complete record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from distill_sql.errors import TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.models.folders import base_folder
from distill_sql.models.gguf_file import weights_record
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe, overridden
from distill_sql.models.students import backend, check_installed, default_framework
from distill_sql.prompting.prompts import style_of
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.provenance import manifest
from distill_sql.teacher.traces import Trace
from distill_sql.training.memory import check_memory
from distill_sql.training.outcome import Trained, Update, Validation
from distill_sql.training.rows import Rows, TokenRow, make_row, make_rows

#: The version of the code that trains. It is incremented when the same rows and recipe get other
#: losses, so that students of earlier code are trained again. A test pins the losses of a run.
TRAINING_CODE = 2


class Trainer(Protocol):
    """The interface of a back end's training module."""

    def train(
        self,
        folder: Path,
        recipe: Recipe,
        rows: Rows,
        out: Path,
        *,
        validation: Sequence[TokenRow] = (),
        micro_batch: int | None = None,
        resume: bool = False,
        progress: bool = True,
        start: Path | None = None,
        stop_at: float | None = None,
    ) -> Trained:
        """Train an adapter on ``rows`` into the folder ``out``.

        ``micro_batch`` is the number of rows that a device holds at once; an update is always the
        recipe's batch. ``start`` is an adapter to begin with. Checkpoints are saved, and ``resume``
        continues from the last one. The loss on ``validation`` rows is measured without an effect
        on training. From ``stop_at`` on, a time of ``time.monotonic``, the run saves a checkpoint
        after its current update and raises :class:`~distill_sql.errors.OutOfTime`.
        """
        ...


def trainer(framework: Framework) -> Trainer:
    """The training module of a framework."""
    check_installed(framework)
    if framework == "mlx":
        from distill_sql.training import mlx_trainer

        return mlx_trainer
    from distill_sql.training import torch_trainer

    return torch_trainer


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
    stop_at: float | None = None,
) -> Trained:
    """Train the recipe's student on ``traces`` into the folder ``out``.

    ``validation`` are traces outside training whose loss is measured during the run;
    :func:`~distill_sql.training.splits.training_set` makes both, and its ``left_out`` is recorded.
    The folder then has ``adapter``, ``losses.json`` (loss and learning rate of every update, and
    the validation losses) and ``manifest.json``. A killed run resumes from its last checkpoint; a
    complete one is read back. ``stop_at`` is that of :class:`Trainer`.

    Raises :class:`TrainingError` if the folder has a run of another recipe or on other traces, if
    the prompts of traces and recipe differ, if memory does not suffice, or if there are too few
    traces.
    """
    if not recipe.trained:
        raise TrainingError(
            f"Recipe {recipe.name} is a base row: its model is evaluated without training. Train "
            f"{recipe.name.removesuffix('-base')} instead."
        )
    framework = framework or default_framework()
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
        folder, backend(framework).resolve(recipe), micro_batch=micro_batch, rows=rows,
        framework=framework,
    )  # fmt: skip
    trained = trainer(framework).train(
        folder, recipe, rows, out, validation=held, micro_batch=micro_batch, resume=begun,
        progress=progress, stop_at=stop_at,
    )  # fmt: skip
    left = {"near_duplicates": 0, "too_long": 0, **(left_out or {})}
    left["too_long"] += rows.too_long
    trained = replace(trained, too_long=left["too_long"])
    if int(os.environ.get("RANK", "0")) == 0:  # one process writes the record
        learned = len(rows.rows) // recipe.epochs
        _keep(
            trained, out, recipe, framework=framework, precision=precision,
            micro_batch=micro_batch or recipe.batch,
            counts={"learned": learned, "validation": len(held), **left},
        )  # fmt: skip
    return trained


def _keep(
    trained: Trained,
    out: Path,
    recipe: Recipe,
    *,
    framework: Framework,
    precision: str,
    micro_batch: int,
    counts: Mapping[str, int],
) -> None:
    """Write losses and manifest of a finished run, and delete its checkpoints."""
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
            base_weights=weights_record(base_folder(recipe)),
            seed=recipe.seed,
            wall_time_s=trained.seconds,
            overridden=overridden(recipe),
            framework=framework,
            precision=precision,
            schema_tokens=recipe.schema_tokens,
            micro_batch=micro_batch,
            training={
                **counts,
                "tokens": trained.tokens,
                "learned_tokens": trained.learned_tokens,
                "updates": len(trained.updates),
                "tokens_per_second": round(trained.tokens_per_second, 1),
                "peak_memory": trained.peak_memory,
            },
        ),
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def validation_rows(
    traces: Sequence[Trace], tokenizer: ChatTokenizer, recipe: Recipe
) -> tuple[TokenRow, ...]:
    """The validation rows of a recipe: of its modes, and within its length."""
    rows = (make_row(trace, tokenizer) for trace in traces if recipe.modes in ("both", trace.mode))
    return tuple(row for row in rows if len(row.ids) <= recipe.length)


def precision_used(recipe: Recipe, framework: Framework | None = None) -> str:
    """The precision of training on this machine, with ``auto`` and ``mixed`` resolved."""
    framework = framework or default_framework()
    chosen = backend(framework).resolve(recipe)
    if chosen.precision != "mixed":
        return chosen.precision
    if framework == "mlx":
        return "float32"
    from distill_sql.training.torch_trainer import trains_in_bfloat16

    return "mixed" if trains_in_bfloat16(chosen) else "float32"


def _check_prompts(recipe: Recipe, traces: Sequence[Trace]) -> None:
    """Raise :class:`TrainingError` if the prompts of traces differ from those of the recipe."""
    for trace in traces:
        if (style := style_of(trace.messages)) != recipe.style:
            raise TrainingError(
                f"Recipe {recipe.name} has prompts in the {recipe.style} style and trace "
                f"{trace.question_id} on {trace.db_id} in the {style} style: prompts would differ "
                "between training and evaluation. Make the traces again in the recipe's style, or "
                "override it with theirs."
            )
        if trace.schema_tokens != recipe.schema_tokens:
            raise TrainingError(
                f"Recipe {recipe.name} shows {_schema(recipe.schema_tokens)} and trace "
                f"{trace.question_id} on {trace.db_id} {_schema(trace.schema_tokens)}: prompts "
                "would differ between training and evaluation. Train with --schema-tokens "
                f"{trace.schema_tokens}, or make the traces again with --schema-tokens "
                f"{recipe.schema_tokens}."
            )


def _schema(tokens: int) -> str:
    return f"at most {tokens} tokens of a schema" if tokens else "the whole schema"


def _begin(
    out: Path,
    recipe: Recipe,
    rows: Sequence[TokenRow],
    validation: Sequence[TokenRow],
    precision: str,
) -> bool:
    """Whether ``out`` has a started run with these inputs; if it is empty, records the inputs.

    Raises :class:`TrainingError` if it has another run.
    """
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
    ] or ["the traces differ"]
    raise TrainingError(
        f"{out} has another run: {'; '.join(changed)}. Train into another folder, "
        "or delete this one."
    )


def rows_digest(rows: Iterable[TokenRow]) -> str:
    """SHA-256 (hex) of rows in their order: token ids and prompt lengths."""
    text = json.dumps([[row.prompt, row.ids] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()


def read_trained(out: Path) -> Trained:
    """The result of a finished run, read from its folder."""
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

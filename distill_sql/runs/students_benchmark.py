"""Benchmarks of students: generation and training speed, precision, and memory.

``python -m distill_sql.runs.students_benchmark generate --recipe coder-0.5b-base`` answers 50
questions with a recipe's model, batched with shared prefixes, and then one at a time with
transformers' own ``generate``; with ``--grammar``, freely and then by the grammar
(:mod:`~distill_sql.runs.generating`). ``... generate --config FILE --tokenizer DIR`` does it for
questions on four databases with a model of a real shape and random weights, which take as long as
trained ones. ``... train`` trains a recipe's adapter with trl, and with a bare PyTorch loop on the
same batches. ``... precision --traces FILE`` trains one student twice, in float32 and in
``mixed``, which multiplies in bfloat16 where the processor can, and scores both: students of two
machines differ in nothing else. ``... memory`` compares the peak memory of training with the
estimate, in one process for each of :data:`~distill_sql.runs.peaks.CASES`.

``--record`` records the results (:mod:`distill_sql.runs.measured`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.files import read_json
from distill_sql.models import torch_backend
from distill_sql.models.folders import base_folder, save_model
from distill_sql.models.generation import ANSWER_TOKENS, generate
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.models.students import open_student
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs import generating, measured
from distill_sql.runs.controls.sets import gold_traces
from distill_sql.runs.generating import plain_model
from distill_sql.runs.peaks import compared
from distill_sql.scoring import read_predictions, score
from distill_sql.teacher.traces import read_traces
from distill_sql.training import torch_trainer
from distill_sql.training.rows import Rows, make_rows
from distill_sql.training.splits import training_set
from distill_sql.training.student import train_student

#: The number of databases, and of questions on each.
DATABASES = 4
QUESTIONS = 16
#: The number of questions that a recipe's own weights answer.
ALL_QUESTIONS = 50


def random_weights(config: Path, tokenizer: Path, folder: Path) -> Path:
    """Write a model of the shape in ``config`` with random float32 weights, and its tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    fields = read_json(config)
    torch.manual_seed(42)
    model = Qwen2ForCausalLM(Qwen2Config(**fields | {"dtype": "float32"}))
    save_model(model, load_tokenizer(tokenizer), folder)
    return folder


def some_questions(dataset: Dataset, databases: int, questions: int) -> Dataset:
    """The first ``questions`` on each of the ``databases`` with the most questions."""
    counts = Counter(example.db_id for example in dataset)
    chosen = [db_id for db_id, _ in counts.most_common(databases)]
    groups = ([e for e in dataset if e.db_id == db_id][:questions] for db_id in chosen)
    return dataset.with_examples(chain.from_iterable(groups))


def time_training(folder: Path, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """The speed of a run with trl, and of a bare loop over the same batches.

    The loop is the straightforward one: transformers' own loss and torch's AdamW.
    """
    # Gold queries as answers: their lengths are realistic.
    traces = gold_traces(dataset, dataset, style=recipe.style)
    rows = make_rows(traces, load_tokenizer(folder), recipe)
    with tempfile.TemporaryDirectory() as out:
        trained = torch_trainer.train(folder, recipe, rows, Path(out), progress=False)
    bare = _bare_seconds(folder, rows, recipe)
    return {
        "tokens": rows.tokens,
        "tokens_per_second": trained.tokens_per_second,
        "bare_tokens_per_second": rows.tokens / bare,
        "share_of_bare": bare / trained.seconds,
    }


def _bare_seconds(folder: Path, rows: Rows, recipe: Recipe) -> float:
    """Seconds that the bare loop takes for one pass over the rows."""
    import torch
    from peft import get_peft_model

    torch.manual_seed(recipe.seed)
    model = get_peft_model(
        plain_model(folder, torch.float32),
        torch_trainer.lora(recipe),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(
        (p for p in model.parameters() if p.requires_grad), lr=recipe.learning_rate
    )
    rounded = torch_trainer.trains_in_bfloat16(recipe)
    model.train()
    began = time.monotonic()
    for first in range(0, len(rows.rows), recipe.batch):
        group = rows.rows[first : first + recipe.batch]
        width = max(len(row.ids) for row in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        labels = torch.full((len(group), width), -100)
        for place, row in enumerate(group):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            labels[place, row.prompt : len(row.ids)] = torch.tensor(row.ids[row.prompt :])
        ids, labels = ids.to(model.device), labels.to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=rounded):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.monotonic() - began


def accuracy_by_precision(recipe: Recipe, traces: Path, dev: Dataset) -> dict[str, Any]:
    """A student's accuracy on ``dev`` after training in ``mixed`` and in ``float32``."""
    tokenizer = load_tokenizer(base_folder(recipe))
    prepared = training_set(read_traces(traces), tokenizer, max_tokens=recipe.length)
    found: dict[str, Any] = {"mixed_is_bfloat16": torch_backend.multiplies_bfloat16()}
    for precision in ("mixed", "float32"):
        one = recipe_for(recipe.name, precision=precision)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            trained = train_student(
                one, prepared.train, folder / "run", framework="torch", progress=False
            )
            student = open_student(one, adapter=trained.adapter, framework="torch")
            out = generate(
                student, dev, folder / "predictions.jsonl", model=precision, style=one.style,
                schema_tokens=one.schema_tokens, progress=False,
            )  # fmt: skip
            found[precision] = score(read_predictions(out, dev), dev).accuracy().share
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the selected benchmark, and return its results by name."""
    if options.what == "memory":
        return compared(options.framework)
    dataset = load_dataset(options.dataset, path=options.path)
    if options.what == "precision":
        return accuracy_by_precision(recipe_for(options.recipe), options.traces, dataset)
    if options.what == "generate":
        return time_generation(options, dataset)
    some = some_questions(dataset, DATABASES, options.questions or QUESTIONS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_weights(options.config, options.tokenizer, Path(scratch) / "model")
        recipe = recipe_for(options.recipe, base=str(folder), batch=options.batch)
        if recipe.precision != "mixed":
            recipe = replace(recipe, precision="float32", checkpointing=False)
        return time_training(folder, some, recipe)


def time_generation(options: argparse.Namespace, dataset: Dataset) -> dict[str, float]:
    """The speed of generation with a recipe's weights, or with random ones in float32."""
    versus = generating.against_free if options.grammar else generating.against_transformers
    if options.config is None:
        recipe = recipe_for(options.recipe, precision=options.precision)
        some = generating.spread(dataset, options.questions or ALL_QUESTIONS)
        return versus(base_folder(recipe), recipe, some, max_tokens=options.max_tokens)
    recipe = recipe_for(options.recipe, precision=options.precision or "float32")
    some = some_questions(dataset, DATABASES, options.questions or QUESTIONS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_weights(options.config, options.tokenizer, Path(scratch) / "model")
        return versus(folder, recipe, some, max_tokens=options.max_tokens)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("generate", "train", "precision", "memory"))
    parser.add_argument("--config", type=Path, help="a model's config.json")
    parser.add_argument("--tokenizer", type=Path, help="its tokenizer's folder")
    parser.add_argument("--traces", type=Path, help="the training traces, for precision")
    parser.add_argument("--dataset", default="spider")
    parser.add_argument("--path", type=Path, help="the dataset's folder (default: SPIDER_DIR)")
    parser.add_argument("--max-tokens", type=int, default=ANSWER_TOKENS, help="of an answer")
    parser.add_argument(
        "--questions",
        type=int,
        help=f"to generate with a recipe's weights: in all (default {ALL_QUESTIONS}); "
        f"else per database (default {QUESTIONS})",
    )
    parser.add_argument("--recipe", default="0.5b", help="the recipe of the adapter or the answers")
    parser.add_argument("--grammar", action="store_true", help="compare the grammar, to generate")
    parser.add_argument("--precision", help="of generation, in place of the recipe's")
    parser.add_argument("--framework", choices=("torch", "mlx"), default="torch", help="for memory")
    parser.add_argument("--batch", type=int, help="rows per update (default: the recipe's)")
    parser.add_argument("--record", action="store_true", help="record the results")
    options = parser.parse_args()
    weights = ("config", "tokenizer")
    random = options.what == "generate" and (options.config or options.tokenizer)
    needs = {"precision": ("traces",), "train": weights, "generate": weights if random else ()}
    needed = needs.get(options.what, ())
    if absent := [f"--{name}" for name in needed if getattr(options, name) is None]:
        parser.error(f"{options.what} needs {' and '.join(absent)}")
    found = measure(options)
    for name, value in found.items():
        print(f"{name:24} {value:,.2f}" if isinstance(value, float) else f"{name:24} {value:,}")
    if options.record:
        command = measured.spelled("python -m distill_sql.runs.students_benchmark", sys.argv[1:])
        what = "grammar" if options.grammar else options.what
        kind = f"{what}.{options.recipe}"
        measured.record(
            {f"{kind}.{name}": (float(value), "") for name, value in found.items()}, command=command
        )


if __name__ == "__main__":
    main()

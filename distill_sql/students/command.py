"""``distill-sql train`` and ``distill-sql generate``: a student, then its predictions."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from distill_sql.arguments import check_numbers
from distill_sql.datasets import load_dataset
from distill_sql.errors import ParameterError, TrainingError
from distill_sql.files import check_folder, check_output
from distill_sql.recipes import RECIPES, Recipe, overridden, recipe_for


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument(
        "--framework",
        choices=("torch", "mlx"),
        help="default: mlx on a Mac that has it, else torch",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a value of the recipe (may be repeated), such as --set seed=7",
    )


def configure_train(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql train``."""
    _common(parser)
    parser.add_argument(
        "--traces", type=Path, required=True, help="from distill-sql teacher traces"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for adapter and record")
    parser.add_argument(
        "--micro-batch", type=int, metavar="N", help="examples a device holds at once"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="devices to train on (default: every GPU, else one process)",
    )
    parser.set_defaults(run=run_train)


def configure_generate(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql generate``."""
    _common(parser)
    parser.add_argument("--adapter", type=Path, help="the folder adapter of a training run")
    parser.add_argument("--out", type=Path, required=True, help="predictions, as JSON Lines")
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="where the dataset lies (else SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument("--mode", choices=("direct", "reasoning"), default="direct")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="questions at a time")
    parser.add_argument(
        "--grammar", action="store_true", help="allow only queries on what the database has"
    )
    parser.set_defaults(run=run_generate)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    changes: dict[str, Any] = {}
    for assignment in arguments.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ParameterError(f"--set {assignment}: expected NAME=VALUE, such as seed=7.")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            changes[name] = value
    recipe = recipe_for(arguments.recipe, **changes)
    if other := overridden(recipe):
        told = ", ".join(f"{name} = {value!r}" for name, value in other.items())
        print(f"recipe {recipe.name} with {told}", file=sys.stderr)
    return recipe


def run_train(arguments: argparse.Namespace) -> int:
    """Carry out ``distill-sql train``."""
    from distill_sql.students import default_framework, train_student
    from distill_sql.traces import read_traces

    check_numbers(arguments, micro_batch=1, processes=1)
    recipe = _recipe(arguments)
    traces = read_traces(arguments.traces)
    check_folder(arguments.out)
    framework = arguments.framework or default_framework()
    if framework == "torch" and "WORLD_SIZE" not in os.environ:
        processes = _processes(arguments.processes)
        if processes > 1:
            return _launch(processes)
    elif framework == "mlx" and (arguments.processes or 1) > 1:
        raise TrainingError("The mlx back end trains on one device: leave --processes out.")
    trained = train_student(
        recipe, traces, arguments.out, framework=framework, micro_batch=arguments.micro_batch
    )
    if int(os.environ.get("RANK", "0")) == 0:
        last = trained.updates[-1]
        print(
            f"{arguments.out}: {len(trained.updates)} updates, last loss {last.loss:.3f}, "
            f"{trained.tokens_per_second:,.0f} tokens/s, {trained.seconds:.0f} s, peak memory "
            f"{trained.peak_memory / 2**30:.1f} GiB, {trained.too_long} traces too long"
        )
    return 0


def _processes(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    import torch

    return max(int(torch.cuda.device_count()), 1)


def _launch(processes: int) -> int:
    """Run this very command once per device, under accelerate."""
    import torch

    if torch.cuda.device_count() >= processes:
        launcher = ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={processes}",
                    "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]  # fmt: skip
    else:
        # accelerate starts several processes on CPUs through MPI only; torchrun needs none.
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, "-m", *launcher, "-m", "distill_sql.cli", *sys.argv[1:]]
    return subprocess.run(command).returncode


def run_generate(arguments: argparse.Namespace) -> int:
    """Carry out ``distill-sql generate``."""
    from distill_sql.students import generate, open_student

    check_numbers(arguments, limit=1, batch=1)
    recipe = _recipe(arguments)
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    check_output(arguments.out, beside=True)
    student = open_student(recipe, adapter=arguments.adapter, framework=arguments.framework)
    name = (
        recipe.name if arguments.adapter is None else f"{recipe.name}, {_digest(arguments.adapter)}"
    )
    out = generate(
        student,
        dataset.limit(arguments.limit),
        arguments.out,
        model=name,
        mode=arguments.mode,
        style=recipe.style,
        batch=arguments.batch,
        grammar=arguments.grammar,
    )
    print(f"{out}: {len(dataset.limit(arguments.limit))} predictions; now: distill-sql score {out}")
    return 0


def _digest(adapter: Path) -> str:
    """The first digits of an adapter's SHA-256: another adapter is another model."""
    import hashlib

    weights = b"".join(path.read_bytes() for path in sorted(adapter.glob("*.safetensors")))
    return hashlib.sha256(weights).hexdigest()[:12]

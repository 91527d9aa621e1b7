"""``distill-sql train`` and ``distill-sql generate``: a student, then its predictions."""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import ParameterError, TrainingError
from distill_sql.files import check_folder, check_output, read_json, write_json
from distill_sql.models.recipes import RECIPES, Recipe, overridden, recipe_for
from distill_sql.provenance import manifest
from distill_sql.settings import check_numbers
from distill_sql.teacher import asking
from distill_sql.training.splits import VALIDATION_SHARE, TrainingSet, training_set

if TYPE_CHECKING:
    from distill_sql.training.outcome import Trained


def _common(parser: argparse.ArgumentParser, *, recipes: str | None = None) -> None:
    parser.add_argument(
        "recipe", nargs=recipes, metavar="RECIPE", help=f"one of {', '.join(RECIPES)}"
    )
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
    parser.add_argument(
        "--schema-tokens",
        type=int,
        metavar="N",
        help="most tokens that a prompt's schema takes, 0 for the whole schema: as the traces have "
        "it (default: the recipe's)",
    )
    parser.add_argument(
        "--validation-share",
        type=float,
        default=VALIDATION_SHARE,
        metavar="SHARE",
        help="about this share of the traces, whole databases, is not learned and its loss "
        "measured (default: %(default)s; 0 for none)",
    )
    parser.set_defaults(run=run_train)


def configure_generate(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql generate``."""
    _common(parser, recipes="?")
    parser.add_argument("--out", type=Path, required=True, help="predictions, as JSON Lines")
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="where the dataset lies (else SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument("--mode", choices=("direct", "reasoning"), default="direct")
    parser.add_argument(
        "--style",
        choices=("full", "compact"),
        help="how prompts show a schema (default: as the adapter was trained, else the recipe's)",
    )
    parser.add_argument(
        "--schema-tokens",
        type=int,
        metavar="N",
        help="most tokens that a prompt's schema takes, 0 for the whole schema (default: as the "
        "adapter was trained, else the recipe's)",
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="an answer's longest")
    student = parser.add_argument_group("a student answers")
    student.add_argument("--adapter", type=Path, help="the folder adapter of a training run")
    student.add_argument("--batch", type=int, metavar="N", help="questions at a time")
    student.add_argument(
        "--grammar", action="store_true", help="allow only queries on what the database has"
    )
    endpoint = parser.add_argument_group("an endpoint answers, in place of a recipe")
    asking.add_options(endpoint)
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
    if arguments.schema_tokens is not None:
        changes["schema_tokens"] = arguments.schema_tokens
    recipe = recipe_for(arguments.recipe, **changes)
    if other := overridden(recipe):
        told = ", ".join(f"{name} = {value!r}" for name, value in other.items())
        print(f"recipe {recipe.name} with {told}", file=sys.stderr)
    return recipe


def run_train(arguments: argparse.Namespace) -> int:
    """Carry out ``distill-sql train``."""
    from distill_sql.models.folders import base_folder
    from distill_sql.models.students import default_framework
    from distill_sql.prompting.tokenizer import load_tokenizer
    from distill_sql.teacher.traces import read_traces
    from distill_sql.training.student import train_student

    check_numbers(arguments, micro_batch=1, processes=1, schema_tokens=0)
    if not 0 <= arguments.validation_share <= 0.5:
        raise ParameterError(f"--validation-share {arguments.validation_share}: expected 0 to 0.5.")
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
    prepared = training_set(
        traces, load_tokenizer(base_folder(recipe)), max_tokens=recipe.length,
        validation_share=arguments.validation_share,
    )  # fmt: skip
    trained = train_student(
        recipe, prepared.train, arguments.out, validation=prepared.validation,
        left_out=prepared.left_out, framework=framework, micro_batch=arguments.micro_batch,
    )  # fmt: skip
    if int(os.environ.get("RANK", "0")) == 0:
        print(_told(arguments.out, prepared, trained))
    return 0


def _told(out: Path, prepared: TrainingSet, trained: Trained) -> str:
    """The last line of ``distill-sql train``: how it went, and what became of the traces."""
    held = (
        f"validation loss {trained.validation[-1].loss:.3f} on {len(prepared.validation)} traces "
        f"of {len({trace.db_id for trace in prepared.validation})} databases of their own"
        if trained.validation
        else "no validation: too few databases to spare one, or none was to be spared"
    )
    return (
        f"{out}: {len(trained.updates)} updates, last loss {trained.updates[-1].loss:.3f}, {held}; "
        f"{trained.tokens_per_second:,.0f} tokens/s, {trained.seconds:.0f} s, peak memory "
        f"{trained.peak_memory / 2**30:.1f} GiB; {len(prepared.train)} traces to learn from, "
        f"{prepared.near_duplicates} near duplicates and {trained.too_long} too long left out"
    )


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


#: Options of ``distill-sql generate`` that a recipe has and an endpoint has not.
_STUDENT_ONLY = ("framework", "set", "adapter", "batch", "grammar")


def run_generate(arguments: argparse.Namespace) -> int:
    """Carry out ``distill-sql generate``."""
    check_numbers(arguments, limit=1, batch=1, max_tokens=1, schema_tokens=0)
    by_endpoint = asking.is_named(arguments)
    if by_endpoint and arguments.recipe:
        raise ParameterError(
            f"A recipe ({arguments.recipe}) and an endpoint (--model, --base-url) were given, and "
            "one of them answers. Leave the other out."
        )
    if not by_endpoint and not arguments.recipe:
        raise ParameterError(
            "Nothing says who answers. Give a recipe, such as `distill-sql generate pocket-l`, or "
            "an endpoint, with --model and --base-url."
        )
    for name in _STUDENT_ONLY if by_endpoint else asking.OPTIONS:
        value = getattr(arguments, name)
        if value is not None and value is not False and value != []:
            kinds = ("a recipe", "an endpoint")
            raise ParameterError(
                f"--{name.replace('_', '-')} is for {kinds[not by_endpoint]}, and "
                f"{kinds[by_endpoint]} answers here. Leave it out."
            )
    count = asking.answer(arguments) if by_endpoint else _answer(arguments)
    if not count:
        return 1
    print(f"{arguments.out}: {count:,} predictions; now: {_scoring(arguments)}")
    return 0


def _answer(arguments: argparse.Namespace) -> int:
    """Let a student answer; how many predictions were written."""
    from distill_sql.models.generation import ANSWER_TOKENS, BATCH, generate
    from distill_sql.models.students import open_student

    recipe = _as_trained(arguments, _recipe(arguments))
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    dataset = dataset.limit(arguments.limit)
    check_output(arguments.out, beside=True)
    began = time.monotonic()
    student = open_student(recipe, adapter=arguments.adapter, framework=arguments.framework)
    adapter = None if arguments.adapter is None else _digest(arguments.adapter)
    asked: dict[str, Any] = {
        "mode": arguments.mode,
        "style": recipe.style,
        "schema_tokens": recipe.schema_tokens,
        "max_tokens": arguments.max_tokens or ANSWER_TOKENS,
        "grammar": arguments.grammar,
    }
    out = generate(
        student,
        dataset,
        arguments.out,
        model=recipe.name if adapter is None else f"{recipe.name}, {adapter}",
        batch=arguments.batch or BATCH,
        **asked,
    )
    write_json(
        out.with_name(f"{out.name}.manifest.json"),
        manifest(
            recipe=recipe.name,
            model=recipe.base,
            seed=recipe.seed,
            dataset=dataset.description(),
            wall_time_s=time.monotonic() - began,
            overridden=overridden(recipe),
            framework=student.framework,
            adapter=adapter,
            settings=asked,
        ),
    )
    return len(dataset)


def _as_trained(arguments: argparse.Namespace, recipe: Recipe) -> Recipe:
    """The recipe, asked in the style and with the schema that its adapter was trained on, unless
    the command line has others; what differs from the recipe or from training is printed."""
    told = {assignment.partition("=")[0] for assignment in arguments.set}
    changes: dict[str, Any] = {}
    for name, learned in _learned(arguments.adapter).items():
        asked = getattr(arguments, name)
        if asked is None:
            asked = getattr(recipe, name) if name in told else learned
        if asked != learned:
            print(
                f"{arguments.adapter} was trained with {name} = {learned!r} and is asked with "
                f"{asked!r}, as you say",
                file=sys.stderr,
            )
        elif asked != getattr(recipe, name):
            print(f"asked with {name} = {asked!r}, as it was trained", file=sys.stderr)
        changes[name] = asked
    changes.setdefault("style", arguments.style or recipe.style)
    return recipe_for(recipe.name, **overridden(recipe) | changes)


def _learned(adapter: Path | None) -> dict[str, Any]:
    """How the prompts were made that an adapter was trained on; nothing if there is no record."""
    record = None if adapter is None else adapter.parent / "manifest.json"
    if record is None or not record.is_file():
        return {}
    found = read_json(record, error=TrainingError)
    if not isinstance(found, dict) or found.get("recipe") not in RECIPES:
        return {}
    trained = recipe_for(str(found["recipe"]), **found.get("overridden", {}))
    return {"style": trained.style, "schema_tokens": trained.schema_tokens}


def _scoring(arguments: argparse.Namespace) -> str:
    """The command that scores what was just written."""
    if (arguments.dataset, arguments.split) == ("pocket", "test"):
        # Read once by each version; score refuses it.
        return shlex.join(["distill-sql", "pocket", "test", str(arguments.out)])
    words = ["distill-sql", "score", str(arguments.out)]
    for name, usual in (("dataset", "pocket"), ("path", None), ("split", "dev"), ("limit", None)):
        if (value := getattr(arguments, name)) != usual:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _digest(adapter: Path) -> str:
    """The first digits of an adapter's SHA-256: another adapter is another model."""
    import hashlib

    weights = b"".join(path.read_bytes() for path in sorted(adapter.glob("*.safetensors")))
    return hashlib.sha256(weights).hexdigest()[:12]

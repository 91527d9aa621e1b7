"""``distill-sql generate``: the predictions of a student or an endpoint."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from distill_sql.cli.recipe import add_recipe, chosen_recipe
from distill_sql.data.datasets import load_dataset
from distill_sql.errors import ParameterError, TrainingError
from distill_sql.files import check_output, read_json, write_json
from distill_sql.models.folders import base_folder
from distill_sql.models.gguf_file import weights_record
from distill_sql.models.recipes import RECIPES, Recipe, overridden, recipe_for
from distill_sql.provenance import manifest
from distill_sql.runs.recording.adapter import weights_digest
from distill_sql.settings import check_numbers
from distill_sql.teacher import asking

#: Options that a recipe has and an endpoint does not.
_STUDENT_ONLY = ("framework", "set", "adapter", "batch", "grammar")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql generate`` to ``parser``."""
    add_recipe(parser, nargs="?")
    parser.add_argument("--out", type=Path, required=True, help="predictions, as JSON Lines")
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="folder of the dataset (default: SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="other questions about the dataset's databases, in Spider's format",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument("--mode", choices=("direct", "reasoning"), default="direct")
    parser.add_argument(
        "--style",
        choices=("full", "compact"),
        help="style of the schema in prompts (default: as in training, else the recipe's)",
    )
    parser.add_argument(
        "--schema-tokens",
        type=int,
        metavar="N",
        help="maximum tokens of a prompt's schema, 0 for the whole schema (default: as in "
        "training, else the recipe's)",
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="maximum tokens of an answer")
    student = parser.add_argument_group("to use a student")
    student.add_argument("--adapter", type=Path, help="the folder `adapter` of a training run")
    student.add_argument("--batch", type=int, metavar="N", help="questions in a batch")
    student.add_argument(
        "--grammar",
        action="store_true",
        help="restrict decoding to queries on tables and columns of the database",
    )
    endpoint = parser.add_argument_group("to use an endpoint in place of a recipe")
    asking.add_options(endpoint)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    check_numbers(arguments, limit=1, batch=1, max_tokens=1, schema_tokens=0)
    by_endpoint = asking.is_named(arguments)
    _check_one_answers(arguments, by_endpoint=by_endpoint)
    count = asking.answer(arguments) if by_endpoint else _answer(arguments)
    if not count:
        return 1
    print(f"{arguments.out}: {count:,} predictions; now: {_scoring(arguments)}")
    return 0


def _check_one_answers(arguments: argparse.Namespace, *, by_endpoint: bool) -> None:
    """Raise :class:`ParameterError` unless the arguments name a recipe or an endpoint, not both."""
    if by_endpoint and arguments.recipe:
        raise ParameterError(
            f"A recipe ({arguments.recipe}) and an endpoint (--model, --base-url) were given, but "
            "only one of them can answer. Leave the other out."
        )
    if not by_endpoint and not arguments.recipe:
        raise ParameterError(
            "Neither a recipe nor an endpoint was given. Give a recipe, such as `distill-sql "
            "generate pocket-l`, or an endpoint with --model and --base-url."
        )
    for name in _STUDENT_ONLY if by_endpoint else asking.OPTIONS:
        value = getattr(arguments, name)
        if value is not None and value is not False and value != []:
            kinds = ("a recipe", "an endpoint")
            raise ParameterError(
                f"--{name.replace('_', '-')} is an option of {kinds[not by_endpoint]}, but "
                f"{kinds[by_endpoint]} answers here. Leave it out."
            )


def _answer(arguments: argparse.Namespace) -> int:
    """Write a student's predictions; returns how many."""
    from distill_sql.models.generation import ANSWER_TOKENS, BATCH, generate
    from distill_sql.models.students import open_student

    recipe = _as_trained(arguments, chosen_recipe(arguments))
    dataset = load_dataset(
        arguments.dataset,
        split=arguments.split,
        path=arguments.path,
        questions=arguments.questions,
    ).limit(arguments.limit)
    check_output(arguments.out, beside=True)
    began = time.monotonic()
    student = open_student(recipe, adapter=arguments.adapter, framework=arguments.framework)
    adapter = None if arguments.adapter is None else weights_digest(arguments.adapter)[:12]
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
            base_weights=weights_record(base_folder(recipe)),
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
    """The recipe with the prompt style and schema limit of the adapter's training, unless the
    command line has others; prints what differs from the recipe or from training."""
    told = {assignment.partition("=")[0] for assignment in arguments.set}
    changes: dict[str, Any] = {}
    for name, learned in _learned(arguments.adapter).items():
        asked = getattr(arguments, name)
        if asked is None:
            asked = getattr(recipe, name) if name in told else learned
        if asked != learned:
            print(
                f"{arguments.adapter} was trained with {name} = {learned!r}; this command uses "
                f"{asked!r}",
                file=sys.stderr,
            )
        elif asked != getattr(recipe, name):
            print(f"using {name} = {asked!r}, as in training", file=sys.stderr)
        changes[name] = asked
    changes.setdefault("style", arguments.style or recipe.style)
    return recipe_for(recipe.name, **overridden(recipe) | changes)


def _learned(adapter: Path | None) -> dict[str, Any]:
    """The style and schema limit of the prompts in training; empty if there is no record."""
    record = None if adapter is None else adapter.parent / "manifest.json"
    if record is None or not record.is_file():
        return {}
    found = read_json(record, error=TrainingError)
    if not isinstance(found, dict) or found.get("recipe") not in RECIPES:
        return {}
    trained = recipe_for(str(found["recipe"]), **found.get("overridden", {}))
    return {"style": trained.style, "schema_tokens": trained.schema_tokens}


def _scoring(arguments: argparse.Namespace) -> str:
    """The command that scores the predictions."""
    if (arguments.dataset, arguments.split) == ("pocket", "test"):
        # Scored once per version; `score` refuses it.
        return shlex.join(["distill-sql", "pocket", "test", str(arguments.out)])
    words = ["distill-sql", "score", str(arguments.out)]
    usual = {"dataset": "pocket", "path": None, "split": "dev", "questions": None, "limit": None}
    for name, default in usual.items():
        if (value := getattr(arguments, name)) != default:
            words += [f"--{name}", str(value)]
    return shlex.join(words)

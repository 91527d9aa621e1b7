"""``python -m distill_sql.runs.worth``: what the benchmark's patterns in lessons are worth.

Two models of pocket-s's shape read equally many tokens: the one lessons of the benchmark's kinds of
question, the other lessons whose questions are put together from clauses
(:mod:`~distill_sql.pretraining.drawn`). Both are asked as they come, then trained on the teacher
chapter's traces by pocket-s's recipe and asked again. Hours of pretraining are no part of a build,
so this is a recorded run. The models are folders in ``MODELS_DIR``, by the names of :data:`KINDS`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError, DistillSqlError
from distill_sql.files import read_json, write_json
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.scoring import ScoreReport, read_predictions, score
from distill_sql.settings import work_folder
from distill_sql.teacher.traces import chapter_file, read_traces
from distill_sql.training.experiments import Experiment, Outcome, run_experiments
from distill_sql.training.splits import training_set

#: The two models, and what their lessons asked.
KINDS: Mapping[str, str] = {
    "s-benchmark": "the benchmark's kinds of question",
    "s-drawn": "questions put together from clauses",
}
RECIPE = "pocket-s"
#: The record of a model's pretraining, beside its weights and in the recorded run.
PRETRAINING = "pretraining.json"


@dataclass(frozen=True)
class Recorded:
    """A model that was asked, as it came (``seed`` is None) or after training."""

    model: str
    seed: int | None
    manifest: Mapping[str, Any]
    report: ScoreReport


def run(out: Path, seeds: Sequence[int], traces: Path | None = None) -> list[Recorded]:
    """Ask and train both models and write the record to the folder ``out``."""
    dev = load_dataset("pocket", split="dev")
    standard = recipe_for(RECIPE)
    recipes = {name: replace(standard, base=f"distill-sql/{name}") for name in KINDS}
    learned = training_set(
        read_traces(traces or chapter_file("pocket")),
        load_tokenizer(base_folder(standard)),
        max_tokens=standard.length,
    )
    plan = []
    for name, recipe in recipes.items():
        plan.append((name, Experiment(replace(recipe, trained=False))))
        plan += [
            (name, Experiment(replace(recipe, seed=seed), learned.train, learned.validation))
            for seed in seeds
        ]
    outcomes = run_experiments([one for _, one in plan], dev, work_folder() / "pretraining-worth")
    for (name, _), outcome in zip(plan, outcomes, strict=True):
        _write(outcome, name, out)
    for name, recipe in recipes.items():
        shutil.copyfile(base_folder(recipe) / PRETRAINING, out / name / PRETRAINING)
    return recorded(out, dev)


def _write(outcome: Outcome, name: str, out: Path) -> None:
    recipe = outcome.experiment.recipe
    place = out / name / (f"seed{recipe.seed}" if recipe.trained else "base")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(outcome.predictions, place / "predictions.jsonl")
    right = outcome.report.accuracy()
    write_json(
        place / "manifest.json",
        read_json(outcome.predictions.with_suffix(".manifest.json"))
        | {
            "traces": len(outcome.experiment.traces),
            "questions": right.n,
            "correct": right.correct,
        },
    )


def recorded(folder: Path, dev: Dataset) -> list[Recorded]:
    """What :func:`run` left in ``folder``, scored anew; nothing if it is not there.

    Raises :class:`DatasetError` for a record of other questions.
    """
    found = []
    for path in sorted(folder.glob("*/*/manifest.json")):
        manifest = read_json(path)
        if manifest["questions"] != len(dev):
            raise DatasetError(
                f"{path} is of {manifest['questions']} questions, and {len(dev)} were given. "
                "Record the run again: python -m distill_sql.runs.worth."
            )
        report = score(read_predictions(path.with_name("predictions.jsonl"), dev), dev)
        seed = None if path.parent.name == "base" else int(path.parent.name.removeprefix("seed"))
        found.append(Recorded(path.parent.parent.name, seed, manifest, report))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 2 if the user's input is to blame."""
    parser = argparse.ArgumentParser(prog="python -m distill_sql.runs.worth", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="such as book/results/pretraining")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="N")
    parser.add_argument("--traces", type=Path, help="default: the teacher chapter's")
    options = parser.parse_args(argv)
    try:
        for one in run(options.out, options.seeds, options.traces):
            way = "as it comes" if one.seed is None else f"trained, seed {one.seed}"
            print(f"{one.model}, {way}: {one.report.accuracy().share:.1%}")
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m distill_sql.runs.worth``: how much the benchmark's patterns add to pretraining.

Two models of pocket-s's shape are pretrained on the same number of tokens. The lessons of one use
the benchmark's question patterns; those of the other compose questions from clauses
(:mod:`~distill_sql.pretraining.drawn`). Both are evaluated without training, then trained on the
teacher chapter's traces by pocket-s's recipe and evaluated again. Pretraining takes hours and is no
part of a build, so this is a recorded run. The models are folders in ``MODELS_DIR``, with the names
of :data:`KINDS`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DistillSqlError
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.records import (
    MANIFEST,
    Record,
    generation_manifest,
    read_records,
    write_manifest,
    write_predictions,
)
from distill_sql.settings import work_folder
from distill_sql.teacher.traces import chapter_file, read_traces
from distill_sql.training.experiments import Experiment, Outcome, run_experiments
from distill_sql.training.splits import TrainingSet, training_set

#: The two models, and the questions of their lessons.
KINDS: Mapping[str, str] = {
    "s-benchmark": "the benchmark's kinds of question",
    "s-drawn": "questions put together from clauses",
}
RECIPE = "pocket-s"
#: The record of a model's pretraining, beside its weights and in the recorded run.
PRETRAINING = "pretraining.json"


@dataclass(frozen=True)
class Recorded(Record):
    """A recorded model."""

    @property
    def model(self) -> str:
        """The model's name, one of :data:`KINDS`."""
        return self.folder.parent.name

    @property
    def seed(self) -> int | None:
        """The seed of its training run; None for the untrained model."""
        name = self.folder.name
        return None if name == "base" else int(name.removeprefix("seed"))


def run(out: Path, seeds: Sequence[int], traces: Path | None = None) -> list[Recorded]:
    """Evaluate both models, train them, evaluate again, and record the results in ``out``."""
    dev = load_dataset("pocket", split="dev")
    standard = recipe_for(RECIPE)
    recipes = {name: replace(standard, base=f"distill-sql/{name}") for name in KINDS}
    learned = training_set(
        read_traces(traces or chapter_file("pocket")),
        load_tokenizer(base_folder(standard)),
        max_tokens=standard.length,
    )
    plan = [
        (name, experiment)
        for name, recipe in recipes.items()
        for experiment in _experiments(recipe, seeds, learned)
    ]
    outcomes = run_experiments([one for _, one in plan], dev, work_folder() / "pretraining-worth")
    for (name, _), outcome in zip(plan, outcomes, strict=True):
        _write(outcome, out / name)
    for name, recipe in recipes.items():
        shutil.copyfile(base_folder(recipe) / PRETRAINING, out / name / PRETRAINING)
    return recorded(out, dev)


def _experiments(recipe: Recipe, seeds: Sequence[int], learned: TrainingSet) -> list[Experiment]:
    """The untrained model, then one training run per seed."""
    return [
        Experiment(replace(recipe, trained=False)),
        *(
            Experiment(replace(recipe, seed=seed), learned.train, learned.validation)
            for seed in seeds
        ),
    ]


def _write(outcome: Outcome, out: Path) -> None:
    recipe = outcome.experiment.recipe
    folder = out / (f"seed{recipe.seed}" if recipe.trained else "base")
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, outcome)
    about = generation_manifest(outcome) | {"traces": len(outcome.experiment.traces)}
    write_manifest(folder, outcome, about)


def recorded(folder: Path, dev: Dataset) -> list[Recorded]:
    """Read what :func:`run` wrote to ``folder``, and score its predictions again.

    The list is empty if there is no such folder. Raises :class:`~distill_sql.errors.DatasetError`
    for a record on other questions.
    """
    return read_records(
        Recorded, folder, f"*/*/{MANIFEST}", dev, command="python -m distill_sql.runs.worth"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 2 for an error in the user's input."""
    parser = argparse.ArgumentParser(prog="python -m distill_sql.runs.worth", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="such as book/results/pretraining")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="N")
    parser.add_argument("--traces", type=Path, help="default: the teacher chapter's")
    options = parser.parse_args(argv)
    try:
        for one in run(options.out, options.seeds, options.traces):
            way = "untrained" if one.seed is None else f"trained, seed {one.seed}"
            print(f"{one.model}, {way}: {one.report.accuracy().share:.1%}")
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

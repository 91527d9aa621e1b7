"""Chapter 3: the students that show what linking does to accuracy: their plan, and running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill_sql.book.pages.linking import Setting
from distill_sql.data.datasets import Dataset, has_split, load_dataset
from distill_sql.errors import ParameterError
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import Recipe, recipe_for, size_for
from distill_sql.prompting.prompts import style_of
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.scoring import ScoreReport
from distill_sql.teacher.traces import Trace, chapter_traces, reprompted
from distill_sql.training import splits
from distill_sql.training.experiments import FOLDER, Experiment, Outcome, run_experiments


@dataclass(frozen=True)
class Plan:
    """The students that are trained, and how each is asked.

    The student of the first experiment is taught on whole schemas and asked with them. At the
    budgets in ``taught`` another one is trained. ``count`` counts tokens as the students do.
    """

    recipe: Recipe
    count: Callable[[str], int]
    prepared: splits.TrainingSet
    questions: Dataset
    taught: tuple[int, ...]
    experiments: tuple[Experiment, ...]


def traces_for(traces: str, dataset: str, *, size: str) -> list[Trace]:
    """The traces to train on; none if no student is asked for or the dataset has no training split.

    ``traces`` names a file; empty stands for the teacher chapter's.
    """
    wanted = (size or dataset == "pocket") and has_split(dataset, "train")
    return chapter_traces(traces, dataset) if wanted else []


def untrained_note(dataset: str) -> str:
    """What to do where there are no traces."""
    how = (
        "`distill-sql book run teacher`, which leaves traces, and then `distill-sql book run "
        "linking`."
        if dataset == "pocket"
        else f"`distill-sql book run linking -p dataset {dataset} -p size SIZE -p traces FILE`, "
        "with the name of a recipe and a file of `distill-sql teacher traces` on the dataset's "
        "training questions."
    )
    return f"No student is trained here. To make this section, run {how}"


def plan_students(
    setting: Setting,
    traces: Sequence[Trace],
    *,
    dataset: str,
    size: str,
    questions: int,
    asked: Sequence[int],
    taught: Sequence[int],
    seed: int,
) -> Plan:
    """The experiments of the section.

    An empty ``taught`` stands for the middle budget of ``asked``. ``questions`` is how many are
    asked, 0 for all. If any schema lists synonyms, the first student is asked without them, too.
    Raises :class:`ParameterError` for a budget in ``taught`` that is not in ``asked``.
    """
    taught = taught or asked[len(asked) // 2 :][:1]
    if unknown := sorted(set(taught) - set(asked)):
        raise ParameterError(
            f"taught: {unknown} is not among the budgets asked, {list(asked)}. A student is taught "
            "at a budget that it is asked with: add it to both."
        )
    recipe = recipe_for(
        size or size_for(dataset), seed=seed, schema_tokens=0, style=style_of(traces[0].messages)
    )
    tokenizer = load_tokenizer(base_folder(recipe))
    prepared = splits.training_set(traces, tokenizer, max_tokens=recipe.length)
    train = load_dataset(dataset, split="train")
    by_budget = {
        tokens: _taught_at(tokens, recipe, prepared, train, tokenizer) for tokens in (0, *taught)
    }
    plan = [by_budget[0], *(replace(by_budget[0], schema_tokens=tokens) for tokens in asked)]
    if setting.has_synonyms:
        plan += [replace(one, synonyms=False) for one in plan]
    plan += [by_budget[tokens] for tokens in taught]
    return Plan(
        recipe, tokenizer.count, prepared, setting.data.limit(questions or None), tuple(taught),
        tuple(plan),
    )  # fmt: skip


def _taught_at(
    tokens: int,
    recipe: Recipe,
    prepared: splits.TrainingSet,
    train: Dataset,
    tokenizer: ChatTokenizer,
) -> Experiment:
    """A student taught by the same answers, with prompts within a budget (0: whole schemas)."""

    def prompted(traces: Sequence[Trace]) -> tuple[Trace, ...]:
        return tuple(
            reprompted(
                traces, train, style=recipe.style, schema_tokens=tokens, count=tokenizer.count
            )
        )

    return Experiment(
        replace(recipe, schema_tokens=tokens),
        prompted(prepared.train),
        prompted(prepared.validation),
        left_out=prepared.left_out,
    )


@dataclass(frozen=True)
class Answers:
    """The finished experiments of a plan, in its order."""

    plan: Plan
    outcomes: tuple[Outcome, ...]

    @property
    def usual(self) -> list[Outcome]:
        """Those asked with the synonyms that the schemas list; the first with whole schemas."""
        return [one for one in self.outcomes if one.experiment.synonyms]

    @property
    def whole(self) -> ScoreReport:
        """The report of the student that was taught and asked on whole schemas."""
        return self.usual[0].report

    @property
    def bare(self) -> dict[int, ScoreReport]:
        """The same student asked without synonyms, by budget (0: whole schemas)."""
        found = (one for one in self.outcomes if not one.experiment.synonyms)
        return {one.experiment.schema_asked: one.report for one in found}


def run_plan(plan: Plan, students: str) -> Answers:
    """Train the students and let them answer, in the folder ``students`` or the chapters' own."""
    outcomes = run_experiments(plan.experiments, plan.questions, Path(students or FOLDER))
    return Answers(plan, tuple(outcomes))

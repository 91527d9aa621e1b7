"""The training chapter: one size before and after distillation, and under several conditions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import altair as alt
import pandas as pd

from distill_sql.book.pages.ladder import (
    ASKED,
    BARE,
    Conditions,
    Material,
    Setup,
    conditions,
)
from distill_sql.book.shown import Figure, Table
from distill_sql.data.datasets import load_dataset
from distill_sql.models.recipes import RECIPES, Recipe
from distill_sql.scoring import LEVELS, ScoreReport
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.comparison import Comparison, compare
from distill_sql.scoring.gains import Gain, between, gain, in_points, points
from distill_sql.scoring.report import as_percent
from distill_sql.training.experiments import Experiment, Outcome
from distill_sql.training.outcome import Trained

#: What the chapter calls the students.
BASE, DISTILLED, DIRECT = "base", "distilled", "distilled, direct traces only"


@dataclass(frozen=True)
class Run:
    """The students of one size: :data:`BASE`, :data:`DISTILLED` and, if there is a recipe,
    :data:`DIRECT`.

    ``usual`` are asked as their traces were, ``bare`` without synonyms (pocket only). ``grammar``
    is the distilled student with answers that follow the grammar of the schema.
    """

    setup: Setup
    recipe: Recipe
    material: Material
    usual: dict[str, Outcome]
    bare: dict[str, Outcome]
    grammar: Outcome

    @property
    def size(self) -> str:
        return self.recipe.name

    @property
    def reports(self) -> dict[str, ScoreReport]:
        return {name: one.report for name, one in self.usual.items()}

    @property
    def trained(self) -> Trained:
        """The training run of the distilled student."""
        found = self.usual[DISTILLED].trained
        assert found is not None
        return found

    @cached_property
    def gain(self) -> Gain:
        """The gain of the distilled student over its base."""
        return gain([self.reports[BASE]], [self.reports[DISTILLED]], self.setup.dev)


def plan(setup: Setup, size: str, material: Material) -> list[Experiment]:
    """The experiments of one size.

    The validation loss is drawn for the distilled student, so only that student measures it.
    """
    usual = [Experiment(setup.recipe(f"{size}-base"))] + [
        material.experiment(setup.recipe(name), validate=name == size)
        for name in (size, f"{size}-direct")
        if name in RECIPES
    ]
    bare = [replace(one, synonyms=False) for one in usual[:2] if setup.is_pocket]
    return [*usual, *bare, replace(usual[1], grammar=True)]


def name_of(recipe: Recipe) -> str:
    """What the chapter calls a student of ``recipe``."""
    if not recipe.trained:
        return BASE
    return DIRECT if recipe.modes == "direct" else DISTILLED


def train(setup: Setup, size: str, *, amount: int = 0) -> Run | None:
    """Run the plan of one size on ``amount`` traces, 0 for all; None without traces."""
    if not setup.traces:
        return None
    recipe = setup.recipe(size)
    material = setup.material(recipe, amount=amount)
    return collect(setup, recipe, material, setup.run(plan(setup, size, material)))


def collect(setup: Setup, recipe: Recipe, material: Material, outcomes: Iterable[Outcome]) -> Run:
    """Sort the outcomes of :func:`plan` by how the students were asked."""
    usual, bare, grammar = {}, {}, []
    for one in outcomes:
        name = name_of(one.experiment.recipe)
        if one.experiment.grammar:
            grammar.append(one)
        elif one.experiment.synonyms:
            usual[name] = one
        else:
            bare[name] = one
    return Run(setup, recipe, material, usual, bare, grammar[0])


def gain_by_group(run: Run) -> str:
    """The gain in each group of questions, and where it comes from on pocket, as Markdown."""
    text = (
        "The change with further columns forgiven, by group of questions: "
        f"{run.gain.groups_in_words(run.setup.groups)}."
    )
    if run.recipe.pocket and run.gain.form > 0.5 * run.gain.strict.difference > 0:
        text += (
            " Pocket's bases return more columns than asked because they were pretrained to do "
            "so. This pretraining made most of the gain in execution accuracy possible."
        )
    return text


def accuracy_table(run: Run) -> Table:
    """The accuracy of every student with both intervals, and with further columns forgiven."""
    return Table(
        [
            {
                "student": name,
                "right": right.share,
                "questions": as_percent(right.interval),
                "databases": as_percent(right.clustered_interval),
                "kinder": forgiven(report, run.setup.dev).accuracy().share,
            }
            for name, report in run.reports.items()
            for right in [report.accuracy()]
        ],
        f"Execution accuracy of {run.size} on {run.setup.questions_in_words}; seed "
        f"{run.recipe.seed}. The 95 % intervals are over questions on these databases, and over "
        "databases.",
        columns={
            "student": "student",
            "right": "right",
            "questions": "interval, questions",
            "databases": "interval, databases",
            "kinder": "further columns forgiven",
        },
        formats={"right": ".1%", "kinder": ".1%"},
    )


def under_conditions(run: Run, *, neighbours: int) -> Conditions:
    """The students under all conditions; pocket's training questions stand in for missing ones."""
    train = run.setup.train
    return conditions(
        run.setup,
        {name: [one] for name, one in run.usual.items()},
        {name: [one] for name, one in run.bare.items()},
        neighbours=neighbours,
        train=load_dataset("pocket", split="train") if train is None else train,
    )


def conditions_table(run: Run, found: Conditions) -> Table:
    """Accuracy by group of questions and condition."""
    lender = "pocket" if run.setup.train is None else run.setup.dataset
    nearest = (
        f"Nearest question is a baseline: the query of {lender}'s most similar training question, "
        "with this database's names."
    )
    if run.setup.is_pocket:
        caption = (
            f"Execution accuracy by source of the question, seed {run.recipe.seed}: with the whole "
            "prompt, without the synonyms that pocket's schemas list, and with answers that must "
            "be right on neighbours of each database as well. The student trained on direct traces "
            f"only was not tested without synonyms. {nearest}"
        )
    else:
        caption = (
            "Execution accuracy by hardness, and with answers that must be right on neighbours of "
            f"each database as well. {nearest}"
        )
    return Table(found.records, caption, formats=dict.fromkeys(found.names, ".1%"))


def gain_on_neighbours(found: Conditions) -> str:
    """The gain with further columns forgiven if luck on one database does not count."""
    return (
        "When further columns are forgiven, one of many choices of columns may give the right rows "
        "by chance. If answers must be right on the neighbours as well, the change with further "
        f"columns forgiven is {in_points(found.gain(BASE, DISTILLED).kinder)}."
    )


def effect_of_synonyms(found: Conditions) -> str:
    """How much accuracy the distilled student loses without synonyms, as Markdown."""
    student = found.models[DISTILLED]
    lost = compare(student[BARE][0], student[ASKED][0])
    return (
        f"With synonyms in the prompt, the distilled student's accuracy is "
        f"**{points(lost.difference)} points** higher than without (95 % interval over databases "
        f"{between(lost.clustered_interval)}). It was trained with them. The author of pocket's "
        "generated questions also wrote its lists of synonyms; other databases may have no such "
        "lists."
    )


def hardness_chart(run: Run) -> Figure:
    """Accuracy of every student at each level of hardness, with intervals over questions."""
    rows = [
        {
            "student": name,
            "questions": level,
            "accuracy": right.share,
            "low": right.interval[0],
            "high": right.interval[1],
        }
        for name, report in run.reports.items()
        for level in LEVELS
        for right in [report.accuracy(level)]
        if right.n
    ]
    names = list(run.usual)
    bars = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("student:N", title=None, axis=None, sort=names)
    )
    colour = alt.Color(
        "student:N", title=None, sort=names, legend=alt.Legend(orient="top", columns=1)
    )
    tooltip = [
        "student",
        "questions",
        *(alt.Tooltip(name, format=".1%") for name in ("accuracy", "low", "high")),
    ]
    chart = alt.layer(
        bars.mark_bar().encode(
            y=alt.Y("accuracy:Q", axis=alt.Axis(format="%"), title="execution accuracy"),
            color=colour,
            tooltip=tooltip,
        ),
        bars.mark_rule().encode(y="low:Q", y2="high:Q"),
    )
    return Figure(
        chart.properties(width=70).facet(
            column=alt.Column("questions:N", sort=list(LEVELS), title=None), spacing=8
        ),
        f"Execution accuracy of {run.size} by hardness of the {len(run.setup.dev):,} dev "
        f"questions, with 95 % intervals over questions; seed {run.recipe.seed}.",
        "Bars of accuracy by hardness: "
        + "; ".join(f"{row['student']} {row['questions']} {row['accuracy']:.0%}" for row in rows),
    )


def without_reasoning(run: Run) -> str:
    """What changes if only direct traces are learned; empty if there is no such student."""
    if DIRECT not in run.usual:
        return ""
    pair = compare(run.reports[DISTILLED], run.reports[DIRECT])
    return (
        f"Training without the reasoning traces changes accuracy by {both_intervals(pair)}, with "
        f"one seed. Such training is also shorter: {_updates(run, DIRECT):,} updates instead of "
        f"{_updates(run, DISTILLED):,}. The controls of the scaling chapter compare both kinds of "
        "training on equally many traces."
    )


def both_intervals(pair: Comparison) -> str:
    """A difference of accuracies in points with both intervals, as Markdown."""
    return (
        f"**{points(pair.difference)} points** (95 % interval over questions "
        f"{between(pair.interval)}, over databases {between(pair.clustered_interval)})"
    )


def _updates(run: Run, name: str) -> int:
    trained = run.usual[name].trained
    return len(trained.updates) if trained else 0

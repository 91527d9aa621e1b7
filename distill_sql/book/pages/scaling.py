"""The scaling chapter: every size before and after distillation, over several seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from distill_sql.book.pages.ladder import ASKED, Conditions, Material, Setup, conditions
from distill_sql.book.shown import Table
from distill_sql.models.recipes import Recipe
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.gains import Gain, between, conclusions, gain, in_points, points, widest
from distill_sql.training.experiments import Experiment, Outcome

#: The teacher that the package carries; it is asked if all sizes are pocket's.
TEACHER = "pocket-teacher"


@dataclass(frozen=True)
class Plan:
    """The experiments of the chapter.

    ``ladder`` has the bases, the teacher, and every size with every seed. ``bare`` asks the same
    models without synonyms (pocket only). ``fewer`` has one size with fewer traces.
    """

    ladder: tuple[Experiment, ...]
    bare: tuple[Experiment, ...]
    fewer: tuple[Experiment, ...]


@dataclass(frozen=True)
class Ladder:
    """The outcomes of a :class:`Plan`, with the sizes, the smallest first, and their seeds."""

    setup: Setup
    material: Material
    sizes: tuple[str, ...]
    seeds: tuple[int, ...]
    scaled: str
    outcomes: tuple[Outcome, ...]
    bare: tuple[Outcome, ...]
    fewer: tuple[Outcome, ...]

    @cached_property
    def runs(self) -> dict[str, list[Outcome]]:
        """The outcomes of each model, by its name on the page."""
        return by_name(self.outcomes)

    @cached_property
    def reports(self) -> dict[str, list[ScoreReport]]:
        return {name: [one.report for one in runs] for name, runs in self.runs.items()}

    @cached_property
    def gains(self) -> dict[str, Gain]:
        """The gain of each size over its base, as means over the seeds."""
        return {size: gain(*self.before_and_after(size), self.setup.dev) for size in self.sizes}

    def before_and_after(self, size: str) -> tuple[list[ScoreReport], list[ScoreReport]]:
        """The reports of a size's base, and of its distilled students."""
        return self.reports[self.name(f"{size}-base")], self.reports[self.name(size)]

    def name(self, recipe: str) -> str:
        """What the page calls the models of a recipe."""
        return name_of(self.setup.recipe(recipe))

    @property
    def names(self) -> list[str]:
        """The models in the order of charts: each size's base and students, then the others."""
        found = [self.name(one) for size in self.sizes for one in (f"{size}-base", size)]
        return found + [name for name in self.runs if name not in found]

    @property
    def pocket(self) -> bool:
        """Whether all sizes are pocket's."""
        return all(self.setup.recipe(size).pocket for size in self.sizes)

    @property
    def seeds_in_words(self) -> str:
        return f"mean of {len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"


def kind_of(recipe: Recipe) -> str:
    """Whether a recipe is that of a base, a distilled student or the teacher."""
    if recipe.trained:
        return "distilled"
    return "teacher" if recipe.name == TEACHER else "base"


def name_of(recipe: Recipe) -> str:
    """What the page calls the models of a recipe."""
    return TEACHER if recipe.name == TEACHER else f"{recipe.model} {kind_of(recipe)}"


def by_name(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each model: one per seed if it is trained."""
    found: dict[str, list[Outcome]] = {}
    for one in outcomes:
        found.setdefault(name_of(one.experiment.recipe), []).append(one)
    return found


def plan(
    setup: Setup,
    material: Material,
    sizes: Sequence[str],
    seeds: Sequence[int],
    *,
    amounts: Sequence[int] = (),
    scaled: str,
) -> Plan:
    """The experiments: see :class:`Plan`. Only whole runs measure the validation loss."""
    asked = [f"{size}-base" for size in sizes]
    if all(setup.recipe(size).pocket for size in sizes):
        asked.append(TEACHER)
    ladder = [Experiment(setup.recipe(name)) for name in asked] + [
        material.experiment(setup.recipe(size, seed=seed)) for size in sizes for seed in seeds
    ]
    bare = [replace(one, synonyms=False) for one in ladder if setup.is_pocket]
    fewer = [
        material.experiment(setup.recipe(scaled, seed=seeds[0]), count=count, validate=False)
        for count in amounts
        if count < len(material.learned)
    ]
    return Plan(tuple(ladder), tuple(bare), tuple(fewer))


def train(
    setup: Setup,
    sizes: Sequence[str],
    seeds: Sequence[int],
    *,
    amount: int = 0,
    amounts: Sequence[int] = (),
    scaled: str = "",
) -> Ladder | None:
    """Run the plan on ``amount`` of the traces, 0 for all; None without traces.

    ``scaled`` is the size that also learns from ``amounts`` of traces, by default the second.
    """
    if not setup.traces:
        return None
    scaled = scaled or sizes[min(1, len(sizes) - 1)]
    material = setup.material(setup.recipe(sizes[0]), amount=amount)
    planned = plan(setup, material, sizes, seeds, amounts=amounts, scaled=scaled)
    found = iter(setup.run([*planned.ladder, *planned.bare, *planned.fewer]))
    ladder, bare, fewer = (
        tuple(next(found) for _ in part) for part in (planned.ladder, planned.bare, planned.fewer)
    )
    return Ladder(setup, material, tuple(sizes), tuple(seeds), scaled, ladder, bare, fewer)


def gains_in_words(ladder: Ladder) -> str:
    """What distillation adds to every size, as Markdown."""
    dev = ladder.setup.dev
    changes = "; ".join(
        f"{size}: execution accuracy {points(found.strict.difference)} points, with further "
        f"columns forgiven {in_points(found.kinder)}"
        for size, found in ladder.gains.items()
    )
    return (
        " ".join(f"**{text}**" for text in conclusions(ladder.gains))
        + f" Changes by distillation on {len(dev):,} dev questions about {len(dev.db_ids)} "
        f"databases ({ladder.seeds_in_words}): {changes}."
    )


def gains_table(ladder: Ladder) -> Table:
    """The accuracy of each size before and after, and both gains with their intervals."""
    over = [widest(found.strict)[0] for found in ladder.gains.values()]
    return Table(
        [
            {
                "model": size,
                "base": found.strict.runs_a[0],
                "distilled": sum(found.strict.runs_b) / len(ladder.seeds),
                "points": found.strict.difference * 100,
                "databases": between(widest(found.strict)[1]),
                "kinder": found.kinder.difference * 100,
                "kinder databases": between(widest(found.kinder)[1]),
            }
            for size, found in ladder.gains.items()
        ],
        f"Execution accuracy on {ladder.setup.questions_in_words}: base, and distilled "
        f"({ladder.seeds_in_words}). The last two columns are the gain with further columns "
        f"forgiven. Intervals are 95 %, over {over[0]} and seeds.",
        columns={
            "model": "model",
            "base": "base",
            "distilled": "distilled",
            "points": "points",
            "databases": "interval",
            "kinder": "points, columns forgiven",
            "kinder databases": "interval, columns forgiven",
        },
        formats={"base": ".1%", "distilled": ".1%", "points": "+.1f", "kinder": "+.1f"},
    )


def gains_by_group(ladder: Ladder) -> str:
    """The gain of each size in each group of questions, as Markdown."""
    lines = "\n".join(
        f"- {size}: {found.groups_in_words(ladder.setup.groups)}"
        for size, found in ladder.gains.items()
    )
    text = f"The change with further columns forgiven, by group of questions:\n\n{lines}"
    if ladder.pocket:
        text += (
            "\n\nPocket's bases were pretrained on queries with more columns than asked. This was "
            "on purpose: it leaves their students a form to learn. The training chapter says what "
            "is known about how their recipe was chosen."
        )
    return text


def under_conditions(ladder: Ladder, *, neighbours: int) -> Conditions:
    """All models under all conditions; nearest question only if there are training questions."""
    setup = ladder.setup
    return conditions(
        setup, ladder.runs, by_name(ladder.bare), neighbours=neighbours, train=setup.train
    )


def conditions_table(ladder: Ladder, found: Conditions) -> Table:
    """The accuracies of :func:`~distill_sql.book.pages.scaling_charts.conditions_chart`."""
    return Table(
        found.records,
        f"The accuracies of the chart above, and those on all {len(ladder.setup.dev):,} questions.",
        filters=["group"],
        page=len(found.models) * 3,
        formats=dict.fromkeys(found.names, ".1%"),
    )


def sources_in_words(ladder: Ladder, found: Conditions) -> str:
    """The largest size on handwritten and on generated questions, as Markdown."""
    largest = ladder.sizes[-1]
    written, made = (
        found.record(ladder.name(largest), group) for group in ("handwritten", "generated")
    )
    return (
        f"{largest} answers **{written[ASKED]:.1%}** of the {written['questions']} handwritten "
        f"questions and **{made[ASKED]:.1%}** of the {made['questions']} generated ones "
        f"({ladder.seeds_in_words}). The generator also made the training questions, on other "
        "databases. So the first figure says more about questions that people ask; the figure on "
        "all questions mixes the two."
    )


def gains_on_neighbours(ladder: Ladder, found: Conditions) -> str:
    """The gain of each size if luck on one database does not count, as Markdown."""
    changes = "; ".join(
        f"{size} {in_points(change.kinder)}"
        for size in ladder.sizes
        for change in [found.gain(ladder.name(f"{size}-base"), ladder.name(size))]
    )
    return (
        "When further columns are forgiven, one of many choices of columns may give the right rows "
        "by chance. If answers must be right on the neighbours as well, these are the changes by "
        f"distillation, with further columns forgiven: {changes}."
    )


def has_both_sources(groups: Mapping[int, str]) -> bool:
    """Whether there are handwritten and generated questions."""
    return {"handwritten", "generated"} <= set(groups.values())

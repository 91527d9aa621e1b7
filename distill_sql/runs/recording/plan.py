"""A plan file: the students to train, what they learn, and the questions that they answer.

It is a TOML file such as::

    traces = "traces.jsonl"          # what students learn, unless they name another file
    train = "spider"                 # the dataset whose gold queries `learns = "gold"` means
    validation = 32                  # traces whose loss is measured in training; all if left out

    [[evaluation]]
    name = "spider-dev"
    dataset = "spider"               # also: split, path, questions, limit, grammar, neighbours,
                                     # schema_tokens
    [[student]]
    name = "coder-0.5b-250"
    recipe = "coder-0.5b"
    set = {grouping = "database"}    # values of the recipe
    learns = "traces"                # or "gold": the gold queries of the same questions
    amount = 250                     # traces, 0 for all; smaller samples are part of larger ones
    comparison = "250"               # students of one comparison learn from equally many traces
    seeds = [42, 43]
    evaluations = ["spider-dev"]     # all if left out

A student whose recipe is a base row is not trained.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from distill_sql.data.databases import check_name
from distill_sql.errors import ParameterError
from distill_sql.files import read_text
from distill_sql.models.recipes import Recipe, recipe_for

#: Names of an evaluation that would be those of other files of a student.
RESERVED = ("training", "manifest", "losses", "adapter")
#: Values of a recipe that decide what can be learned and how updates are composed.
COMPOSITION = ("base", "batch", "epochs", "grouping", "length", "style", "schema_tokens")


@dataclass(frozen=True)
class Evaluation:
    """Questions of a dataset, and how they are asked and judged.

    ``questions`` is another file of questions on the dataset's databases, and ``limit`` the number
    of questions that are asked, 0 for all. Answers are also judged on ``neighbours`` variants of
    each database. ``schema_tokens`` limits a prompt's schema; None is the recipe's limit.
    """

    name: str
    dataset: str = "pocket"
    split: str = "dev"
    path: str = ""
    questions: str = ""
    limit: int = 0
    grammar: bool = False
    neighbours: int = 0
    schema_tokens: int | None = None


@dataclass(frozen=True)
class PlannedStudent:
    """A recipe with some values replaced, what it learns, and its evaluations.

    ``learns`` is ``traces`` or ``gold``; ``traces`` is the file, empty for the plan's.
    """

    name: str
    recipe: str
    set: Mapping[str, Any] = field(default_factory=dict)
    learns: str = "traces"
    traces: str = ""
    amount: int = 0
    comparison: str = ""
    seeds: Sequence[int] = ()
    evaluations: Sequence[str] = ()

    def with_seed(self, seed: int) -> Recipe:
        """The recipe with its values replaced and this seed."""
        return recipe_for(self.recipe, **{**self.set, "seed": seed})

    @property
    def example(self) -> Recipe:
        """The recipe with the first seed."""
        return self.with_seed(self.all_seeds[0])

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds; without any, that of the recipe."""
        return tuple(self.seeds) or (recipe_for(self.recipe, **self.set).seed,)


@dataclass(frozen=True)
class Plan:
    """The content of a plan file; ``name`` and ``folder`` are the file's."""

    name: str
    folder: Path
    students: tuple[PlannedStudent, ...]
    evaluations: tuple[Evaluation, ...]
    traces: str = ""
    train: str = "pocket"
    train_path: str = ""
    validation: int | None = None

    def evaluations_of(self, student: PlannedStudent) -> list[Evaluation]:
        """The evaluations of a student, in the plan's order."""
        wanted = student.evaluations or [one.name for one in self.evaluations]
        return [one for one in self.evaluations if one.name in wanted]

    def compared(self, student: PlannedStudent) -> tuple[PlannedStudent, ...]:
        """The students of a student's comparison, itself included."""
        if not student.comparison:
            return (student,)
        return tuple(one for one in self.students if one.comparison == student.comparison)


def read_plan(path: Path, *, traces: str = "") -> Plan:
    """Read a plan file; ``traces`` replaces its file of traces.

    Raises :class:`ParameterError` naming the first thing that is wrong.
    """
    try:
        content = tomllib.loads(read_text(path, error=ParameterError))
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"{path} is not TOML: {error}. Correct the file.") from None
    tables = {name: _tables(path, content, name) for name in ("student", "evaluation")}
    rest = {key: value for key, value in content.items() if key not in tables}
    made = {
        "name": path.stem,
        "folder": path.resolve().parent,
        "students": tuple(
            _made(PlannedStudent, one, f"{path}, student {number}")
            for number, one in enumerate(tables["student"], start=1)
        ),
        "evaluations": tuple(
            _made(Evaluation, one, f"{path}, evaluation {number}")
            for number, one in enumerate(tables["evaluation"], start=1)
        ),
    }
    plan = _made(Plan, rest, str(path), made)
    plan = replace(plan, traces=traces or plan.traces)
    _check_names(path, plan)
    for student in plan.students:
        _check_student(path, plan, student)
    return plan


def _tables(path: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise ParameterError(f"{path} has no [[{name}]]: expected at least one. Add it.")
    return found


#: For every type of a field: whether a value fits, and the expected value in words.
_FITS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (lambda value: _is_count(value), "a whole number, 0 or more"),
    "int | None": (lambda value: _is_count(value), "a whole number, 0 or more"),
    "Mapping[str, Any]": (lambda value: isinstance(value, dict), "a table"),
    "Sequence[int]": (
        lambda value: isinstance(value, list) and all(map(_is_count, value)),
        "a list of whole numbers",
    ),
    "Sequence[str]": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of texts",
    ),
}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


Kind = TypeVar("Kind")


def _made(
    kind: type[Kind], table: Mapping[str, Any], where: str, made: Mapping[str, Any] | None = None
) -> Kind:
    """A record of a table's values, which are checked, and of values that are ``made`` already."""
    made = made or {}
    known = {one.name: one for one in fields(kind) if one.name not in made}  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ParameterError(f"{where}: unknown {name!r}.{hint} There are: {', '.join(known)}.")
        fits, expected = _FITS[str(known[name].type)]
        if not fits(value):
            raise ParameterError(f"{where}: {name} is {value!r}; expected {expected}.")
    for name, one in known.items():
        needed = one.default is MISSING and one.default_factory is MISSING
        if needed and not table.get(name):
            raise ParameterError(f"{where} has no {name}. Add it.")
    return kind(**made, **table)


def _check_names(path: Path, plan: Plan) -> None:
    for what, names in (
        ("student", [one.name for one in plan.students]),
        ("evaluation", [one.name for one in plan.evaluations]),
    ):
        for name, count in Counter(names).items():
            check_name(name, what=f"{path}: the name of the {what}")
            if count > 1:
                raise ParameterError(f"{path}: {count} {what}s are called {name!r}. Rename them.")
            if what == "evaluation" and name in RESERVED:
                raise ParameterError(f"{path}: an evaluation cannot be called {name!r}. Rename it.")


def _check_student(path: Path, plan: Plan, student: PlannedStudent) -> None:
    where = f"{path}, student {student.name}"
    known = [one.name for one in plan.evaluations]
    if unknown := [name for name in student.evaluations if name not in known]:
        raise ParameterError(
            f"{where}: no evaluation {unknown[0]!r} in the plan; there are {', '.join(known)}."
        )
    recipe = student.example
    if "seed" in student.set:
        raise ParameterError(f"{where}: give the seed as seeds = [{student.set['seed']}].")
    if student.learns not in ("traces", "gold"):
        raise ParameterError(f'{where}: learns is {student.learns!r}; expected "traces" or "gold".')
    if not recipe.trained:
        if student.learns == "gold" or student.traces or student.amount or student.comparison:
            raise ParameterError(
                f"{where}: recipe {recipe.name} is a base row, which learns nothing. Leave out "
                "learns, traces, amount and comparison, or name a recipe that is trained."
            )
        return
    if not (student.traces or plan.traces):
        raise ParameterError(
            f"{where} has no traces to learn from. Give their file with --traces, or in the plan."
        )
    for other in plan.compared(student):
        for name in COMPOSITION:
            mine, its = getattr(recipe, name), getattr(other.example, name)
            if mine != its:
                raise ParameterError(
                    f"{where}: it is compared with {other.name} ({student.comparison!r}), but "
                    f"{name} is {mine!r} here and {its!r} there, so their updates would differ. "
                    "Give both the same value, or put them in different comparisons."
                )

"""Plan files are read completely, and what is wrong in them is an error that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_sql.errors import DistillSqlError, ParameterError
from distill_sql.runs.recording.plan import Plan, read_plan

from ...conftest import ROOT
from .conftest import PLAN


def test_the_tiny_plan_is_read(trace_file: Path) -> None:
    plan = read_plan(PLAN, traces=str(trace_file))
    assert (plan.name, plan.traces, plan.validation) == ("pocket-tiny", str(trace_file), 4)
    base, distilled, gold = plan.students
    assert (base.all_seeds, distilled.all_seeds) == ((42,), (42, 43))
    assert [one.name for one in plan.evaluations_of(distilled)] == [
        "pocket-dev", "pocket-dev-grammar",
    ]  # fmt: skip
    assert [one.name for one in plan.evaluations_of(base)] == ["pocket-dev"]
    recipe = distilled.with_seed(43)
    assert (recipe.name, recipe.seed, recipe.grouping) == ("pocket-s", 43, "database")
    assert plan.compared(gold) == (distilled, gold)
    assert plan.compared(base) == (base,)


@pytest.mark.parametrize("path", sorted(PLAN.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_plan_of_the_book_is_valid(path: Path) -> None:
    plan = read_plan(path)
    assert plan.folder == ROOT / "book" / "plans"
    if plan.name == "coder-spider":  # where training by database saves most of the time
        trained = [one.example for one in plan.students if one.example.trained]
        assert {recipe.grouping for recipe in trained} == {"database"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "base"\n', "", "student 1 has no name"),
        ('name = "gold"', 'name = "distilled"', "2 students are called 'distilled'"),
        ('name = "pocket-dev"\n', 'name = "manifest"\n', "cannot be called 'manifest'"),
        ('name = "base"', 'name = "a/b"', "slash"),
        ("grammar = true", 'grammar = "yes"', "grammar is 'yes'; expected true or false"),
        ("limit = 12\nneigh", "limit = -1\nneigh", "limit is -1; expected a whole number"),
        ("amount = 16", "amonut = 16", "unknown 'amonut'. Did you mean 'amount'"),
        ("seeds = [42, 43]", "seeds = [true]", "a list of whole numbers"),
        ('train = "pocket"', "teacher = 1", "unknown 'teacher'"),
        ('learns = "gold"', 'learns = "silver"', "learns is 'silver'"),
        ('recipe = "pocket-s-base"', 'recipe = "pocket-xs"', "Unknown recipe 'pocket-xs'"),
        ('recipe = "pocket-s-base"', 'recipe = "pocket-s-base"\namount = 3', "learns nothing"),
        ('evaluations = ["pocket-dev"]', 'evaluations = ["dev"]', "no evaluation 'dev'"),
        ('"database"}\nlearns', '"mixed"}\nlearns', "grouping is 'database' here and 'mixed'"),
        ('"database"}\nlearns', '"database", seed = 4}\nlearns', "give the seed as seeds = [4]"),
        ("[[evaluation]]", "[[evaluations]]", "has no [[evaluation]]"),
        ("[[student]]", "[[student]", "is not TOML"),
    ],
)
def test_mistakes_in_a_plan(written: Callable[..., Plan], old: str, new: str, message: str) -> None:
    with pytest.raises(DistillSqlError) as error:
        written(changes={old: new})
    assert message in str(error.value)


def test_traces_are_needed_to_train(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.read_text().replace('traces = "pocket.jsonl"', ""))
    with pytest.raises(ParameterError, match=r"distilled has no traces.*--traces"):
        read_plan(path)
    with pytest.raises(ParameterError, match="does not exist"):
        read_plan(tmp_path / "none.toml")

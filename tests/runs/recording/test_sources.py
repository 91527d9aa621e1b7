"""What students learn: samples of equal size, on the same questions, held out alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import ParameterError
from distill_sql.models.folders import base_folder
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.recording.plan import Evaluation, Plan
from distill_sql.runs.recording.sources import Sources
from distill_sql.teacher.traces import Trace
from distill_sql.training.splits import training_set


def ids(traces: Iterable[Trace]) -> set[int]:
    return {trace.question_id for trace in traces}


def test_gold_queries_are_those_of_the_same_questions(
    written: Callable[..., Plan], tmp_path: Path
) -> None:
    found = Sources(written(), tmp_path)
    _, distilled, gold = found.plan.students
    one, other = found.learned(distilled), found.learned(gold)
    assert len(one.train) == len(other.train) == 16
    assert [t.question_id for t in one.train] == [t.question_id for t in other.train]
    queries = {e.question_id: e.query for e in found.train}
    for trace in other.train:
        assert (trace.mode, trace.sql) == ("direct", queries[trace.question_id])
        assert trace.completion == f"```sql\n{trace.query}\n```"
    assert {trace.mode for trace in one.train} == {"direct", "reasoning"}
    assert one.validation == other.validation


def test_a_comparison_has_the_size_of_its_smallest_member(
    written: Callable[..., Plan], tmp_path: Path
) -> None:
    """All traces are wanted; the direct ones are the fewest."""
    plan = written(changes={'learns = "gold"': "", "amount = 16": "amount = 0"})
    direct = replace(plan.students[2], recipe="pocket-s-direct")
    plan = replace(plan, students=(*plan.students[:2], direct))
    found = Sources(plan, tmp_path)
    both, alone = found.learned(plan.students[1]), found.learned(direct)
    recipe = direct.example
    file = found.traces_of(direct)
    tokenizer = load_tokenizer(base_folder(recipe))
    prepared = training_set(file.traces, tokenizer, max_tokens=recipe.length)
    assert ids(alone.train) == ids(t for t in prepared.train if t.mode == "direct")
    assert len(both.train) == len(alone.train) < len(prepared.train)
    free = replace(plan, students=(replace(plan.students[1], comparison=""),))
    assert Sources(free, tmp_path).learned(free.students[0]).train == prepared.train


def test_samples_are_nested_and_validation_is_limited(
    written: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = replace(written(), validation=0)
    found = Sources(plan, tmp_path)
    alone = replace(plan.students[1], comparison="")
    small, large = (found.learned(replace(alone, amount=count)) for count in (8, 24))
    assert (len(small.train), len(large.train)) == (8, 24)
    assert ids(small.train) < ids(large.train)
    assert small.validation == ()


def test_prompts_of_traces_and_recipe_must_agree(
    written: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = written(changes={'{grouping = "database"}': '{grouping = "database", style = "full"}'})
    with pytest.raises(ParameterError, match=r"set = {style = 'compact'}"):
        Sources(plan, tmp_path).check_prompts(plan.students[1])


def test_files_are_found_beside_the_plan_in_the_state_and_beside_the_dataset(
    written: Callable[..., Plan], tmp_path: Path, trace_file: Path, toy_dataset: Path
) -> None:
    plan = replace(written(), traces="some.jsonl")
    state = tmp_path / "state"
    state.mkdir()
    found = Sources(plan, state)
    with pytest.raises(ParameterError, match=f"some.jsonl.*{state}.*none of them"):
        found.traces_of(plan.students[1])
    (state / "some.jsonl").write_bytes(trace_file.read_bytes())
    about = found.traces_of(plan.students[1]).description()
    assert (about["file"], about["traces"], about["teachers"]) == ("some.jsonl", 200, ["teacher"])
    record = {"db_id": "shop", "SpiderSynQuestion": "How many buyers?", "query": "SELECT 1"}
    (toy_dataset.parent / "other.json").write_text(json.dumps([record]))
    asked = found.dataset(Evaluation("e", str(toy_dataset), questions="other.json"))
    assert [e.question for e in asked] == ["How many buyers?"]
    assert asked.name.endswith("/other")


def test_traces_of_another_dataset_have_no_gold_queries(
    written: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = written()
    found = Sources(plan, tmp_path)
    found.__dict__["train"] = load_dataset("pocket", split="dev")
    with pytest.raises(ParameterError, match="not a training question of pocket"):
        found.learned(plan.students[2])

"""The prompts of generation, their schema budget, and resumption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import OutOfTime, ParameterError, PredictionError
from distill_sql.models.generation import generate
from distill_sql.prompting.prompts import prompt_messages, tokenizer_for
from distill_sql.prompting.tokenizer import ChatTokenizer


class Recorder:
    """A student with empty answers that records its prompts."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer
        self.asked: list[str] = []

    def complete(
        self, prefix: Sequence[int], rest: Sequence[Sequence[int]], **_: object
    ) -> list[list[int]]:
        for own in rest:
            ids = [*prefix, *own]
            self.asked.append(self.tokenizer.backend.decode(ids, skip_special_tokens=False))
        if self.asked and getattr(self, "dies", False):
            raise KeyboardInterrupt
        return [[] for _ in rest]


@pytest.mark.parametrize("style", ["full", "compact"])
def test_prompts_are_those_of_the_budget(tmp_path: Path, style: Any) -> None:
    dev = load_dataset("pocket").limit(12)
    tokenizer = tokenizer_for(dev)
    # Tokens are counted with the student's tokenizer, not the dataset's.
    words = ChatTokenizer("words", tokenizer.backend)
    student: Any = Recorder(words)
    generate(student, dev, tmp_path / "p.jsonl", model="m", style=style, schema_tokens=120,
             progress=False)  # fmt: skip
    wanted = [
        words.render(prompt_messages(dev, e, style=style, schema_tokens=120, count=words.count))
        for e in dev
    ]
    assert sorted(student.asked) == sorted(wanted)
    whole = [words.render(prompt_messages(dev, e, style=style)) for e in dev]
    assert not set(whole) & set(wanted)


def test_a_run_with_another_budget_does_not_go_on_from_this_one(tmp_path: Path) -> None:
    dev = load_dataset("pocket").limit(3)
    student: Any = Recorder(tokenizer_for(dev))
    student.dies = True
    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate(student, dev, out, model="m", schema_tokens=300, progress=False)
    begun = json.loads(out.with_name("p.jsonl.part").read_text().splitlines()[0])
    assert begun["schema_tokens"] == 300
    student.dies = False
    with pytest.raises(PredictionError, match="begun with other settings"):
        generate(student, dev, out, model="m", progress=False)
    generate(student, dev, out, model="m", schema_tokens=300, progress=False)


def test_a_run_out_of_time_continues_with_the_missing_questions(tmp_path: Path) -> None:
    dev = load_dataset("pocket").limit(5)
    student: Any = Recorder(tokenizer_for(dev))
    out, options = tmp_path / "p.jsonl", {"model": "m", "batch": 2, "progress": False}
    with pytest.raises(OutOfTime, match="after 2 of 5 questions"):
        generate(student, dev, out, stop_at=0.0, **options)
    assert not out.exists()
    generate(student, dev, out, **options)
    assert len(student.asked) == len(set(student.asked)) == 5
    ids = [json.loads(line)["question_id"] for line in out.read_text().splitlines()]
    assert ids == [example.question_id for example in dev]


def test_a_wrong_budget_is_told_before_anything_is_written(tmp_path: Path) -> None:
    student: Any = SimpleNamespace()
    with pytest.raises(ParameterError, match="--schema-tokens"):
        generate(student, load_dataset("pocket"), tmp_path / "p.jsonl", model="m",
                 schema_tokens=-1)  # fmt: skip
    assert list(tmp_path.iterdir()) == []

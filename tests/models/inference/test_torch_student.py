"""Decoding several batches at once: the answers are those of one batch after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.generation import answers, prompt_ids, shared_prefix
from distill_sql.models.protocol import ClosingFence, JoiningStudent, Prompts
from distill_sql.models.recipes import recipe_for

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytest.importorskip("peft", reason="the extra train is not installed")

from distill_sql.models import torch_backend  # noqa: E402
from distill_sql.models.folders import base_folder  # noqa: E402
from distill_sql.models.inference import decoding, lean, torch_student  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

#: Questions of each batch, by their places in the dataset: several databases and lengths.
BATCHES = ([0, 1, 2], [3, 4], [100, 101, 102, 103], [250], [251, 252], [400])


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket")


@pytest.fixture(scope="module", params=["lean", "transformers"])
def student(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An untrained base in float32, with either decoder."""
    recipe = recipe_for("pocket-s-base", precision="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean, "used_for", lambda *_: request.param == "lean")
        yield torch_backend.load(base_folder(recipe), recipe)


def batches_of(student: Any, dev: Dataset) -> list[Prompts]:
    found = []
    for numbers in BATCHES:
        ids = [
            prompt_ids(student.tokenizer, dev, dev.examples[n], style="compact") for n in numbers
        ]
        shared = shared_prefix(ids)
        found.append(Prompts(ids[0][:shared], [one[shared:] for one in ids]))
    return found


@pytest.mark.parametrize("rows", [1, 4, 6, 100])
def test_batches_decoded_together_are_answered_as_one_by_one(
    student: Any, dev: Dataset, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = batches_of(student, dev)
    options: dict[str, Any] = {"max_tokens": 20, "finished": ClosingFence(student.tokenizer)}
    wanted = {
        (number, place): ids
        for number, batch in enumerate(batches)
        for place, ids in enumerate(student.complete(batch.prefix, batch.suffixes, **options))
    }
    assert len({len(ids) for ids in wanted.values()}) > 1  # else nothing ends before the others
    widths: list[int] = []
    forward = student.model.model.forward

    def counted(**inputs: Any) -> Any:
        if "position_ids" in inputs and inputs["input_ids"].shape[1] == 1:
            widths.append(len(inputs["input_ids"]))
        return forward(**inputs)

    monkeypatch.setattr(student.model.model, "forward", counted)
    assert isinstance(student, JoiningStudent)
    found = [a for over in student.complete_all(batches, rows=rows, **options) for a in over]
    assert {(one.batch, one.place): one.ids for one in found} == wanted
    assert len(found) == len(wanted)
    # No more rows than allowed, unless a single batch has more.
    assert max(widths) <= max(rows, 4)
    longest = sum(
        max(len(wanted[n, place]) for place in range(len(batch.suffixes)))
        for n, batch in enumerate(batches)
    )
    assert len(widths) < longest if rows > 4 else len(widths) <= longest


def test_few_prefixes_are_kept_at_the_same_time(
    student: Any, dev: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    together = decoding.joint_logits

    def counted(model: Any, batches: Sequence[Any]) -> Any:
        sizes.append(len(batches))
        return together(model, batches)

    monkeypatch.setattr(decoding, "joint_logits", counted)
    monkeypatch.setattr(torch_student, "TOGETHER", 2)
    options: dict[str, Any] = {"max_tokens": 5, "finished": lambda _: False, "rows": 100}
    assert sum(map(len, student.complete_all(batches_of(student, dev), **options))) == 13
    assert max(sizes) == 2


def test_an_answer_that_ends_at_once_is_not_continued(student: Any, dev: Dataset) -> None:
    batches = batches_of(student, dev)
    found = [
        answer
        for over in student.complete_all(
            batches, rows=100, max_tokens=9, finished=lambda ids: len(ids) == 1
        )
        for answer in over
    ]
    assert [len(answer.ids) for answer in found] == [1] * sum(map(len, BATCHES))


def test_predictions_come_when_they_are_finished(student: Any, dev: Dataset) -> None:
    """A long answer does not hold back the short ones of its batch."""
    asked = dev.with_examples(dev.examples[n] for n in range(12))
    came = [
        [one.question_id for one in together]
        for together in answers(student, asked, asked.examples, style="compact", max_tokens=40)
    ]
    assert sorted(chain.from_iterable(came)) == list(range(12))
    assert len(came) > 1


def test_a_student_of_single_batches_is_asked_one_after_the_other(dev: Dataset) -> None:
    class Plain:
        tokenizer = torch_backend.load_tokenizer(base_folder(recipe_for("pocket-s-base")))
        sizes: list[int] = []  # noqa: RUF012

        def complete(
            self, prefix: Sequence[int], suffixes: Sequence[Sequence[int]], **_: object
        ) -> list[list[int]]:
            self.sizes.append(len(suffixes))
            return [self.tokenizer.encode("SELECT 1") for _ in suffixes]

    student: Any = Plain()
    asked = dev.examples[:5]
    found = [a for together in answers(student, dev, asked, batch=3) for a in together]
    assert len(found) == 5
    assert student.sizes == [3, 2]

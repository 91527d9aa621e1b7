"""The sets of controls: their content, and that compared sets have the same size and databases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import TrainingError
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.prompts import prompt_messages, tokenizer_for
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.runs.controls.sets import (
    AGAINST,
    CONTROLS,
    Draw,
    direct_only,
    equal_sets,
    gold_traces,
    resampled,
    unfiltered_traces,
)
from distill_sql.teacher import Sample, Settings, Store, requests_for
from distill_sql.teacher.traces import Sieve, Trace


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return tokenizer_for(load_dataset("pocket", split="train"))


def answers(shop: Dataset, settings: Settings, path: Path, texts: list[list[str]]) -> None:
    """Put the samples of each question into a store, as a teacher's run does."""
    with Store(path) as store:
        for request, samples in zip(requests_for(shop, settings), texts, strict=True):
            found = {n: Sample(text, "stop", 1, 1, 0) for n, text in enumerate(samples)}
            bound = 0
            store.settle(request.key, request.body, found, bound=bound)


def trace(number: int, *, mode: str = "direct") -> Trace:
    messages = ({"role": "user", "content": f"question {number}"},)
    sql = f"SELECT {number}"
    return Trace(
        number, f"db{number % 20}", f"q{number}", "", mode, messages,  # type: ignore[arg-type]
        f"```sql\n{sql}\n```", sql, 3, 2, "m", 1, 1, 0,
    )  # fmt: skip


def test_gold_has_the_prompts_of_students_and_the_gold_queries(shop: Dataset) -> None:
    found = gold_traces(shop, shop, style="compact", schema_tokens=40)
    for one, example in zip(found, shop, strict=True):
        asked = prompt_messages(shop, example, style="compact", schema_tokens=40)
        assert list(one.messages) == asked
        assert (one.sql, one.mode, one.schema_tokens) == (example.query, "direct", 40)
        assert one.completion == f"```sql\n{example.query}\n```"


def test_unfiltered_is_the_first_answer_right_or_wrong(shop: Dataset, tmp_path: Path) -> None:
    settings = Settings(samples=2, style="compact")
    wrong, right = "```sql\nSELECT 99\n```", f"```sql\n{shop.examples[0].query}\n```"
    answers(shop, settings, tmp_path / "s.sqlite", [[wrong, right], ["", right]])
    with Store(tmp_path / "s.sqlite") as store:
        [one] = unfiltered_traces(shop, settings, store)  # the other sample is empty
        request = next(requests_for(shop, settings))
    assert (one.completion, one.sql, one.question_id) == (wrong, "SELECT 99", 0)
    assert (one.messages, one.mode) == (request.messages, request.mode)


def test_another_draw_is_the_later_samples_judged_by_the_same_sieve(
    shop: Dataset, tmp_path: Path
) -> None:
    settings = Settings(samples=2, style="compact")
    right = [f"```sql\n{example.query}\n```" for example in shop]
    wrong = "```sql\nSELECT 99\n```"
    path = tmp_path / "s.sqlite"
    answers(shop, settings, path, [
        [right[0], right[0], wrong, wrong],  # the first draw alone is right
        [wrong, wrong, wrong, right[1]],  # the second alone
    ])  # fmt: skip
    with Sieve(shop, settings) as sieve:
        with Store(path) as store:
            first = resampled(sieve, store)
        with Draw(path, 1) as later:
            second = resampled(sieve, later)
        with Draw(path, 2) as missing:
            assert resampled(sieve, missing) == []
    assert [one.question_id for one in first] == [0]
    assert [one.question_id for one in second] == [1]
    assert (second[0].completion, second[0].n_samples) == (right[1], 2)


def test_sets_have_the_same_size_and_databases(tokenizer: ChatTokenizer) -> None:
    kept = [trace(n, mode="reasoning" if n % 4 == 0 else "direct") for n in range(200)]
    gold = [replace(one, mode="direct", completion="gold") for one in kept]
    more = [trace(n) for n in range(1000, 1400)]
    fewer = [trace(n) for n in range(2000, 2120)]
    found = equal_sets(
        kept, {"gold": gold, "gold-any": more, "resampled": fewer}, tokenizer, max_tokens=512
    )
    counts = {name: len(some) for name, some in found.learned.items()}
    assert counts == {
        "distilled": 114, "gold": 114, "gold-any": 114, "resampled": 114, "both": 140,
        "direct": 140,
    }  # fmt: skip
    assert set(counts) < set(CONTROLS)
    held = {one.db_id for one in found.validation}
    assert held
    for name, some in found.learned.items():
        assert not held & {one.db_id for one in some}, name
        assert len({one.question_id for one in some}) == len(some)
    # Compared sets differ in their answers, not in their questions.
    asked = {name: [one.question_id for one in some] for name, some in found.learned.items()}
    assert asked["gold"] == asked["distilled"]
    assert {one.mode for one in found.learned["direct"]} == {"direct"}
    modes = Counter(one.mode for one in found.learned["both"])
    assert modes["reasoning"] > 0
    for control, other in AGAINST.items():
        if control in counts:
            assert counts[control] == counts[other]


def test_an_empty_set_is_an_error(tokenizer: ChatTokenizer) -> None:
    kept = [trace(n) for n in range(40)]
    with pytest.raises(TrainingError, match="control unfiltered has an empty training set"):
        equal_sets(kept, {"unfiltered": []}, tokenizer, max_tokens=512)


def test_direct_only() -> None:
    some = [trace(1), trace(2, mode="reasoning"), trace(3)]
    assert [one.question_id for one in direct_only(some)] == [1, 3]


def test_a_longer_request_repeats_the_samples_of_a_shorter_one_first(tmp_path: Path) -> None:
    """Another draw relies on this: the first samples stay, and the later ones are new."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    from distill_sql.models.folders import random_model
    from distill_sql.models.inference.engine import CompletionRequest, Engine
    from distill_sql.models.torch_backend import load
    from distill_sql.prompting.tokenizer import train_tokenizer

    bytes_only = train_tokenizer([], vocabulary=259, name="bytes")
    random_model(tmp_path, bytes_only, width=32, layers=1, inner=32, heads=2, kv_heads=1)
    student = load(tmp_path, Recipe("pocket-s", str(tmp_path), precision="float32"))
    engine = Engine(student)
    prompt = tuple(bytes_only.encode("a question"))
    short, long = (
        engine.submit(CompletionRequest(prompt, samples, 1.0, 8)).result(60) for samples in (3, 6)
    )
    engine.close()
    assert long[:3] == short
    assert not {tuple(one) for one in long[3:]} & {tuple(one) for one in short}

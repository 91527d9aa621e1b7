"""What chapter 2 says of its prompts, of the price, and of what came back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import teacher as page
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.gguf_file import SHA256
from distill_sql.prompting.prompts import prompt_messages, tokenizer_for, trace_mode
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.teacher import Settings, embedded
from distill_sql.teacher.client import Outcome
from distill_sql.teacher.prices import Price, dollars
from distill_sql.teacher.sampling import Sampling
from distill_sql.teacher.settings import settings_for
from distill_sql.teacher.traces import Judged, Trace

SETTINGS = Settings("m", "http://127.0.0.1:9/v1", style="compact")


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("pocket", split="train").limit(40)


@pytest.fixture(scope="module")
def tokenizer(train: Dataset) -> ChatTokenizer:
    return tokenizer_for(train)


def sampling(dataset: Dataset, settings: Settings = SETTINGS, *, key: str = "") -> Sampling:
    return Sampling(dataset, settings, Price(0, 0), len, key=key)


def judged(*reasons: str, kept: int = 0, cost: int = 0) -> Judged:
    """One question with ``kept`` traces; each of its samples has 10 completion tokens."""
    trace = Trace(0, "d", "?", "q", "direct", (), "c", "q", 3, 1, "m", 0, 0, cost)
    return Judged(
        0, "d", "direct", ("",) * len(reasons), ("",) * len(reasons), reasons, 1, 0,
        10 * len(reasons), cost, (trace,) * kept,
    )  # fmt: skip


def test_the_split_whose_prompts_are_shown(toy_dataset: Path) -> None:
    assert page.split_of("pocket") == "train"
    assert page.split_of(str(toy_dataset)) == "dev"


def test_only_the_embedded_teacher_is_introduced(train: Dataset) -> None:
    assert page.teacher_note(sampling(train)) == ""
    local = Settings("small-1", embedded.BASE_URL)
    assert "The teacher of this build is small" in page.teacher_note(sampling(train, local))
    assert "`small-1`" in page.teacher_note(sampling(train, local))


def test_an_open_teacher_is_introduced_by_its_weights_and_its_server(train: Dataset) -> None:
    told = {
        server: page.teacher_note(
            sampling(train, settings_for("spider", model=f"coder-1.5b@{server}"))
        )
        for server in ("torch", "llama.cpp")
    }
    for note in told.values():
        assert "the recipe `coder-1.5b`: the official file `qwen2.5-coder-1.5b-" in note
        assert f"`{SHA256['qwen2.5-coder-1.5b-instruct-q4_k_m.gguf']}`" in note
        assert "5.0 bits per weight" in note
        assert "pocket" not in note
    assert "behind PyTorch" in told["torch"]
    assert "those of the first sample" not in told["torch"]
    assert "those of the first sample" in told["llama.cpp"]
    assert "behind llama.cpp's server" in told["llama.cpp"]


def test_questions_of_another_split_are_announced(train: Dataset, tokenizer: ChatTokenizer) -> None:
    assert not any(page.data_notes(train, tokenizer))
    notes = page.data_notes(load_dataset("pocket"), replace(tokenizer, note="Counted otherwise."))
    assert notes[0].startswith("pocket has no training questions here.")
    assert notes[-1] == "Counted otherwise."


def test_the_length_of_prompts_by_mode(train: Dataset, tokenizer: ChatTokenizer) -> None:
    table = page.prompts_table(train, SETTINGS, tokenizer)
    assert [row["mode"] for row in table.rows] == ["direct", "reasoning"]
    for row in table.rows:
        lengths = [
            len(tokenizer.encode(tokenizer.render(prompt_messages(
                train, example, mode=row["mode"], style="compact"
            ))))
            for example in train if trace_mode(example) == row["mode"]
        ]  # fmt: skip
        assert (row["count"], row["sum"], row["max"]) == (
            len(lengths), sum(lengths), max(lengths),
        )  # fmt: skip
        assert row["mean"] == pytest.approx(row["sum"] / row["count"])
    assert "in the compact style, in tokens of pocket-l" in table.caption


def test_a_budget_shortens_the_prompts(train: Dataset, tokenizer: ChatTokenizer) -> None:
    whole = page.prompts_table(train, SETTINGS, tokenizer)
    cut = page.prompts_table(train, replace(SETTINGS, schema_tokens=100), tokenizer)
    assert all(a["mean"] < b["mean"] for a, b in zip(cut.rows, whole.rows, strict=True))


def test_the_price_of_all_questions_by_hand(train: Dataset) -> None:
    """$0.15 and $0.60 per million tokens; a quarter of a token per byte, and 8 per message."""
    cost = 0
    for example in train:
        mode = trace_mode(example)
        messages = prompt_messages(train, example, mode=mode)
        prompt = sum(len(one["content"].encode()) // 4 + 8 for one in messages)
        cost += 150 * prompt + 600 * 2 * {"direct": 60, "reasoning": 220}[mode]
    note = page.price_note(train, replace(SETTINGS, samples=2), len)
    assert f"40 requests for 80 samples and about **{dollars(cost)}**" in note
    assert "in the full style" in note
    assert "each prompt would be paid for 2 times" in note


def test_each_style_has_its_instructions() -> None:
    assert page.instructions("compact") == [
        "**direct**: Answer with SQL.", "**reasoning**: Reason, then answer with SQL.",
    ]  # fmt: skip
    assert "```sql block" in page.instructions("full")[0]


@pytest.mark.parametrize(
    ("key", "outcome", "said"),
    [
        ("", None, "Nothing was asked in this build**: OPENAI_API_KEY is not set."),
        ("sk-1", None, "Nothing was asked in this build**: the budget is 0."),
        ("sk-1", Outcome(requests=3, samples=9, seconds=1200.4), "9 answers to 3 requests"),
    ],
)
def test_how_the_answers_came(train: Dataset, key: str, outcome: Outcome | None, said: str) -> None:
    note = page.asking_note(sampling(train, key=key), outcome, Path("a/s.sqlite"), neighbours=8)
    assert said in note
    assert "those stored in s.sqlite" in note or "in 1,200 s." in note


def test_stored_answers_need_no_note(train: Dataset) -> None:
    plan = sampling(train, key="sk-1")
    assert page.asking_note(plan, Outcome(), Path("s.sqlite"), neighbours=8) == ""


def test_how_many_answers_are_correct_and_what_a_trace_costs(train: Dataset) -> None:
    found = [
        judged("", "not the best", kept=1, cost=3 * 10**7),
        judged("wrong rows", "", kept=1, cost=10**7),
        judged("wrong rows", "empty"),
        judged("not the best", "", kept=1),
    ]
    note = page.answers_note(sampling(train), found, Outcome(stopped="the budget is spent"))
    assert note == (
        "4 of 40 questions have all their samples: 80 completion tokens, $0.04. **3 of them have "
        "at least one correct sample**; the first sample alone is correct for 2; $0.01 per trace. "
        "The run ended early: the budget is spent."
    )
    assert page.answers_note(sampling(train), [], None).endswith("correct sample**.")

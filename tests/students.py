"""A tiny model with random weights, traces to train it on, and both back ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.models.folders import random_model
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.prompting.tokenizer import ChatTokenizer, train_tokenizer
from distill_sql.teacher.traces import Trace


@pytest.fixture(scope="session", autouse=True)
def interpreted_mlx() -> None:
    """Keep mlx from compiling kernels with a C++ compiler: on tiny models it takes far longer."""
    os.environ.setdefault("MLX_DISABLE_COMPILE", "1")


@pytest.fixture(scope="session")
def pocket_train() -> Dataset:
    return load_dataset("pocket", split="train").limit(200)


@pytest.fixture(scope="session")
def traces(pocket_train: Dataset) -> list[Trace]:
    """The gold queries of pocket's first training questions as if a teacher had given them."""
    return [
        Trace(
            e.question_id, e.db_id, e.question, e.query,
            "reasoning" if number % 3 == 0 else "direct",
            tuple(prompt_messages(pocket_train, e, style="compact")),
            ("Think first.\n" if number % 3 == 0 else "") + f"```sql\n{e.query}\n```",
            e.query, 3, 3, "teacher", 0, 0, 0,
        )
        for number, e in enumerate(pocket_train)
    ]  # fmt: skip


@pytest.fixture(scope="session")
def tiny_tokenizer(traces: list[Trace]) -> ChatTokenizer:
    texts = [m["content"] for t in traces for m in t.messages] + [t.completion for t in traces]
    return train_tokenizer(texts, vocabulary=600, name="tiny")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: ChatTokenizer) -> Path:
    """The folder of a Qwen2 with two layers, 32 wide."""
    return random_model(
        tmp_path_factory.mktemp("tiny") / "model", tiny_tokenizer, width=32, layers=2, inner=64,
        heads=2, kv_heads=1,
    )  # fmt: skip


@pytest.fixture
def recipe(tiny: Path) -> Recipe:
    return Recipe(
        "pocket-s", str(tiny), style="compact", precision="float32", length=512, rank=4, alpha=8,
        dropout=0.0, learning_rate=1e-3, warm_up=4,
    )  # fmt: skip

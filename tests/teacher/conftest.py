from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture(scope="session")
def pocket_train() -> Dataset:
    return load_dataset("pocket", split="train")

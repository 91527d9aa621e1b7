from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(toy_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the toy dataset that a test may damage."""
    return Path(shutil.copytree(toy_dataset, tmp_path / "mine"))

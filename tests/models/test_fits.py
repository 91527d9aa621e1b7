"""Models that exceed the memory are refused before they are loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.errors import TrainingError
from distill_sql.models import fits
from distill_sql.models.fits import loaded_bytes
from distill_sql.models.folders import stored, weights
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe
from distill_sql.models.students import open_student

torch = pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


def test_loaded_weights_take_the_bytes_that_pytorch_counts(tiny: Path, recipe: Recipe) -> None:
    model = open_student(replace(recipe, precision="float32"), framework="torch").model  # type: ignore[attr-defined]
    counted = sum(one.numel() * one.element_size() for one in model.parameters())
    assert loaded_bytes(tiny, replace(recipe, precision="float32")) == counted
    assert loaded_bytes(tiny, replace(recipe, precision="bfloat16")) == counted // 2
    linear = sum(math.prod(s) for name, s in stored(tiny).items() if "_proj.weight" in name)
    expected = int(0.53 * linear + 2 * (weights(tiny) - linear))
    assert loaded_bytes(tiny, replace(recipe, precision="nf4")) == expected


@pytest.mark.parametrize("framework", ["torch", "mlx"])
def test_a_model_that_exceeds_the_memory(
    framework: Framework, recipe: Recipe, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if framework == "mlx":
        pytest.importorskip("mlx_lm", reason="the extra mlx is not installed")
    wide = replace(recipe, precision="float32")
    needed = loaded_bytes(tiny, wide)
    monkeypatch.setattr(fits, "available", lambda _: needed)
    open_student(wide, framework=framework)
    monkeypatch.setattr(fits, "available", lambda _: needed - 1)
    with pytest.raises(TrainingError, match=r"take 0\.0 GiB in float32, and 0\.0 GiB of memory"):
        open_student(wide, framework=framework)
    with pytest.raises(TrainingError, match="precision=bfloat16, which takes"):
        open_student(wide, framework=framework)
    monkeypatch.setattr(fits, "available", lambda _: 1)
    with pytest.raises(TrainingError, match=r"use a smaller recipe\.$"):
        open_student(wide, framework=framework)

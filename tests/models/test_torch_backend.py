"""What a processor can do decides the precision of a recipe that leaves it open."""

from __future__ import annotations

import pytest

from distill_sql.models.recipes import recipe_for

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from distill_sql.models import torch_backend  # noqa: E402


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({"avx2": True, "avx512_bf16": True}, "bfloat16"),
        ({"avx2": True, "amx_bf16": True}, "bfloat16"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"neon": True}, "float32"),
    ],
)
def test_float32_is_chosen_without_bfloat16(
    found: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "device", lambda: "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert recipe_for("coder-0.5b-base").precision == "auto"
    assert torch_backend.resolve(recipe_for("coder-0.5b-base")).precision == precision

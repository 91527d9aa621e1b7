"""The lean decoder against transformers: forward and backward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.models.recipes import LINEARS, Recipe, recipe_for

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from distill_sql.models import torch_backend  # noqa: E402
from distill_sql.models.inference import attention, lean  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

IDS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 0, 0, 0]]
SEEN = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]]


def adapted(kind: Any, folder: Path) -> Any:
    """The model in a folder with a nonzero adapter, the same for each class."""
    from peft import LoraConfig, get_peft_model

    model = kind.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(LINEARS))
    model = get_peft_model(model, config).train()
    draw = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=draw)
    return model


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_and_gradients_are_those_of_transformers(tiny: Path, precision: str) -> None:
    from transformers import Qwen2ForCausalLM

    found = []
    for kind in (Qwen2ForCausalLM, lean.LeanQwen2):
        model = adapted(kind, tiny)
        model.get_base_model().model.precision = getattr(torch, precision)
        seen = torch.tensor(SEEN)
        logits = model(input_ids=torch.tensor(IDS), attention_mask=seen).logits[seen.bool()]
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(logits.logsumexp(-1).sum(), trained)
        found.append((logits, *gradients))
    assert len(found[0]) == 1 + 2 * 2 * 7  # two matrices for each of seven products in two layers
    for theirs, ours in zip(*found, strict=True):
        if precision == "float32":
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        else:
            assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.999
            assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=0.02)


def test_weights_that_change_in_training_are_seen_afterwards(tiny: Path) -> None:
    model = adapted(lean.LeanQwen2, tiny).eval()
    ids = torch.tensor(IDS[:1])

    def logits() -> Any:
        with torch.inference_mode():
            return model(input_ids=ids).logits

    before = logits()
    assert torch.equal(before, logits())
    with model.disable_adapter():
        bare = model(input_ids=ids).logits
    model.train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.zero_()
    model.eval()
    assert (before - bare).abs().max() > 1e-2
    torch.testing.assert_close(logits(), bare)


@pytest.mark.parametrize("seen", [[0, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 1]])
def test_a_mask_that_does_more_than_pad_the_end_is_refused(tiny: Path, seen: list[int]) -> None:
    model = lean.LeanQwen2.from_pretrained(tiny)
    with pytest.raises(ValueError, match="expected padding at their end"):
        model(input_ids=torch.tensor(IDS), attention_mask=torch.tensor([SEEN[0], seen]))


def test_going_on_needs_positions_and_a_mask(tiny: Path) -> None:
    model = lean.LeanQwen2.from_pretrained(tiny).model
    cache = attention.new_cache()
    ids = torch.tensor(IDS[:1])
    model(input_ids=ids, past_key_values=cache)
    with pytest.raises(ValueError, match="positions"):
        model(input_ids=ids, past_key_values=cache)
    with pytest.raises(ValueError, match="four dimensions"):
        model(input_ids=ids, past_key_values=cache, position_ids=torch.arange(7, 14)[None])


def test_small_models_without_dropout_are_loaded_so(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "device", lambda: "cpu")
    pocket = recipe_for("pocket-s")
    folder = CHECKPOINTS / "pocket-s"
    assert isinstance(torch_backend.load_base(folder, pocket), lean.LeanQwen2)
    for other in (
        replace(pocket, dropout=0.05),
        replace(pocket, checkpointing=True),
        replace(pocket, precision="bfloat16"),
    ):
        assert not isinstance(torch_backend.load_base(folder, other), lean.LeanQwen2)
    asked = Recipe("tiny", str(tiny), trained=False, precision="float32")
    assert isinstance(torch_backend.load_base(tiny, asked), lean.LeanQwen2)


@pytest.mark.parametrize(
    "other",
    [
        {"hidden_size": 2 * lean.WIDEST},
        {"hidden_act": "gelu"},
        {"attention_dropout": 0.1},
        {"use_sliding_window": True, "max_window_layers": 0},
        {"quantization_config": {"bits": 4}},
    ],
)
def test_other_models_are_left_to_transformers(other: dict[str, Any]) -> None:
    from transformers import Qwen2Config

    recipe, narrow = recipe_for("pocket-s"), {"hidden_size": lean.WIDEST}
    assert lean.suits(Qwen2Config(**narrow), recipe)
    assert not lean.suits(Qwen2Config(**{**narrow, **other}), recipe)

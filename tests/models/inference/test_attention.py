"""Attention with a shared prefix against attention with a copy of the prefix in every row."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from distill_sql.errors import TrainingError
from distill_sql.models.recipes import Recipe

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from distill_sql.models import torch_backend  # noqa: E402
from distill_sql.models.inference import attention  # noqa: E402

LENGTHS, PREFIX, ROWS, HEADS, SHARED, SIZE = (3, 5, 1), 7, 3, 4, 2, 8


@pytest.mark.parametrize("count", [1, 5])
def test_rows_see_the_prefix_and_themselves(count: int) -> None:
    draw = torch.Generator().manual_seed(3)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    known = some(SHARED, PREFIX, SIZE), some(SHARED, PREFIX, SIZE)
    query = some(ROWS, HEADS, count, SIZE)
    key, value = some(ROWS, SHARED, 5, SIZE), some(ROWS, SHARED, 5, SIZE)
    model = SimpleNamespace(device="cpu", dtype=torch.float32)
    mask = attention.own_mask(LENGTHS, PREFIX, model)[:, :, -count:]
    module = SimpleNamespace(layer_idx=1, num_key_value_groups=HEADS // SHARED, is_causal=True)
    ours, _ = attention.attention(
        module, query, key, value, mask, scaling=0.3, prefix=[(key[0], value[0]), known]
    )
    assert ours.shape == (ROWS, count, HEADS, SIZE)
    for row, length in enumerate(LENGTHS):
        keys = torch.cat([known[0], key[row, :, 5 - length :]], 1)
        values = torch.cat([known[1], value[row, :, 5 - length :]], 1)
        for place in range(max(0, count - length), count):
            seen = PREFIX + length - (count - 1 - place)
            for head in range(HEADS):
                of = head // (HEADS // SHARED)
                weights = (0.3 * keys[of, :seen] @ query[row, head, place]).softmax(0)
                torch.testing.assert_close(ours[row, place, head], weights @ values[of, :seen])


def test_a_cache_keeps_what_it_was_given() -> None:
    draw = torch.Generator().manual_seed(3)
    cache = attention.new_cache()
    whole: list[torch.Tensor] = []
    for step in range(2 * attention.ROOM):
        whole.append(torch.randn(ROWS, SHARED, 9 if step == 0 else 1, SIZE, generator=draw))
        keys, values = cache.update(whole[-1], -whole[-1], 0)
        assert torch.equal(keys, torch.cat(whole, 2))
        assert torch.equal(values, -keys)
    assert cache.get_seq_length() == 9 + 2 * attention.ROOM - 1
    cache.batch_select_indices(torch.tensor([2, 0]))
    keys, _ = cache.update(whole[0][:2], whole[0][:2], 0)
    assert torch.equal(keys[:, :, :-9], torch.cat(whole, 2)[[2, 0]])


def test_a_sliding_window_is_refused(tiny: Path) -> None:
    student = torch_backend.load(tiny, Recipe("tiny", str(tiny), precision="float32"))
    student.model.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(TrainingError, match="sliding_attention"):
        torch_backend.TorchStudent(student.model, student.tokenizer)

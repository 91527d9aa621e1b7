"""Attention over a prefix that all rows of a batch share: it is held once and read once a step.

A cache that repeats the prefix for every row spends most of a step on reading it. Here the queries
of all rows meet it in one matrix product (Juravsky et al., *Hydragen: High-Throughput LLM Inference
with Shared Prefixes*, 2024), and per row only what is its own is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

#: What a model calls this attention by; without a prefix it is PyTorch's own.
NAME = "shared_prefix"
#: Keys and values of the prefix in each layer: heads x positions x dimensions.
Prefix = Sequence[tuple[torch.Tensor, torch.Tensor]]
#: Positions that a cache has room for ahead.
ROOM = 32


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values with room ahead, so that few of the positions added cost a copy."""

    used = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add positions and return all: rows x heads x positions x dimensions."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        start, self.used = self.used, self.used + key_states.shape[2]
        if self.used > self.keys.shape[2]:
            more = (0, 0, 0, self.used + ROOM - self.keys.shape[2])
            self.keys, self.values = F.pad(self.keys, more), F.pad(self.values, more)
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        """Positions that are held."""
        return self.used


def new_cache() -> Cache:
    """An empty cache for any number of layers."""
    return Cache(layer_class_to_replicate=RoomyLayer)


def read(model: Any, prefix: Sequence[int]) -> Prefix:
    """What a decoder computes of token ids that everything else will begin with."""
    cache = new_cache()
    ids = torch.tensor([list(prefix)], device=model.device)
    model(input_ids=ids, past_key_values=cache, use_cache=True)
    size = len(prefix)
    return [(layer.keys[0, :, :size], layer.values[0, :, :size]) for layer in cache.layers]


def own_mask(lengths: Sequence[int], prefix: int, model: Any) -> torch.Tensor:
    """What is added to scores where rows of these lengths are padded in front, behind a prefix:
    rows x 1 x positions x (prefix + positions). A row sees the prefix, and itself up to now.
    """
    width, where, dtype = max(lengths), model.device, model.dtype
    places = torch.arange(width, device=where)
    padding = places < width - torch.tensor(lengths, device=where)[:, None]
    unseen = (places > places[:, None]) | padding[:, None]
    mask = torch.zeros(unseen.shape, dtype=dtype, device=where)
    # Not minus infinity: padding sees nothing of its own, and without a prefix nothing at all.
    return F.pad(mask.masked_fill(unseen, torch.finfo(dtype).min), (prefix, 0))[:, None]


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prefix: Prefix | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: rows x heads x positions x dimensions in, rows x
    positions x heads x dimensions out. Keys and values are what the rows have behind ``prefix``.
    """
    rows, heads, count, size = query.shape
    if prefix is None or count > 1:
        if prefix is not None:
            known = [part.expand(rows, -1, -1, -1) for part in prefix[module.layer_idx]]
            key, value = torch.cat([known[0], key], 2), torch.cat([known[1], value], 2)
        mixed, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return mixed, None
    assert attention_mask is not None
    known_keys, known_values = prefix[module.layer_idx]
    sizes = known_keys.shape[1], key.shape[2]
    # Queries that share a head of keys are taken as positions of it.
    query = (query * scaling).reshape(rows, key.shape[1], -1, size)
    on_prefix = torch.einsum("rhqd,hpd->rhqp", query, known_keys)
    on_own = query @ key.transpose(2, 3) + attention_mask[..., sizes[0] :]
    weights = torch.cat([on_prefix, on_own], -1).softmax(-1, dtype=torch.float32)
    on_prefix, on_own = weights.to(value.dtype).split(sizes, -1)
    mixed = torch.einsum("rhqp,hpd->rhqd", on_prefix, known_values) + on_own @ value
    return mixed.reshape(rows, 1, heads, size), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

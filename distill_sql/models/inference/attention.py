"""Attention over a prefix that all rows of a batch share, whose keys and values are stored once.

With a cache that repeats the prefix for every row, most of a decoding step is spent on reading it.
Here the queries of all rows are multiplied with the prefix in one matrix product (Juravsky et al.,
*Hydragen: High-Throughput LLM Inference with Shared Prefixes*, 2024). The cache only holds the
positions that belong to single rows. :class:`Parts` does this for several batches in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

#: The name under which transformers finds this attention. Without a prefix it is PyTorch's own.
NAME = "shared_prefix"
#: Keys and values of the prefix, one pair per layer: heads x positions x dimensions.
Prefix = Sequence[tuple[torch.Tensor, torch.Tensor]]
#: Positions that a cache layer allocates ahead.
ROOM = 32


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """The keys and values of one layer, allocated ahead so that few steps have to copy them."""

    used = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append positions and return all: rows x heads x positions x dimensions."""
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
        """The number of positions in use."""
        return self.used


def new_cache() -> Cache:
    """An empty cache for any number of layers."""
    return Cache(layer_class_to_replicate=RoomyLayer)


@dataclass(frozen=True)
class Part:
    """The rows of one batch in a step that several batches share, each with one new position."""

    rows: int
    cache: Cache
    mask: torch.Tensor
    prefix: Prefix | None


class Parts:
    """Several batches in one step: a decoder's cache, and its ``prefix``.

    Each batch keeps its own cache, mask and prefix. Everything else in a decoder treats rows
    alike, so its weights are read once for all batches.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._sizes = [part.rows for part in parts]

    def get_seq_length(self, *_: Any) -> int:
        """1, as the caches are not empty. Positions must be given to the decoder."""
        return 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer: int, *_: Any
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Append a position to every row; return all keys and all values of each batch."""
        pairs = zip(key_states.split(self._sizes), value_states.split(self._sizes), strict=True)
        updated = [
            part.cache.update(keys, values, layer)
            for part, (keys, values) in zip(self._parts, pairs, strict=True)
        ]
        return [keys for keys, _ in updated], [values for _, values in updated]

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """:func:`attention` of each batch on its own keys and values."""
        mixed = [
            attention(module, own, key, value, part.mask, prefix=part.prefix, **options)[0]
            for part, own, key, value in zip(
                self._parts, query.split(self._sizes), keys, values, strict=True
            )
        ]
        return torch.cat(mixed), None


def compute_prefix(decoder: PreTrainedModel, prefix: Sequence[int]) -> Prefix:
    """The keys and values that a decoder computes for a prefix."""
    cache = new_cache()
    ids = torch.tensor([list(prefix)], device=decoder.device)
    decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    size = len(prefix)
    return [(layer.keys[0, :, :size], layer.values[0, :, :size]) for layer in cache.layers]


def own_mask(lengths: Sequence[int], prefix: int, model: PreTrainedModel) -> torch.Tensor:
    """The additive causal mask of left-padded rows of these lengths after a prefix.

    Its shape is rows x 1 x positions x (prefix + positions).
    """
    width, where, dtype = max(lengths), model.device, model.dtype
    places = torch.arange(width, device=where)
    padding = places < width - torch.tensor(lengths, device=where)[:, None]
    unseen = (places > places[:, None]) | padding[:, None]
    mask = torch.zeros(unseen.shape, dtype=dtype, device=where)
    # Not minus infinity: without a prefix, all positions of a padding query are masked.
    return F.pad(mask.masked_fill(unseen, torch.finfo(dtype).min), (prefix, 0))[:, None]


def attention(
    module: Any,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prefix: Prefix | Parts | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the signature that transformers expects.

    Inputs are rows x heads x positions x dimensions, the output is rows x positions x heads x
    dimensions. ``key`` and ``value`` are those after ``prefix``: tensors, or with :class:`Parts` a
    list of tensors.
    """
    if isinstance(prefix, Parts):
        return prefix.attend(module, query, key, value, scaling=scaling, **options)
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
    # Query heads that share a key head become positions of that head.
    query = (query * scaling).reshape(rows, key.shape[1], -1, size)
    on_prefix = torch.einsum("rhqd,hpd->rhqp", query, known_keys)
    on_own = query @ key.transpose(2, 3) + attention_mask[..., sizes[0] :]
    weights = torch.cat([on_prefix, on_own], -1).softmax(-1, dtype=torch.float32)
    on_prefix, on_own = weights.to(value.dtype).split(sizes, -1)
    mixed = torch.einsum("rhqp,hpd->rhqd", on_prefix, known_values) + on_own @ value
    return mixed.reshape(rows, 1, heads, size), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

"""Qwen2's decoder with fewer and larger operations, which is faster for narrow models on a CPU.

The results are those of transformers (tested). Projections of the same input are fused into one
matrix product. A low-rank adapter is added to its weight, which in a narrow layer costs less than
its two extra products on every token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from transformers import AutoConfig, PreTrainedConfig, Qwen2ForCausalLM, Qwen2Model
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen2.modeling_qwen2 import rotate_half

from distill_sql.files import read_json
from distill_sql.models.inference import attention
from distill_sql.models.recipes import Recipe

#: The hidden size up to which a model is faster with this decoder.
WIDEST = 256
#: Attention of queries to keys and values, all rows x heads x positions x dimensions; the output is
#: rows x positions x all dimensions.
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Weights(NamedTuple):
    """The weights of one layer; projections of the same input are fused."""

    norm: torch.Tensor
    qkv: torch.Tensor
    bias: torch.Tensor
    out: torch.Tensor
    second_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class LeanDecoder(Qwen2Model):  # type: ignore[misc]
    """Qwen2's decoder. Layers compute in ``precision``; the residual stream keeps the data type of
    the weights."""

    precision = torch.float32

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self._ready: list[Weights] | None = None

    def train(self, mode: bool = True) -> LeanDecoder:
        """Set the mode, and drop the fused weights that inference has cached."""
        self._ready = None
        return super().train(mode)  # type: ignore[no-any-return]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        prefix: attention.Prefix | attention.Parts | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of token ids, under a causal mask or the given mask of four dimensions.

        Raises ValueError for a mask of two dimensions that is not right padding, and for a cache
        that is not empty without positions and a mask of four dimensions.
        """
        started = past_key_values is not None and past_key_values.get_seq_length() > 0
        if position_ids is None:
            if started:
                raise ValueError("The cache is not empty: expected positions.")
            position_ids = torch.arange(input_ids.shape[1])[None]
        states = self.embed_tokens(input_ids)
        cosines, sines = self.rotary_emb(states.to(self.precision), position_ids)
        if attention_mask is None or attention_mask.ndim == 2:
            if started:
                raise ValueError("The cache is not empty: expected a mask of four dimensions.")
            if attention_mask is not None and (
                not attention_mask[:, 0].all() or (attention_mask.diff(dim=1) > 0).any()
            ):
                raise ValueError("Rows are not right-padded: expected padding at their end.")
            # PyTorch's own attention, which every other case uses, is causal without a mask.
            ours = past_key_values is None and self.precision == torch.bfloat16
            attention_mask = later(input_ids.shape[1], self.precision) if ours else None
        for layer, weights in zip(self.layers, self._weights(), strict=True):
            attend = partial(self._attend, layer.self_attn, attention_mask, past_key_values, prefix)
            states = decoded(states, cosines, sines, weights, self.config.rms_norm_eps, attend)
        return BaseModelOutputWithPast(self.norm(states), past_key_values)

    @staticmethod
    def _attend(
        module: Any,
        mask: torch.Tensor | None,
        cache: Any,
        prefix: attention.Prefix | attention.Parts | None,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        if mask is not None and cache is None and queries.dtype == torch.bfloat16:
            return products(queries, keys, values, mask)
        if cache is not None:
            keys, values = cache.update(keys, values, module.layer_idx)
        mixed, _ = attention.attention(
            module, queries, keys, values, mask, scaling=module.scaling, prefix=prefix
        )
        return mixed.flatten(2)

    def _weights(self) -> list[Weights]:
        if not torch.is_inference_mode_enabled():
            return [weights_of(layer, self.precision) for layer in self.layers]
        if self._ready is None:
            self._ready = [weights_of(layer, self.precision) for layer in self.layers]
        return self._ready


class LeanQwen2(Qwen2ForCausalLM):  # type: ignore[misc]
    """Qwen2 as transformers has it, with a :class:`LeanDecoder`."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.model = LeanDecoder(config)


def used_for(folder: Path, recipe: Recipe) -> bool:
    """Whether a model folder is loaded with this decoder on a CPU; precision is resolved."""
    if not recipe.full_width or read_json(folder / "config.json").get("hidden_size", inf) > WIDEST:
        return False
    return suits(AutoConfig.from_pretrained(folder), recipe)


def suits(config: PreTrainedConfig, recipe: Recipe) -> bool:
    """Whether this decoder supports a model and makes it faster on a CPU.

    Dropout inside an adapter is impossible once the adapter is added to its weight.
    """
    return (
        config.model_type == "qwen2"
        and config.hidden_size <= WIDEST
        and config.hidden_act == "silu"
        and not config.attention_dropout
        and getattr(config, "quantization_config", None) is None
        and set(config.layer_types) == {"full_attention"}
        and not (recipe.trained and (recipe.dropout or recipe.checkpointing))
    )


def weights_of(layer: Any, precision: torch.dtype) -> Weights:
    """The weights of a decoder layer for :func:`decoded`, with active adapters added."""
    attends, mlp = layer.self_attn, layer.mlp
    heads = attends.q_proj, attends.k_proj, attends.v_proj
    return Weights(
        layer.input_layernorm.weight.to(precision),
        torch.cat([_adapted(head) for head in heads]).to(precision),
        torch.cat([head.bias for head in heads]).to(precision),
        _adapted(attends.o_proj).to(precision),
        layer.post_attention_layernorm.weight.to(precision),
        torch.cat([_adapted(mlp.gate_proj), _adapted(mlp.up_proj)]).to(precision),
        _adapted(mlp.down_proj).to(precision),
    )


def _adapted(linear: Any) -> torch.Tensor:
    weight: torch.Tensor = linear.weight
    if isinstance(linear, LoraLayer) and not (linear.disable_adapters or linear.merged):
        for adapter in linear.lora_A.keys() & set(linear.active_adapters):
            weight = weight + linear.get_delta_weight(adapter)
    return weight


def later(count: int, dtype: torch.dtype) -> torch.Tensor:
    """The additive causal mask: positions x positions."""
    return torch.full((count, count), float("-inf"), dtype=dtype).triu(1)


def decoded(
    states: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    weights: Weights,
    epsilon: float,
    attend: Attend,
) -> torch.Tensor:
    """The hidden states (rows x positions x dimensions) after one layer.

    The layer computes in the data type of its weights.
    """
    rows, count, width = states.shape
    size = cosines.shape[-1]
    precision = weights.out.dtype
    normed = F.rms_norm(states.to(precision), (width,), weights.norm, epsilon)
    made = F.linear(normed, weights.qkv, weights.bias).view(rows, count, -1, size).transpose(1, 2)
    heads = weights.out.shape[1] // size
    with_keys = (heads + made.shape[1]) // 2
    turned = made[:, :with_keys]
    turned = turned * cosines[:, None] + rotate_half(turned) * sines[:, None]
    mixed = attend(turned[:, :heads], turned[:, heads:], made[:, with_keys:])
    states = states + F.linear(mixed, weights.out)
    normed = F.rms_norm(states.to(precision), (width,), weights.second_norm, epsilon)
    gate, up = F.linear(normed, weights.gate_up).chunk(2, -1)
    return states + F.linear(F.silu(gate) * up, weights.down)


def products(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention as two matrix products with an additive mask; see :data:`Attend`.

    Query heads that share a key head become positions of that head. With heads this small on a CPU,
    PyTorch's own attention takes about twice as long in bfloat16; in float32 it is faster.
    """
    rows, heads, count, size = queries.shape
    shared = keys.shape[1]
    query = (queries * size**-0.5).reshape(rows * shared, -1, size)
    scores = torch.bmm(query, keys.reshape(rows * shared, -1, size).transpose(1, 2))
    weights = (scores.view(rows, heads, count, -1) + mask).softmax(-1)
    mixed = torch.bmm(
        weights.view(rows * shared, query.shape[1], -1), values.reshape(rows * shared, -1, size)
    )
    return mixed.view(rows, heads, count, size).transpose(1, 2).reshape(rows, count, -1)

"""Qwen2's decoder as pretraining computes it: a context is read once, and all of its turns use it.

The same numbers as ``transformers.Qwen2ForCausalLM`` (tested), in fewer and larger steps: with
models this small, most of a library's time on a CPU goes to what lies between matrix products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers.models.qwen2.modeling_qwen2 import rotate_half

from distill_sql.students.torch_backend import multiplies_bfloat16

if TYPE_CHECKING:
    from distill_sql.pretraining.pretrain import Batch

#: What one layer is to :func:`_layer`: norms, products, a bias.
Weights = tuple[torch.Tensor, ...]
#: What layers compute in: bfloat16 where the processor multiplies it; elsewhere that is far slower.
PRECISION = torch.bfloat16 if multiplies_bfloat16() else torch.float32
#: What is added to the score of a position that is not to be seen.
UNSEEN = float("-inf")
#: What keeps a norm from dividing by zero, in every Qwen2 model.
EPSILON = 1e-6


def losses(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of every learned token of a batch, and which token that is (both flat); only
    their logits are computed.

    ``model`` is a ``Qwen2ForCausalLM`` in float32 with tied embeddings; its layers compute in
    :data:`PRECISION`, what they add up and the losses are float32.
    """
    layers = [_weights(layer) for layer in model.model.layers]
    embedding, final = model.model.embed_tokens.weight, model.model.norm.weight
    count, width = batch.contexts.shape
    later = torch.full((width, width), UNSEEN, dtype=PRECISION).triu(1).expand(count, -1, -1)
    states = F.embedding(batch.contexts, embedding)
    # Of the first argument only the type is looked at.
    rotate, like = model.model.rotary_emb, states.to(PRECISION)
    cosines, sines = rotate(like, torch.arange(width)[None])
    read = []
    for weights in layers:
        states, keys, values = _layer(states, cosines, sines, later, None, None, *weights)
        read.append((keys, values))
    hidden, targets = [], []
    for chunk in batch.chunks:
        lengths = batch.lengths[chunk.context][:, None]
        rows, count = chunk.ids.shape
        cosines, sines = rotate(like, lengths + torch.arange(count))
        mask = torch.zeros(rows, count, width + count, dtype=PRECISION)
        mask[:, :, :width].masked_fill_((torch.arange(width) >= lengths)[:, None], UNSEEN)
        mask[:, :, width:] = torch.full((count, count), UNSEEN).triu(1)
        states = F.embedding(chunk.ids, embedding)
        for weights, (keys, values) in zip(layers, read, strict=True):
            past = keys[chunk.context], values[chunk.context]
            states, _, _ = _layer(states, cosines, sines, mask, *past, *weights)
        target = chunk.labels[:, 1:]
        hidden.append(states[:, :-1][target != -100])
        targets.append(target[target != -100])
    last = F.rms_norm(torch.cat(hidden), final.shape, final, EPSILON)
    logits = F.linear(last.to(PRECISION), embedding.to(PRECISION))
    learned = torch.cat(targets)
    return F.cross_entropy(logits.float(), learned, reduction="none"), learned


def _weights(layer: Any) -> Weights:
    """What :func:`_layer` needs of a decoder layer; products of one input are put together."""
    attention, mlp = layer.self_attn, layer.mlp
    heads = attention.q_proj, attention.k_proj, attention.v_proj
    return (
        layer.input_layernorm.weight.to(PRECISION),
        torch.cat([head.weight for head in heads]).to(PRECISION),
        torch.cat([head.bias for head in heads]).to(PRECISION),
        attention.o_proj.weight.to(PRECISION),
        layer.post_attention_layernorm.weight.to(PRECISION),
        torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(PRECISION),
        mlp.down_proj.weight.to(PRECISION),
    )


def _layer(
    states: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    mask: torch.Tensor,
    past_keys: torch.Tensor | None,
    past_values: torch.Tensor | None,
    norm1: torch.Tensor,
    qkv: torch.Tensor,
    bias: torch.Tensor,
    out: torch.Tensor,
    norm2: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One decoder layer: states after it, and the keys and values that it adds.

    Keys and values are rows x heads x positions x dimensions. The queries that share a head of
    keys are taken as more positions of it.
    """
    rows, count, width = states.shape
    size = cosines.shape[-1]
    queries = out.shape[1] // size
    shared = (qkv.shape[0] // size - queries) // 2
    group = queries // shared
    normed = F.rms_norm(states.to(PRECISION), (width,), norm1, EPSILON)
    made = F.linear(normed, qkv, bias).view(rows, count, -1, size).transpose(1, 2)
    asked, new_values = made[:, : queries + shared], made[:, queries + shared :]
    asked = asked * cosines[:, None] + rotate_half(asked) * sines[:, None]
    new_keys = asked[:, queries:]
    keys = new_keys if past_keys is None else torch.cat([past_keys, new_keys], 2)
    values = new_values if past_values is None else torch.cat([past_values, new_values], 2)
    query = (asked[:, :queries] * size**-0.5).reshape(rows * shared, group * count, size)
    scores = torch.bmm(query, keys.reshape(rows * shared, -1, size).transpose(1, 2))
    scores = scores.view(rows, queries, count, -1) + mask[:, None]
    weights = scores.softmax(-1).view(rows * shared, group * count, -1)
    mixed = torch.bmm(weights, values.reshape(rows * shared, -1, size))
    mixed = mixed.view(rows, queries, count, size).transpose(1, 2).reshape(rows, count, -1)
    states = states + F.linear(mixed, out)
    normed = F.rms_norm(states.to(PRECISION), (width,), norm2, EPSILON)
    gate, up = F.linear(normed, gate_up).chunk(2, -1)
    return states + F.linear(F.silu(gate) * up, down), new_keys, new_values

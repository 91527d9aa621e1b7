"""Qwen2's forward pass for pretraining: a context is computed once and shared by all its turns.

The results are those of ``transformers.Qwen2ForCausalLM`` (tested).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from distill_sql.models.inference.lean import decoded, later, products, weights_of
from distill_sql.models.torch_backend import multiplies_bfloat16

if TYPE_CHECKING:
    from distill_sql.pretraining.batches import Batch

#: The keys and values of one layer: rows x heads x positions x dimensions.
Known = tuple[torch.Tensor, torch.Tensor]
#: The precision of the layers: bfloat16 if the processor multiplies it; otherwise it is far slower.
PRECISION = torch.bfloat16 if multiplies_bfloat16() else torch.float32


def losses(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross-entropy of each learned token of a batch, and the tokens' ids (both flat).

    ``model`` is a ``Qwen2ForCausalLM`` in float32 with tied embeddings. The layers compute in
    :data:`PRECISION`; the residual stream and the losses are float32. Logits are only computed for
    learned tokens.
    """
    layers = [weights_of(layer, PRECISION) for layer in model.model.layers]
    embedding, final = model.model.embed_tokens.weight, model.model.norm.weight
    epsilon = model.config.rms_norm_eps
    width = batch.contexts.shape[1]
    states = F.embedding(batch.contexts, embedding)
    # The rotary embedding only uses the type of its first argument.
    rotate, like = model.model.rotary_emb, states.to(PRECISION)
    cosines, sines = rotate(like, torch.arange(width)[None])
    read: list[Known] = []
    attend = partial(_attend_and_note, read, later(width, PRECISION))
    for weights in layers:
        states = decoded(states, cosines, sines, weights, epsilon, attend)
    hidden, targets = [], []
    for chunk in batch.chunks:
        lengths = batch.lengths[chunk.context][:, None]
        rows, count = chunk.ids.shape
        cosines, sines = rotate(like, lengths + torch.arange(count))
        beyond = (torch.arange(width) >= lengths)[:, None, None].expand(-1, -1, count, -1)
        seen = torch.zeros(beyond.shape, dtype=PRECISION).masked_fill(beyond, float("-inf"))
        mask = torch.cat([seen, later(count, PRECISION).expand(rows, 1, -1, -1)], -1)
        states = F.embedding(chunk.ids, embedding)
        for weights, (keys, values) in zip(layers, read, strict=True):
            attend = partial(_attend_after, (keys[chunk.context], values[chunk.context]), mask)
            states = decoded(states, cosines, sines, weights, epsilon, attend)
        target = chunk.labels[:, 1:]
        hidden.append(states[:, :-1][target != -100])
        targets.append(target[target != -100])
    last = F.rms_norm(torch.cat(hidden), final.shape, final, epsilon)
    logits = F.linear(last.to(PRECISION), embedding.to(PRECISION))
    learned = torch.cat(targets)
    return F.cross_entropy(logits.float(), learned, reduction="none"), learned


def _attend_and_note(
    read: list[Known],
    mask: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    read.append((keys, values))
    return products(queries, keys, values, mask)


def _attend_after(
    known: Known,
    mask: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    keys, values = torch.cat([known[0], keys], 2), torch.cat([known[1], values], 2)
    return products(queries, keys, values, mask)

"""How much memory training takes, known before anything is loaded.

Four parts: the base's weights, the adapter with its gradient and Adam's two moments, the
activations that the backward pass needs, and the logits of the learned tokens. The first two are
exact; the others are upper estimates for one decoder block's intermediate values at 16 or 32 bits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.recipes import RECIPES, Recipe

#: Bytes that a weight takes, scales and offsets of 4-bit groups included.
WEIGHT_BYTES = {"float32": 4.0, "mixed": 4.0, "bfloat16": 2.0, "nf4": 0.53}
#: Values kept for the backward pass per token and layer, in units of the hidden width, besides the
#: feed-forward's three.
KEPT = 14


@dataclass(frozen=True)
class Memory:
    """Bytes, by what they are for."""

    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it, with a tenth for what the allocator leaves unused."""
        return int(1.1 * (self.weights + self.adapter + self.activations + self.logits))


def estimate(config: dict[str, Any], recipe: Recipe, *, micro_batch: int) -> Memory:
    """What training takes on one device with ``micro_batch`` rows of the recipe's length at once.

    ``config`` is the base's ``config.json``, of a Qwen2 model.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    layers, vocabulary = config["num_hidden_layers"], config["vocab_size"]
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads", heads) * (width // heads)
    shapes = {
        "q_proj": (width, width),
        "k_proj": (width, kv),
        "v_proj": (width, kv),
        "o_proj": (width, width),
        "gate_proj": (width, inner),
        "up_proj": (width, inner),
        "down_proj": (inner, width),
    }
    linear = layers * sum(rows * columns for rows, columns in shapes.values())
    embeddings = vocabulary * width * (1 if config.get("tie_word_embeddings") else 2)
    adapter = layers * sum(recipe.rank * sum(shapes[name]) for name in recipe.targets)
    item = 4 if recipe.full_width else 2
    tokens = micro_batch * recipe.length
    per_layer = tokens * (KEPT * width + 3 * inner) * item
    # With checkpointing a layer keeps its input only, and one layer at a time is computed again.
    kept = (
        layers * tokens * width * item + per_layer if recipe.checkpointing else layers * per_layer
    )
    return Memory(
        weights=int(linear * WEIGHT_BYTES[recipe.precision] + embeddings * item),
        adapter=adapter * 16,
        activations=kept,
        # In float32, with their gradient, for the learned quarter of the tokens.
        logits=tokens // 4 * vocabulary * 8,
    )


def available() -> int:
    """Bytes that a run on this machine can have: the device's, or what is free of the machine's."""
    from importlib.util import find_spec

    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(
    folder: Path, recipe: Recipe, *, micro_batch: int, free: int | None = None
) -> Memory:
    """The estimate for a recipe; :class:`TrainingError` if it exceeds what is there.

    The error names the largest recipe of the same family that would fit, and the micro batch that
    would make this one fit if there is one. ``free`` is in bytes.
    """
    config = read_json(folder / "config.json")
    needed = estimate(config, recipe, micro_batch=micro_batch)
    free = available() if free is None else free
    if needed.total <= free:
        return needed
    advice = _advice(config, recipe, micro_batch, free)
    raise TrainingError(
        f"Recipe {recipe.name} needs about {needed.total / 2**30:.1f} GiB, of which "
        f"{needed.weights / 2**30:.1f} for weights, and {free / 2**30:.1f} GiB are there. {advice}"
    )


def _advice(config: dict[str, Any], recipe: Recipe, micro_batch: int, free: int) -> str:
    smaller = [
        size for size in range(micro_batch - 1, 0, -1)
        if recipe.batch % size == 0
        and estimate(config, recipe, micro_batch=size).total <= free
    ]  # fmt: skip
    if smaller:
        return f"With --micro-batch {smaller[0]} it fits."
    fitting = [
        name
        for name, other in RECIPES.items()
        if other.trained
        and other.pocket == recipe.pocket
        and (known := CONFIGS.get(other.base)) is not None
        and estimate(known, other, micro_batch=1).total <= free
    ]
    if fitting:
        return f"Recipe {fitting[-1]} fits with --micro-batch 1."
    return "No recipe of its family fits; use a machine with more memory."


def _shape(
    width: int, inner: int, layers: int, heads: int, kv: int, *, tied: bool
) -> dict[str, Any]:
    return {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": 151_936,
        "tie_word_embeddings": tied,
    }  # fmt: skip


#: The published shapes of Qwen2.5 (its models' config.json), to advise without downloading them.
CONFIGS = {
    "Qwen/Qwen2.5-0.5B-Instruct": _shape(896, 4864, 24, 14, 2, tied=True),
    "Qwen/Qwen2.5-1.5B-Instruct": _shape(1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-3B-Instruct": _shape(2048, 11008, 36, 16, 2, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": _shape(3584, 18944, 28, 28, 4, tied=False),
    "Qwen/Qwen2.5-14B-Instruct": _shape(5120, 13824, 48, 40, 8, tied=False),
}

"""Estimates of the memory that training takes, before anything is loaded.

An estimate has four parts: the weights of the base; the adapter with its gradient and AdamW's two
moments; the activations that the forward pass keeps for the backward pass
(:mod:`~distill_sql.training.kept`); and the logits of the tokens in the loss, with their gradient.
The estimate is not below the memory of a run and at most 15 % above it. This is measured by
``python -m distill_sql.runs.students_benchmark memory``, tested with some small models, and tested
against the trainings recorded on a CUDA device (``book/results/gpu``). With trees
(:mod:`~distill_sql.training.tree`) it is that of the largest tree, at most 20 % above the memory of
a run, on MLX 25 % (tested, and measured by ``python -m distill_sql.runs.tree_benchmark``). Trees on
a CUDA device have not been measured.

Not included: blocks that glibc keeps after they are freed, which the measurement makes it return.
On a CPU, a small model can take half as much again, and more with gradient checkpointing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models.free import available
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import CODER_SIZES, RECIPES, WEIGHT_BYTES, Recipe
from distill_sql.training import mlx_tree
from distill_sql.training.kept import Branches, Load, Shape, Way
from distill_sql.training.mlx_trainer import PAD_TO
from distill_sql.training.rows import Rows, TokenRow, rows_of_updates, share_of_batch
from distill_sql.training.tree import Tree, trees, used_for

#: The factor for memory that is not counted: buffers of matrix products, small tensors, and on MLX
#: the order in which its graph is evaluated.
SLACK = {"torch": 1.035, "mlx": 1.08}
#: The factor of trees on PyTorch, whose tensors have many sizes: freed memory is used again less.
TREE_SLACK = 1.07
#: Bytes that PyTorch's libraries allocate in training: on a CPU, outside PyTorch's own count, and
#: on a CUDA device, as workspace of matrix products.
BUFFERS, GPU_BUFFERS = 24 * 2**20, 120 * 2**20


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose."""

    weights: int
    adapter: int
    activations: int
    logits: int
    buffers: int = BUFFERS
    slack: float = SLACK["torch"]

    @property
    def total(self) -> int:
        """The sum, with slack and buffers."""
        tensors = self.weights + self.adapter + self.activations + self.logits
        return int(self.slack * tensors) + self.buffers


def way_of(folder: Path, recipe: Recipe, framework: Framework = "torch") -> Way:
    """How this machine trains ``recipe``, whose precision is resolved."""
    if framework == "mlx":
        return Way("mlx", trees=mlx_tree.used_for(recipe))
    from distill_sql.models import torch_backend
    from distill_sql.models.inference import lean
    from distill_sql.training import torch_trainer

    on_gpu = torch_backend.device() == "cuda"
    is_lean = not on_gpu and lean.used_for(folder, recipe)
    return Way(
        on_gpu=on_gpu,
        lean=is_lean,
        rounds=torch_trainer.trains_in_bfloat16(recipe),
        trees=used_for(recipe, lean=is_lean),
    )


def heaviest(recipe: Recipe, rows: Rows, micro_batch: int) -> Load:
    """An upper bound of the micro batches of a run with ``micro_batch`` rows each."""
    parts = _parts(recipe, rows, micro_batch)
    lengths = [[len(row.ids) for row in part] for part in parts]
    return Load(
        max(map(len, lengths)),
        max(map(max, lengths)),
        max(sum(len(row.ids) - row.prompt for row in part) for part in parts),
        any(len(set(some)) > 1 for some in lengths),
    )


def of_trees(
    recipe: Recipe, rows: Rows, micro_batch: int, framework: Framework = "torch"
) -> list[Load]:
    """The loads of a run with trees: each tree of each micro batch, one of them at a time.

    On MLX the branches of a tree are padded.
    """

    def load(tree: Tree) -> Load:
        sizes = [len(branch.ids) for branch in tree.branches]
        learned = sum(len(branch.ids) - branch.prompt for branch in tree.branches)
        branches = Branches(len(tree.prefix), len(sizes), max(sizes))
        tokens = tree.tokens
        if framework == "mlx":
            branches = replace(branches, longest=-(-max(sizes) // PAD_TO) * PAD_TO)
            tokens = branches.prefix + branches.number * branches.longest
        return Load(1, tokens, learned, padded=False, branches=branches)

    return list({load(one) for part in _parts(recipe, rows, micro_batch) for one in trees(part)})


def _parts(recipe: Recipe, rows: Rows, micro_batch: int) -> list[tuple[TokenRow, ...]]:
    """The micro batches of a run."""
    return [
        tuple(group[first : first + micro_batch])
        for group in rows_of_updates(recipe, rows)
        for first in range(0, len(group), micro_batch)
    ]


def estimate_memory(
    config: dict[str, Any],
    recipe: Recipe,
    *,
    micro_batch: int,
    way: Way | None = None,
    load: Load | None = None,
) -> Memory:
    """The memory of training on one device with micro batches of ``load``.

    ``config`` is the base's ``config.json``, of a Qwen2 model. The default load is ``micro_batch``
    rows of the recipe's length, with a quarter of their tokens in the loss.
    """
    way = way or Way(on_gpu=True, rounds=recipe.precision != "float32")
    load = load or Load(micro_batch, recipe.length, micro_batch * recipe.length // 4)
    shape = Shape.of(config)
    item = 4 if recipe.full_width else 2
    linear = shape.layers * shape.linear
    adapter = shape.layers * sum(recipe.rank * sum(shape.products[n]) for n in recipe.targets)
    layer = load.tokens * shape.kept_by_token(recipe, way, load) + shape.kept_by_layer(recipe, way)
    if load.branches:
        layer += shape.kept_by_branches(recipe, way, load.branches)
    states = load.tokens * shape.width * item
    kept = shape.layers * (states if recipe.checkpointing else layer) + 2 * load.tokens * (
        4 * shape.width
    )
    on_mlx = way.framework == "mlx"
    logits = load.learned * shape.vocabulary * ((16 if item == 4 else 20) if on_mlx else 12)
    rounded = way.rounds and recipe.full_width and not way.lean
    head = shape.vocabulary * shape.width * 2 if rounded else 0
    # The gradient of the logits and the backward pass of a layer are not in memory together.
    passing = load.tokens * shape.passed_by_token(recipe, way)
    if recipe.checkpointing:  # layers are recomputed, on MLX more than one at a time
        passing += int(layer * ((2 if item == 4 else 2.5) if on_mlx else 1))
    return Memory(
        weights=int(linear * WEIGHT_BYTES[recipe.precision] + shape.embeddings * item),
        adapter=adapter * (24 if on_mlx else 16),  # MLX has two copies of the moments in an update
        activations=int(kept + max(passing - logits, 0)),
        logits=logits + head,
        buffers=0 if on_mlx else GPU_BUFFERS if way.on_gpu else BUFFERS,
        slack=TREE_SLACK if load.branches and not on_mlx else SLACK[way.framework],
    )


def check_memory(
    folder: Path,
    recipe: Recipe,
    *,
    micro_batch: int | None = None,
    rows: Rows | None = None,
    framework: Framework = "torch",
    free: int | None = None,
) -> Memory:
    """The estimate for a run; :class:`TrainingError` if it exceeds the available memory.

    The recipe's precision is resolved. Without ``micro_batch`` a device holds its whole share of
    the batch at once. ``rows`` are those of the run; without them, see :func:`estimate_memory`.
    ``free`` is in bytes (default: the available memory). The error suggests a smaller micro batch,
    bfloat16 weights, or the largest recipe of the same family that fits.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share = share_of_batch(recipe, processes)
    config, way = read_json(folder / "config.json"), way_of(folder, recipe, framework)

    def needed(recipe: Recipe, size: int) -> Memory:
        loads: list[Load | None] = [None]
        if rows:
            loads = (
                [*of_trees(recipe, rows, size, framework)]
                if way.trees
                else [heaviest(recipe, rows, size)]
            )
        found = (
            estimate_memory(config, recipe, micro_batch=size, way=way, load=one) for one in loads
        )
        return max(found, key=lambda one: one.total)

    size = share_of_batch(recipe, processes, micro_batch)
    asked = needed(recipe, size)
    free = available(framework) if free is None else free
    if asked.total <= free:
        return asked
    smaller = [one for one in range(size - 1, 0, -1) if share % one == 0]
    fitting = next((one for one in smaller if needed(recipe, one).total <= free), None)
    narrow = replace(recipe, precision="bfloat16")
    if fitting:
        advice = f"With --micro-batch {fitting} it fits (in a chapter: -p micro_batch {fitting})."
    elif recipe.full_width and not way.lean and needed(narrow, 1).total <= free:
        advice = (
            "With --micro-batch 1 --set precision=bfloat16 it fits (in a chapter: -p micro_batch 1 "
            "-p precision bfloat16)."
        )
    else:
        advice = _other_recipe(recipe, way, free)
    raise TrainingError(
        f"Recipe {recipe.name} needs about {asked.total / 2**30:.1f} GiB, of which "
        f"{asked.weights / 2**30:.1f} for weights; {free / 2**30:.1f} GiB are available. {advice}"
    )


def _other_recipe(recipe: Recipe, way: Way, free: int) -> str:
    """Advice to use the largest recipe of the family that fits, if there is one."""
    fitting = []
    for name, other in RECIPES.items():
        if other.precision == "auto":
            other = replace(other, precision="float32" if recipe.full_width else "bfloat16")
        four_bits_run = other.precision != "nf4" or way.on_gpu or way.framework == "mlx"
        known = CONFIGS.get(other.base)
        alike = other.trained and (other.family, other.modes) == (recipe.family, recipe.modes)
        if alike and four_bits_run and known is not None:
            taken = estimate_memory(known, other, micro_batch=1, way=replace(way, lean=False))
            fitting += [name] * (taken.total <= free)
    if fitting:
        return f"Recipe {fitting[-1]} fits with --micro-batch 1 (in a chapter: -p micro_batch 1)."
    return "No recipe of its family fits; use a machine with more memory."


def _shape(
    width: int, inner: int, layers: int, heads: int, kv: int, *, tied: bool
) -> dict[str, Any]:
    return {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": 151_936,
        "tie_word_embeddings": tied,
    }  # fmt: skip


#: The dimensions of Qwen2.5's models (their config.json), for advice without a download.
CONFIGS = {
    "Qwen/Qwen2.5-0.5B-Instruct": _shape(896, 4864, 24, 14, 2, tied=True),
    "Qwen/Qwen2.5-1.5B-Instruct": _shape(1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-3B-Instruct": _shape(2048, 11008, 36, 16, 2, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": _shape(3584, 18944, 28, 28, 4, tied=False),
    "Qwen/Qwen2.5-14B-Instruct": _shape(5120, 13824, 48, 40, 8, tied=False),
}
#: The official GGUF files store the head apart from the embeddings.
CONFIGS |= {
    RECIPES[f"coder-{size}"].base: CONFIGS[f"Qwen/Qwen2.5-{size.upper()}-Instruct"]
    | {"tie_word_embeddings": False}
    for size in CODER_SIZES
}

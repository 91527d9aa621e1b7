"""The memory that a decoder layer keeps from the forward pass for the backward pass.

The formulas were derived from the tensors that autograd saves, listed with
:class:`torch.autograd.graph.saved_tensors_hooks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Recipe


@dataclass(frozen=True)
class Way:
    """What determines the memory of a training run besides its recipe.

    ``lean``: with the decoder of :mod:`~distill_sql.models.inference.lean`. ``rounds``: in
    bfloat16, by PyTorch's autocast or inside the lean decoder. ``trees``: rows that begin alike are
    computed as trees (:mod:`~distill_sql.training.tree`).
    """

    framework: Framework = "torch"
    on_gpu: bool = False
    lean: bool = False
    rounds: bool = False
    trees: bool = False


@dataclass(frozen=True)
class Branches:
    """What a tree's attention is computed on: tokens of the prefix, branches, the longest one."""

    prefix: int
    number: int
    longest: int


@dataclass(frozen=True)
class Load:
    """A micro batch: rows padded to a width in tokens, and the number of tokens in the loss.

    ``padded`` says whether any row is shorter than the width. A tree is one row of all its tokens,
    with its ``branches``.
    """

    rows: int
    width: int
    learned: int
    padded: bool = True
    branches: Branches | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all rows, including padding."""
        return self.rows * self.width


@dataclass(frozen=True)
class Shape:
    """The dimensions of a Qwen2 model."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    embeddings: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        """The dimensions in a model's ``config.json``."""
        heads, width = config["num_attention_heads"], config["hidden_size"]
        vocabulary = config["vocab_size"]
        return cls(
            width, config["intermediate_size"], config["num_hidden_layers"], heads,
            config.get("num_key_value_heads", heads), vocabulary,
            vocabulary * width * (1 if config.get("tie_word_embeddings") else 2),
        )  # fmt: skip

    @property
    def kv(self) -> int:
        """The width of keys, and of values."""
        return self.kv_heads * (self.width // self.heads)

    @property
    def products(self) -> dict[str, tuple[int, int]]:
        """Input and output dimensions of a layer's linear maps."""
        return {
            "q_proj": (self.width, self.width),
            "k_proj": (self.width, self.kv),
            "v_proj": (self.width, self.kv),
            "o_proj": (self.width, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    @property
    def linear(self) -> int:
        """The number of weights of a layer's linear maps."""
        return sum(rows * columns for rows, columns in self.products.values())

    def kept_by_token(self, recipe: Recipe, way: Way, load: Load) -> float:
        """Bytes per token that a layer keeps for the backward pass."""
        width, inner, kv = self.width, self.inner, self.kv
        wide_targets = set(recipe.targets) - {"down_proj"}
        deep = "down_proj" in recipe.targets
        dropped = (len(wide_targets) * width + deep * inner) if recipe.dropout else 0
        if way.framework == "mlx":  # measured, since its graph cannot be inspected
            of_inner, of_width, of_kv, item = (
                (19, 42, 8, 4) if recipe.full_width else (12, 34, 5, 2)
            )
            scores = 0 if load.branches else self.heads * load.width * item
            of_rank = 4 * len(recipe.targets) * recipe.rank
            of_states = of_inner * inner + of_width * width + of_kv * kv
            return of_states + of_rank + scores + 1.25 * item * dropped
        if way.lean:
            item = 2 if way.rounds else 4
            wide = 7 * width + 3 * kv
            scores = 0
            if way.rounds:  # its attention keeps its weights, and a copy of keys and values
                copied = self.kv_heads > 1 and load.rows > 1
                wide = (4 * width + 2 * kv) if copied else (6 * width + 3 * kv)
                scores = self.heads * load.width * item
            states = 2 * width * (4 if way.rounds else 0)
            return item * (wide + 4 * inner) + states + scores
        item = 4 if recipe.full_width and not way.rounds else 2
        given = 2 if way.rounds else 4  # the input of an adapter
        shared = recipe.precision == "float32" and not recipe.dropout
        inputs = 2 if shared else len(wide_targets)
        return (
            given * (inputs * width + deep * inner + len(recipe.targets) * recipe.rank)
            + item * (2 * width + 2 * kv + 3 * inner)
            + 2 * 4 * width  # inputs of the norms, in float32
            + 4 * self.heads
            + dropped * (1 if way.on_gpu else 4)
            + (item * load.width if load.padded else 0)  # the mask
        )

    def kept_by_branches(self, recipe: Recipe, way: Way, branches: Branches) -> int:
        """Bytes that a layer's attention keeps of a tree besides :meth:`kept_by_token`.

        Each branch has the prefix's keys and values, and a mask is shared. On a CUDA device
        attention may also keep its weights and repeat keys and values for every head, in float32.
        """
        prefix, number, longest = branches.prefix, branches.number, branches.longest
        item = 4 if recipe.full_width and not way.rounds else 2
        seen, padded = prefix + longest, number * longest
        if way.framework == "mlx":
            scores = self.heads * (prefix * prefix + padded * seen)
            return (4 if recipe.full_width else 2) * (scores + 2 * number * seen * self.kv)
        copied = prefix * self.width + 2 * padded * self.width + 2 * number * seen * self.kv
        on_gpu = 4 * (2 * number * seen * self.width + self.heads * padded * seen)
        return item * (copied + longest * seen) + 4 * self.heads * padded + way.on_gpu * on_gpu

    def passed_by_token(self, recipe: Recipe, way: Way) -> int:
        """Bytes per token that the backward pass through a layer needs besides the kept tensors.

        Measured with few tokens in the loss, so that this is the peak of a run. On a CUDA device,
        where masks take a byte, recomputed layers took at most 10 of the 12.
        """
        if way.framework == "mlx" or (recipe.checkpointing and recipe.dropout):
            return (12 if way.on_gpu else 16) * self.inner
        if recipe.checkpointing or (way.lean and way.rounds):
            return 8 * self.inner
        return 8 * self.inner + 16 * self.width

    def kept_by_layer(self, recipe: Recipe, way: Way) -> int:
        """Bytes that a layer keeps independent of the tokens: weights rounded to bfloat16."""
        if way.lean:
            return self.linear * (2 if way.rounds else 4)
        return self.linear * 2 if way.rounds and recipe.full_width else 0

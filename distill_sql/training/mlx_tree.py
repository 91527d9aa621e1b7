"""Trees on MLX: the prefix is computed once, then all branches as a batch that continues it.

Trees are those of :mod:`~distill_sql.training.tree`.

mlx-lm's attention takes the keys and values of earlier tokens, and their number as the position of
the next token, from a cache. Here the cache is the prefix, and gradients pass through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from distill_sql.models.mlx_backend import mlx
from distill_sql.models.recipes import Recipe

if TYPE_CHECKING:
    from mlx.core import array
    from mlx.nn import Module


def used_for(recipe: Recipe) -> bool:
    """Whether a run on MLX computes trees; recomputed activations would not know the prefix."""
    return recipe.grouping == "database" and not recipe.checkpointing


class Prefix:
    """What a layer keeps of a prefix: the first keys and values it gets, which later ones follow.

    The interface is that of mlx-lm's caches.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._kept: tuple[array, array] | None = None

    def update_and_fetch(self, keys: array, values: array) -> tuple[array, array]:
        """The keys and values to attend to, all (rows, heads, tokens, width)."""
        if self._kept is None:
            self._kept, self.offset = (keys, values), keys.shape[2]
            return keys, values
        mx, (first, second) = mlx(), self._kept
        rows = (keys.shape[0], *first.shape[1:])
        return (
            mx.concatenate([mx.broadcast_to(first, rows), keys], 2),
            mx.concatenate([mx.broadcast_to(second, rows), values], 2),
        )


def states_of(model: Module, prefix: array | None, branches: array) -> array:
    """The last hidden states of branches (rows x width) that follow ``prefix`` (1 x tokens)."""
    if prefix is None:
        return cast("array", model.model(branches))
    layers = [Prefix() for _ in model.layers]
    model.model(prefix, cache=layers)
    return cast("array", model.model(branches, cache=layers))

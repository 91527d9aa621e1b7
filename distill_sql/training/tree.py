"""Training that reads a shared prefix once: rows that begin alike form one tree.

Rows on one database begin with the same tokens, the system message and the schema. A tree has
these tokens once, as its prefix, and each row's own tokens as a branch. A branch attends to the
prefix and to itself; its positions go on where the prefix ends. So every learned token has the
context that it has in a row of its own, and loss and gradients are the same (tested). A prefix that
sixteen rows share is computed once, forward and backward.

Memory holds one tree at a time, forward and backward. A row of a batch that shares no prefix is a
tree of its own. What is left out: dropout draws one mask for the prefix, where each row would draw
its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from distill_sql.models.recipes import Recipe
from distill_sql.training.rows import TokenRow

if TYPE_CHECKING:
    import torch

#: The name under which transformers finds :func:`attend`.
ATTENTION = "distill_sql_tree"
#: Rows share a tree if their common prefix is at least this share of the shorter prompt.
LEAST_SHARED = 0.5


def used_for(recipe: Recipe, *, lean: bool) -> bool:
    """Whether a run on PyTorch computes trees; the lean decoder has an attention of its own."""
    return recipe.grouping == "database" and not lean


@dataclass(frozen=True)
class Tree:
    """Rows that begin alike: their first tokens once, and of each row the tokens after them.

    A branch is a row without the prefix: its ``prompt`` counts own tokens that are not learned, at
    least one, since the token before the first learned one must be the branch's own.
    """

    prefix: tuple[int, ...]
    branches: tuple[TokenRow, ...]

    @property
    def tokens(self) -> int:
        """Tokens that go through the model."""
        return len(self.prefix) + sum(len(branch.ids) for branch in self.branches)


def trees(rows: Sequence[TokenRow]) -> list[Tree]:
    """The rows as trees. A row that shares too little with any other is a tree of its own.

    >>> rows = [TokenRow((1, 2, 3, 7, 8), 4), TokenRow((5, 6, 9), 2), TokenRow((1, 2, 3, 4), 3)]
    >>> [(tree.prefix, [branch.ids for branch in tree.branches]) for tree in trees(rows)]
    [((1, 2), [(3, 4), (3, 7, 8)]), ((5,), [(6, 9)])]
    """
    made: list[Tree] = []
    group: list[TokenRow] = []
    shared = 0
    for row in sorted(rows, key=lambda row: row.ids):
        if group:
            common = min(shared, _common(group[0], row))
            shortest = min(row.prompt, *(one.prompt for one in group))
            if common >= LEAST_SHARED * shortest:
                group.append(row)
                shared = common
                continue
            made.append(_tree(group, shared))
        group, shared = [row], row.prompt - 1
    if group:
        made.append(_tree(group, shared))
    return made


def _tree(group: Sequence[TokenRow], shared: int) -> Tree:
    branches = tuple(TokenRow(row.ids[shared:], row.prompt - shared) for row in group)
    return Tree(group[0].ids[:shared], branches)


def _common(one: TokenRow, other: TokenRow) -> int:
    """How many first tokens two rows share; each keeps the last token of its prompt."""
    most = min(one.prompt, other.prompt) - 1
    pairs = zip(one.ids[:most], other.ids[:most], strict=True)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), most)


def loss_sum(model: Any, tree: Tree) -> torch.Tensor:
    """The sum of the cross-entropies of a tree's learned tokens.

    ``model`` is a ``Qwen2ForCausalLM``, maybe with adapters, for which :func:`use` was called.
    """
    import torch

    sizes = [len(branch.ids) for branch in tree.branches]
    starts = [len(tree.prefix) + before for before in accumulate([0, *sizes[:-1]])]
    flat = [*tree.prefix, *(token for branch in tree.branches for token in branch.ids)]
    positions = [*range(len(tree.prefix))]
    predicting: list[int] = []
    targets: list[int] = []
    for start, branch in zip(starts, tree.branches, strict=True):
        positions += range(len(tree.prefix), len(tree.prefix) + len(branch.ids))
        predicting += range(start + branch.prompt - 1, start + len(branch.ids) - 1)
        targets += branch.ids[branch.prompt :]
    device = next(model.parameters()).device
    outputs = model(
        input_ids=torch.tensor([flat], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask={"full_attention": None},  # attend() needs none
        branches=sizes,
        logits_to_keep=torch.tensor(predicting, dtype=torch.long, device=device),
        use_cache=False,
    )
    return torch.nn.functional.cross_entropy(
        outputs.logits[0].float(),
        torch.tensor(targets, dtype=torch.long, device=device),
        reduction="sum",
    )


def use(model: Any) -> None:
    """Have a model of transformers, maybe with adapters, attend by :func:`attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.config._attn_implementation = ATTENTION


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    branches: Sequence[int] = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within a tree: the prefix to itself, each branch to the prefix and itself.

    Queries are (1, heads, tokens, width), keys and values have as many heads or fewer. ``branches``
    are the lengths of the branches, which follow the prefix in their order. The result is (1,
    tokens, heads, width), as transformers expects it.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from torch.nn.utils.rnn import pad_sequence

    grouped = key.shape[1] < query.shape[1]
    prefix = query.shape[2] - sum(branches)
    parts = []
    if prefix:
        parts.append(
            scaled_dot_product_attention(
                query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], is_causal=True,
                scale=scaling, enable_gqa=grouped,
            )[0].transpose(0, 1)
        )  # fmt: skip

    def own(states: torch.Tensor) -> torch.Tensor:
        """The branches' states, padded: (branches, heads, longest, width)."""
        pieces = states[0, :, prefix:].transpose(0, 1).split(list(branches))
        return pad_sequence(list(pieces), batch_first=True).transpose(1, 2)

    def all_seen(states: torch.Tensor) -> torch.Tensor:
        common = states[:, :, :prefix].expand(len(branches), -1, -1, -1)
        return torch.cat([common, own(states)], 2)

    queries = own(query)
    longest = queries.shape[2]
    seen = torch.ones(longest, prefix + longest, dtype=torch.bool, device=query.device)
    found = scaled_dot_product_attention(
        queries, all_seen(key), all_seen(value), attn_mask=seen.tril(prefix), scale=scaling,
        enable_gqa=grouped,
    )  # fmt: skip
    parts += [one[:, :size].transpose(0, 1) for one, size in zip(found, branches, strict=True)]
    return torch.cat(parts)[None], None

"""The initial weights of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.pretraining.ladder import Shape


def begin_with_copying(model: Any, shape: Shape) -> None:
    """Initialize one head in each of the first two layers so that the model can copy.

    Two heads continue repeated text (Olsson et al., *In-context learning and induction heads*,
    2022). The first passes on the previous token; the second attends to the position after an
    earlier occurrence of the current token. Small models learn the pair late: after 2.5 million
    tokens, a model of pocket-m's shape had a loss of 0.53 with this initialization and 2.6 without.
    """
    import torch

    size = shape.width // shape.heads
    half = size // 2
    draw = torch.Generator().manual_seed(shape.seed)

    def projection() -> torch.Tensor:
        return torch.linalg.qr(torch.randn(shape.width, size, generator=draw))[0].T

    before, place, own = projection(), projection(), projection()
    first, second = (model.model.layers[layer].self_attn for layer in (0, 1))
    theta = model.config.rope_parameters["rope_theta"]
    turn = theta ** (-torch.arange(half) / half)
    # Slowly rotating pairs of dimensions compare content at any distance.
    slow = [*range(half // 2, half), *range(half + half // 2, size)]
    with torch.no_grad():
        # The scores come from biases rotated by one position: the previous token has the highest.
        first.q_proj.weight[:size] = first.k_proj.weight[:size] = 0
        first.q_proj.bias[:half] = 7.0
        first.k_proj.bias[:half] = 7.0 * torch.cos(turn)
        first.k_proj.bias[half:size] = 7.0 * torch.sin(turn)
        first.v_proj.weight[:size] = 0.3 * before
        first.o_proj.weight[:, :size] = 0.3 * place.T
        second.q_proj.weight[:size] = second.k_proj.weight[:size] = 0
        second.q_proj.weight[slow] = before[: len(slow)]
        second.k_proj.weight[slow] = place[: len(slow)]
        second.v_proj.weight[:size] = 0.3 * own
        second.o_proj.weight[:, :size] = 0.3 * own.T


def mean_of(branches: Sequence[Any]) -> Any:
    """Average several models of one shape into the first of them, and return it."""
    import torch

    first, *others = branches
    with torch.no_grad():
        for name, weight in first.named_parameters():
            same = [other.get_parameter(name) for other in others]
            weight.copy_(torch.stack([weight, *same]).mean(0))
    return first


def expand(small: Any, model: Any) -> None:
    """Initialize ``model`` from ``small``, which has no more layers, with the same logits.

    Layers are copied, evenly spread. The copies add nothing at first, since their output
    projections are zero (block expansion; Wu et al., *LLaMA Pro*, 2024). Raises
    :class:`TrainingError` if the models differ in more than the number of layers.
    """
    import torch

    few, many = small.config.num_hidden_layers, model.config.num_hidden_layers
    alike = [
        [p.shape for p in (*m.model.layers[0].parameters(), m.model.embed_tokens.weight)]
        for m in (small, model)
    ]
    if few > many or alike[0] != alike[1]:
        raise TrainingError(
            f"A model of {few} layers, {small.config.hidden_size} wide, cannot be expanded to one "
            f"of {many}, {model.config.hidden_size} wide; expected the same widths and vocabulary, "
            "and at least as many layers. Pass a model that fits, or none."
        )
    source = [number * few // many for number in range(many)]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(small.model.embed_tokens.weight)
        model.model.norm.weight.copy_(small.model.norm.weight)
        for number, layer in enumerate(model.model.layers):
            layer.load_state_dict(small.model.layers[source[number]].state_dict())
            if number and source[number] == source[number - 1]:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()

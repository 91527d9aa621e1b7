"""What a model's weights are before its first lesson."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.pretraining.ladder import Shape


def begin_with_copying(model: Any, shape: Shape) -> None:
    """Set one head of each of the first two layers to what copying needs, as a start to learn from.

    Text that repeats is continued by two heads (Olsson et al., *In-context learning and induction
    heads*, 2022): the first passes on which token came before, the second looks for the place after
    an earlier occurrence of the present one. Small models find the pair late: a model of pocket-m's
    shape had a loss of 0.53 after 2.5 million tokens with this start, and of 2.6 without.
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
    # Pairs of dimensions that rotate slowly compare content, wherever it is.
    slow = [*range(half // 2, half), *range(half + half // 2, size)]
    with torch.no_grad():
        # Biases alone, turned by one position: the score is highest at the token before.
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
    """The first of several models of one shape, its weights now the means of all."""
    import torch

    first, *others = branches
    with torch.no_grad():
        for name, weight in first.named_parameters():
            same = [other.get_parameter(name) for other in others]
            weight.copy_(torch.stack([weight, *same]).mean(0))
    return first


def expand(small: Any, model: Any) -> None:
    """Let ``model`` begin as ``small``, which has no more layers: the logits are the same.

    Some of its layers, evenly spread, are followed by copies that add nothing yet, since what they
    add is multiplied by zero (block expansion; Wu et al., *LLaMA Pro*, 2024).
    Raises :class:`TrainingError` if the models differ in more than layers.
    """
    import torch

    few, many = small.config.num_hidden_layers, model.config.num_hidden_layers
    alike = [
        [p.shape for p in (*m.model.layers[0].parameters(), m.model.embed_tokens.weight)]
        for m in (small, model)
    ]
    if few > many or alike[0] != alike[1]:
        raise TrainingError(
            f"A model of {few} layers, {small.config.hidden_size} wide, cannot become one of "
            f"{many}, {model.config.hidden_size} wide: expected the same widths and vocabulary, "
            "and as many layers or more. Give a model that fits, or none."
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

"""Students on MLX: loading, LoRA and generation with mlx-lm, at home on a Mac."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.models.fits import check_fits
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.protocol import Framework, Writer
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer

if TYPE_CHECKING:
    from mlx.core import array
    from mlx.nn import Module


def mlx() -> ModuleType:
    """``mlx.core``; raises :class:`MissingDependencyError` if mlx-lm is not installed."""
    try:
        import mlx.core as mx
        import mlx_lm  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "This needs mlx-lm: pip install 'distill-sql[mlx]', on a Mac or on Linux."
        ) from error
    return mx


class MlxStudent:
    """A model in MLX."""

    framework: Framework = "mlx"

    def __init__(self, model: Module, tokenizer: ChatTokenizer, ends: set[int]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._ends = ends | {tokenizer.encode("<|im_end|>")[0]}

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        writers: Sequence[Writer] | None = None,
    ) -> list[list[int]]:
        """Greedy continuations; see :class:`~distill_sql.models.protocol.Student`."""
        mx = mlx()
        from mlx_lm.generate import BatchGenerator
        from mlx_lm.models.cache import make_prompt_cache

        caches = None
        if prefix:
            shared = make_prompt_cache(self.model)
            self.model(mx.array([list(prefix)]), cache=shared)
            mx.eval([layer.state for layer in shared])
            caches = [copy.deepcopy(shared) for _ in suffixes]
        generator = BatchGenerator(
            self.model,
            max_tokens=max_tokens,
            stop_tokens=[[end] for end in sorted(self._ends)],
            completion_batch_size=len(suffixes),
            prefill_batch_size=len(suffixes),
        )
        answers: dict[int, list[int]] = {
            uid: []
            for uid in generator.insert(
                [list(s) for s in suffixes],
                caches=caches,
                logits_processors=[[_chosen_by(writer)] for writer in writers] if writers else None,
            )
        }
        while responses := generator.next_generated():
            over = []
            for response in responses:
                if response.finish_reason == "stop":
                    continue
                answer = answers[response.uid]
                answer.append(int(response.token))
                if response.finish_reason is None and finished(answer):
                    over.append(response.uid)
            if over:
                generator.remove(over)
        generator.close()
        return list(answers.values())


def _chosen_by(writer: Writer) -> Callable[[array, array], array]:
    """A logits processor for mlx-lm that allows only the token that a writer chooses."""
    import numpy as np

    mx = mlx()

    def process(_: array, logits: array) -> array:
        token = writer(np.array(logits[0].astype(mx.float32)))
        return mx.where(mx.arange(logits.shape[-1]) == token, logits, -mx.inf)

    return process


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with precision ``auto`` replaced by bfloat16, which a Mac supports."""
    return replace(recipe, precision="bfloat16") if recipe.precision == "auto" else recipe


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> MlxStudent:
    """The model in ``folder`` at the recipe's precision, with a trained adapter if one is given.

    Raises :class:`TrainingError` if its weights exceed the available memory.
    """
    recipe = resolve(recipe)
    check_fits(folder, recipe, "mlx")
    model, config = load_model_as(folder, recipe)
    if adapter is not None:
        add_lora(model, recipe)
        model.load_weights(str(adapter / "adapters.safetensors"), strict=False)
    model.eval()
    ends = config.get("eos_token_id")
    tokenizer = load_tokenizer(folder)
    check_vocabulary(tokenizer, config["vocab_size"], folder)
    return MlxStudent(model, tokenizer, set(ends if isinstance(ends, list) else [ends]) - {None})


def load_model_as(folder: Path, recipe: Recipe) -> tuple[Module, dict[str, Any]]:
    """The base model at the recipe's precision, and its configuration."""
    mx = mlx()
    import mlx.nn as nn
    from mlx_lm.utils import load_model

    model, config = load_model(folder)
    model.set_dtype(mx.float32 if recipe.full_width else mx.bfloat16)
    if recipe.precision == "nf4":
        # MLX has no NF4. Its own 4-bit format, in groups of 64, takes as much memory. As with NF4,
        # only the linear layers are quantized, not the embeddings and the output head.
        nn.quantize(
            model,
            group_size=64,
            bits=4,
            class_predicate=lambda name, layer: (
                name.startswith("model.layers.") and hasattr(layer, "to_quantized")
            ),
        )
    return model, config


def add_lora(model: Module, recipe: Recipe) -> None:
    """Freeze the model and add the recipe's LoRA adapter."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    parents = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn",
               "o_proj": "self_attn"}  # fmt: skip
    model.freeze()
    linear_to_lora_layers(
        model,
        len(model.layers),
        {
            "rank": recipe.rank,
            "scale": recipe.alpha / recipe.rank,
            "dropout": recipe.dropout,
            "keys": [f"{parents.get(name, 'mlp')}.{name}" for name in recipe.targets],
        },
    )


def save_arrays(
    path: Path, arrays: dict[str, array], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file atomically; raises :class:`TrainingError` if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"new-{path.name}")
    try:
        mlx().save_safetensors(str(scratch), arrays, metadata or {})
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"{path} could not be saved ({error}). Free some space, then run the same command: "
            "training resumes from its last checkpoint."
        ) from error
    scratch.replace(path)


def from_peft(adapter: Path, out: Path) -> Path:
    """Convert an adapter of PEFT to MLX's layout, into the folder ``out``.

    PEFT stores ``lora_A`` as (rank, in) and ``lora_B`` as (out, rank); MLX transposes both.
    """
    mx = mlx()
    arrays = {}
    for name, value in mx.load(str(adapter / "adapter_model.safetensors")).items():
        plain = name.removeprefix("base_model.model.").removesuffix(".weight")
        arrays[plain.replace("lora_A", "lora_a").replace("lora_B", "lora_b")] = value.T
    save_arrays(out / "adapters.safetensors", arrays)
    return out

"""Students on MLX: loading and LoRA with mlx-lm, at home on a Mac.

The training loop is ours, because three things must be as they are on PyTorch: which tokens count
in the loss (mlx-lm's own counts one more, the first of the padding), what an update averages over,
and that a killed run goes on with its optimizer's state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.protocol import Framework, Writer
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer


def mlx() -> Any:
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

    def __init__(self, model: Any, tokenizer: ChatTokenizer, ends: set[int]) -> None:
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


def _chosen_by(writer: Writer) -> Callable[[Any, Any], Any]:
    """A processor of mlx-lm's that leaves the token alone that a writer chooses."""
    import numpy as np

    mx = mlx()

    def process(_: Any, logits: Any) -> Any:
        token = writer(np.array(logits[0].astype(mx.float32)))
        return mx.where(mx.arange(logits.shape[-1]) == token, logits, -mx.inf)

    return process


def resolve(recipe: Recipe) -> Recipe:
    """The recipe as MLX carries it out: ``auto`` is bfloat16, which a Mac multiplies."""
    return replace(recipe, precision="bfloat16") if recipe.precision == "auto" else recipe


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> MlxStudent:
    """The model in ``folder``, held as ``recipe`` says, with a trained adapter if one is given."""
    recipe = resolve(recipe)
    model, config = load_model_as(folder, recipe)
    if adapter is not None:
        add_lora(model, recipe)
        model.load_weights(str(adapter / "adapters.safetensors"), strict=False)
    model.eval()
    ends = config.get("eos_token_id")
    tokenizer = load_tokenizer(folder)
    check_vocabulary(tokenizer, config["vocab_size"], folder)
    return MlxStudent(model, tokenizer, set(ends if isinstance(ends, list) else [ends]) - {None})


def load_model_as(folder: Path, recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    mx = mlx()
    import mlx.nn as nn
    from mlx_lm.utils import load_model

    model, config = load_model(folder)
    model.set_dtype(mx.float32 if recipe.full_width else mx.bfloat16)
    if recipe.precision == "nf4":
        # MLX has no NF4; its own 4 bits, in groups of 64, take as much room. As under NF4, only the
        # layers' products are rounded: embeddings, and the head that reads them, stay.
        nn.quantize(
            model,
            group_size=64,
            bits=4,
            class_predicate=lambda name, layer: (
                name.startswith("model.layers.") and hasattr(layer, "to_quantized")
            ),
        )
    return model, config


def add_lora(model: Any, recipe: Recipe) -> None:
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
    mx: Any, path: Path, arrays: dict[str, Any], metadata: dict[str, str] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"new-{path.name}")
    try:
        mx.save_safetensors(str(scratch), arrays, metadata or {})
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"{path} could not be saved ({error}). Free some space, then run the same command: "
            "training goes on from its last checkpoint."
        ) from error
    scratch.replace(path)


def from_peft(adapter: Path, out: Path) -> Path:
    """Write an adapter of the other back end in MLX's layout to the folder ``out``.

    PEFT keeps ``lora_A`` as (rank, in) and ``lora_B`` as (out, rank); MLX has both transposed.
    """
    mx = mlx()
    arrays = {}
    for name, value in mx.load(str(adapter / "adapter_model.safetensors")).items():
        plain = name.removeprefix("base_model.model.").removesuffix(".weight")
        arrays[plain.replace("lora_A", "lora_a").replace("lora_B", "lora_b")] = value.T
    save_arrays(mx, out / "adapters.safetensors", arrays)
    return out

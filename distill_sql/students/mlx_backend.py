"""Students on MLX: loading and LoRA with mlx-lm, at home on a Mac.

The training loop is ours, because three things must be as they are on PyTorch: which tokens count
in the loss (mlx-lm's own counts one more, the first of the padding), what an update averages over,
and that a killed run goes on with its optimizer's state.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.files import write_json
from distill_sql.recipes import Recipe
from distill_sql.students.models import check_vocabulary
from distill_sql.students.protocol import Framework, Trained, Update, Writer, learning_rate
from distill_sql.students.rows import Row, Rows, share_of_batch, updates
from distill_sql.tokenizer import ChatTokenizer, load_tokenizer

CHECKPOINT_EVERY = 50
#: Padded lengths are multiples of this, so that few shapes are compiled.
PAD_TO = 32
#: The global norm that gradients are clipped to, as in the other back end.
MAX_NORM = 1.0


def _mlx() -> Any:
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
        """Greedy continuations; see :class:`~distill_sql.students.protocol.Student`."""
        mx = _mlx()
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

    mx = _mlx()

    def process(_: Any, logits: Any) -> Any:
        token = writer(np.array(logits[0].astype(mx.float32)))
        return mx.where(mx.arange(logits.shape[-1]) == token, logits, -mx.inf)

    return process


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> MlxStudent:
    """The model in ``folder``, held as ``recipe`` says, with a trained adapter if one is given."""
    model, config = _load_model(folder, recipe)
    if adapter is not None:
        _add_lora(model, recipe)
        model.load_weights(str(adapter / "adapters.safetensors"), strict=False)
    model.eval()
    ends = config.get("eos_token_id")
    tokenizer = load_tokenizer(folder)
    check_vocabulary(tokenizer, config["vocab_size"], folder)
    return MlxStudent(model, tokenizer, set(ends if isinstance(ends, list) else [ends]) - {None})


def _load_model(folder: Path, recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    mx = _mlx()
    import mlx.nn as nn
    from mlx_lm.utils import load_model

    model, config = load_model(folder)
    if recipe.precision == "nf4":
        # MLX has no NF4; its own 4 bits, in groups of 64, take as much room.
        nn.quantize(model, group_size=64, bits=4)
    else:
        model.set_dtype(mx.float32 if recipe.full_width else mx.bfloat16)
    return model, config


def _add_lora(model: Any, recipe: Recipe) -> None:
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


def train(
    folder: Path,
    recipe: Recipe,
    rows: Rows,
    out: Path,
    *,
    micro_batch: int | None = None,
    resume: bool = False,
    progress: bool = True,
    start: Path | None = None,
) -> Trained:
    """Train an adapter on ``rows`` into ``out``; see the other back end for the arguments."""
    mx = _mlx()
    import mlx.nn as nn
    import mlx.optimizers as optim
    from mlx.utils import tree_flatten, tree_map, tree_unflatten

    share = share_of_batch(recipe, 1, micro_batch)
    total = updates(recipe, rows)
    mx.random.seed(recipe.seed)
    model, config = _load_model(folder, recipe)
    check_vocabulary(load_tokenizer(folder), config["vocab_size"], folder)
    _add_lora(model, recipe)
    if start is not None:
        model.load_weights(str(start / "adapters.safetensors"), strict=False)
    if recipe.checkpointing:
        from mlx_lm.tuner.trainer import grad_checkpoint

        grad_checkpoint(model.layers[0])
    optimizer = optim.Adam(learning_rate=0.0, betas=[0.9, 0.999], eps=1e-8, bias_correction=True)
    model.train()
    optimizer.init(model.trainable_parameters())

    def loss_sum(batch: Any, mask: Any) -> Any:
        logits = model(batch[:, :-1]).astype(mx.float32)
        return (nn.losses.cross_entropy(logits, batch[:, 1:]) * mask).sum()

    loss_and_gradient = nn.value_and_grad(model, loss_sum)
    checkpoint = out / "checkpoints" / "mlx.safetensors"
    history: list[Update] = []
    if resume and checkpoint.exists():
        arrays, metadata = mx.load(str(checkpoint), return_metadata=True)
        model.load_weights(
            [(k[6:], v) for k, v in arrays.items() if k.startswith("model.")], strict=False
        )
        optimizer.state = tree_unflatten(
            [(k[10:], v) for k, v in arrays.items() if k.startswith("optimizer.")]
        )
        history = [Update(*entry) for entry in json.loads(metadata["history"])]
    mx.reset_peak_memory()
    began = time.monotonic()
    with tqdm(total=total, initial=len(history), disable=not progress, desc=recipe.name) as bar:
        for number, group in enumerate(_updates_of(rows, recipe)):
            if number < len(history):
                continue
            rate = learning_rate(
                number, peak=recipe.learning_rate, warm_up=recipe.warm_up, total=total
            )
            learned = sum(len(row.ids) - row.prompt for row in group)
            loss, gradient = mx.array(0.0), None
            for first in range(0, len(group), share):
                batch, mask = _padded(mx, group[first : first + share])
                part, slope = loss_and_gradient(batch, mask)
                loss = loss + part
                gradient = slope if gradient is None else tree_map(mx.add, gradient, slope)
                mx.eval(loss, gradient)
            gradient = tree_map(lambda g, count=learned: g / count, gradient)
            gradient, _ = optim.clip_grad_norm(gradient, MAX_NORM)
            optimizer.learning_rate = rate
            optimizer.update(model, gradient)
            mx.eval(model.trainable_parameters(), optimizer.state)
            history.append(Update(number + 1, loss.item() / learned, rate))
            bar.set_postfix(loss=f"{history[-1].loss:.3f}", refresh=False)
            bar.update()
            if (number + 1) % CHECKPOINT_EVERY == 0:
                _save(
                    mx,
                    checkpoint,
                    {f"model.{k}": v for k, v in tree_flatten(model.trainable_parameters())}
                    | {f"optimizer.{k}": v for k, v in tree_flatten(optimizer.state)},
                    {"history": json.dumps([[u.number, u.loss, u.learning_rate] for u in history])},
                )
    seconds = time.monotonic() - began
    adapter = out / "adapter"
    _save(mx, adapter / "adapters.safetensors", dict(tree_flatten(model.trainable_parameters())))
    write_json(
        adapter / "adapter_config.json",
        {
            "fine_tune_type": "lora",
            "num_layers": len(model.layers),
            "lora_parameters": {"rank": recipe.rank, "scale": recipe.alpha / recipe.rank,
                                "dropout": recipe.dropout},
        },
    )  # fmt: skip
    return Trained(
        adapter,
        tuple(history),
        rows.tokens,
        rows.learned,
        rows.too_long,
        seconds,
        int(mx.get_peak_memory()),
    )


def _updates_of(rows: Rows, recipe: Recipe) -> Iterator[Sequence[Row]]:
    """The rows of each update; an epoch's last one may be smaller."""
    per_epoch = len(rows.rows) // recipe.epochs
    for epoch in range(recipe.epochs):
        members = rows.rows[epoch * per_epoch : (epoch + 1) * per_epoch]
        for first in range(0, per_epoch, recipe.batch):
            yield members[first : first + recipe.batch]


def _padded(mx: Any, group: Sequence[Row]) -> tuple[Any, Any]:
    """Ids of shape (rows, width), and which of the tokens after the first are learned."""
    longest = max(len(row.ids) for row in group)
    width = -(-longest // PAD_TO) * PAD_TO
    ids = [list(row.ids) + [0] * (width - len(row.ids)) for row in group]
    mask = [
        [1.0 if row.prompt <= place < len(row.ids) else 0.0 for place in range(1, width)]
        for row in group
    ]
    return mx.array(ids), mx.array(mask)


def _save(
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
    mx = _mlx()
    arrays = {}
    for name, value in mx.load(str(adapter / "adapter_model.safetensors")).items():
        plain = name.removeprefix("base_model.model.").removesuffix(".weight")
        arrays[plain.replace("lora_A", "lora_a").replace("lora_B", "lora_b")] = value.T
    _save(mx, out / "adapters.safetensors", arrays)
    return out

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
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.files import write_json
from distill_sql.recipes import Recipe
from distill_sql.students.models import check_vocabulary
from distill_sql.students.protocol import (
    Framework,
    Trained,
    Update,
    Validation,
    Writer,
    learning_rate,
    measured_after,
)
from distill_sql.students.rows import Row, Rows, rows_of_updates, share_of_batch, updates
from distill_sql.tokenizer import ChatTokenizer, load_tokenizer

CHECKPOINT_EVERY = 50
#: Padded lengths are multiples of this, so that few shapes are compiled.
PAD_TO = 32


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


def resolve(recipe: Recipe) -> Recipe:
    """The recipe as MLX carries it out: ``auto`` is bfloat16, which a Mac multiplies."""
    return replace(recipe, precision="bfloat16") if recipe.precision == "auto" else recipe


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> MlxStudent:
    """The model in ``folder``, held as ``recipe`` says, with a trained adapter if one is given."""
    recipe = resolve(recipe)
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
    validation: Sequence[Row] = (),
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

    recipe = resolve(recipe)
    share = share_of_batch(recipe, 1, micro_batch)
    total = updates(recipe, rows)
    mx.random.seed(recipe.seed)
    model, config = _load_model(folder, recipe)
    check_vocabulary(load_tokenizer(folder), config["vocab_size"], folder)
    _add_lora(model, recipe)
    if start is not None:
        model.load_weights(str(start / "adapters.safetensors"), strict=False)
    optimizer = optim.AdamW(
        learning_rate=0.0, betas=[recipe.beta1, recipe.beta2], eps=recipe.epsilon,
        weight_decay=recipe.weight_decay, bias_correction=True,
    )  # fmt: skip
    model.train()
    optimizer.init(model.trainable_parameters())
    loss_and_gradient = nn.value_and_grad(model, lambda *batch: _loss_sum(model, *batch))
    checkpoint = out / "checkpoints" / "mlx.safetensors"
    history: list[Update] = []
    measured: list[Validation] = []
    if resume and checkpoint.exists():
        arrays, metadata = mx.load(str(checkpoint), return_metadata=True)
        model.load_weights(
            [(k[6:], v) for k, v in arrays.items() if k.startswith("model.")], strict=False
        )
        optimizer.state = tree_unflatten(
            [(k[10:], v) for k, v in arrays.items() if k.startswith("optimizer.")]
        )
        history = [Update(*entry) for entry in json.loads(metadata["history"])]
        measured = [Validation(*entry) for entry in json.loads(metadata["validation"])]
    mx.reset_peak_memory()
    began = time.monotonic()
    aside = 0.0  # seconds

    def measure() -> None:
        nonlocal aside
        done = {value.update for value in measured}
        if validation and len(history) in measured_after(total) - done:
            start = time.monotonic()
            loss = _validation_loss(model, validation, share)
            measured.append(Validation(len(history), loss))
            aside += time.monotonic() - start

    with (
        _recomputing(model, recipe),
        tqdm(total=total, initial=len(history), disable=not progress, desc=recipe.name) as bar,
    ):
        measure()
        for number, group in enumerate(rows_of_updates(recipe, rows)):
            if number < len(history):
                continue
            rate = learning_rate(
                number, peak=recipe.learning_rate, warm_up=recipe.warm_up, total=total
            )
            # What dropout draws must not depend on where a run was resumed.
            mx.random.seed(recipe.seed + 1 + number)
            learned = sum(len(row.ids) - row.prompt for row in group)
            loss, gradient = mx.array(0.0), None
            for first in range(0, len(group), share):
                part, slope = loss_and_gradient(*_padded(mx, group[first : first + share]))
                loss = loss + part
                gradient = slope if gradient is None else tree_map(mx.add, gradient, slope)
                mx.eval(loss, gradient)
            gradient = tree_map(lambda g, count=learned: g / count, gradient)
            gradient, _ = optim.clip_grad_norm(gradient, recipe.max_norm)
            optimizer.learning_rate = rate
            optimizer.update(model, gradient)
            mx.eval(model.trainable_parameters(), optimizer.state)
            history.append(Update(number + 1, loss.item() / learned, rate))
            bar.set_postfix(loss=f"{history[-1].loss:.3f}", refresh=False)
            bar.update()
            measure()
            if (number + 1) % CHECKPOINT_EVERY == 0:
                _save(
                    mx,
                    checkpoint,
                    {f"model.{k}": v for k, v in tree_flatten(model.trainable_parameters())}
                    | {f"optimizer.{k}": v for k, v in tree_flatten(optimizer.state)},
                    {
                        "history": json.dumps([astuple(update) for update in history]),
                        "validation": json.dumps([astuple(value) for value in measured]),
                    },
                )
    seconds = time.monotonic() - began - aside
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
        tuple(measured),
    )


@contextmanager
def _recomputing(model: Any, recipe: Recipe) -> Iterator[None]:
    """While this lasts, layers keep their input alone if the recipe says so.

    mlx-lm's own switch is one of the layers' class, and so of every model of the process.
    """
    from mlx_lm.tuner.trainer import grad_checkpoint

    kind = type(model.layers[0])
    usual = kind.__call__
    if recipe.checkpointing:
        grad_checkpoint(model.layers[0])
    try:
        yield
    finally:
        kind.__call__ = usual


def _loss_sum(model: Any, ids: Any, places: Any, targets: Any) -> Any:
    """The sum of the losses of ``targets``, which follow the tokens at ``places`` of ``ids``.

    See :func:`_padded`. Logits are computed of these places alone.
    """
    mx = _mlx()
    import mlx.nn as nn

    states = model.model(ids)
    states = states.reshape(-1, states.shape[-1])[places]
    tied = model.args.tie_word_embeddings
    logits = model.model.embed_tokens.as_linear(states) if tied else model.lm_head(states)
    return nn.losses.cross_entropy(logits.astype(mx.float32), targets).sum()


def _validation_loss(model: Any, rows: Sequence[Row], at_once: int) -> float:
    """The mean loss over the learned tokens of rows, without dropout."""
    mx = _mlx()
    alike = sorted(rows, key=lambda row: len(row.ids))
    model.eval()
    batches = (_padded(mx, alike[at : at + at_once]) for at in range(0, len(alike), at_once))
    total = sum(_loss_sum(model, *batch).item() for batch in batches)
    model.train()
    return float(total) / sum(len(row.ids) - row.prompt for row in rows)


def _padded(mx: Any, group: Sequence[Row]) -> tuple[Any, Any, Any]:
    """Ids (rows x width), the places (in all of them, one row after the other) that predict a
    learned token, and these tokens."""
    longest = max(len(row.ids) for row in group)
    width = -(-longest // PAD_TO) * PAD_TO
    ids = [list(row.ids) + [0] * (width - len(row.ids)) for row in group]
    places = [
        number * width + place - 1
        for number, row in enumerate(group)
        for place in range(row.prompt, len(row.ids))
    ]
    targets = [token for row in group for token in row.ids[row.prompt :]]
    return mx.array(ids), mx.array(places), mx.array(targets)


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

"""Training on MLX, at home on a Mac.

The training loop is ours, because three things must be as they are on PyTorch: which tokens count
in the loss (mlx-lm's own counts one more, the first of the padding), what an update averages over,
and that a killed run goes on with its optimizer's state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.files import write_json
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.mlx_backend import add_lora, load_model_as, mlx, resolve, save_arrays
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.training.outcome import (
    Trained,
    Update,
    Validation,
    learning_rate,
    measured_after,
)
from distill_sql.training.rows import Row, Rows, rows_of_updates, share_of_batch, updates

CHECKPOINT_EVERY = 50
#: Padded lengths are multiples of this, so that few shapes are compiled.
PAD_TO = 32


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
    mx = mlx()
    import mlx.nn as nn
    import mlx.optimizers as optim
    from mlx.utils import tree_flatten, tree_map, tree_unflatten

    recipe = resolve(recipe)
    share = share_of_batch(recipe, 1, micro_batch)
    total = updates(recipe, rows)
    mx.random.seed(recipe.seed)
    model, config = load_model_as(folder, recipe)
    check_vocabulary(load_tokenizer(folder), config["vocab_size"], folder)
    add_lora(model, recipe)
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
                save_arrays(
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
    save_arrays(
        mx, adapter / "adapters.safetensors", dict(tree_flatten(model.trainable_parameters()))
    )
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
    mx = mlx()
    import mlx.nn as nn

    states = model.model(ids)
    states = states.reshape(-1, states.shape[-1])[places]
    tied = model.args.tie_word_embeddings
    logits = model.model.embed_tokens.as_linear(states) if tied else model.lm_head(states)
    return nn.losses.cross_entropy(logits.astype(mx.float32), targets).sum()


def _validation_loss(model: Any, rows: Sequence[Row], at_once: int) -> float:
    """The mean loss over the learned tokens of rows, without dropout."""
    mx = mlx()
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

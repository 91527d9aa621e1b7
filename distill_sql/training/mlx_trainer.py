"""Training on MLX, at home on a Mac.

The training loop is our own because three things must match PyTorch: which tokens count in the loss
(mlx-lm's loop counts one more, the first padding token), what an update averages over, and that a
killed run resumes with the state of its optimizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, cast

from distill_sql.files import write_json
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.mlx_backend import add_lora, load_model_as, mlx, resolve, save_arrays
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.training.mlx_tree import states_of, used_for
from distill_sql.training.outcome import Trained, Update, Validation
from distill_sql.training.progress import Progress
from distill_sql.training.rows import Rows, TokenRow, rows_of_updates, share_of_batch
from distill_sql.training.tree import trees

if TYPE_CHECKING:
    from mlx.core import array
    from mlx.nn import Module

#: A prefix, ids, places and targets; see :func:`_loss_sum`.
Batch = tuple["array | None", "array", "array", "array"]
#: Rows are padded to multiples of this length, so that few shapes are compiled.
PAD_TO = 32


def train(
    folder: Path,
    recipe: Recipe,
    rows: Rows,
    out: Path,
    *,
    validation: Sequence[TokenRow] = (),
    micro_batch: int | None = None,
    resume: bool = False,
    progress: bool = True,
    start: Path | None = None,
    stop_at: float | None = None,
) -> Trained:
    """Train an adapter on ``rows`` into ``out``.

    The arguments are those of :class:`~distill_sql.training.student.Trainer`.
    """
    mx = mlx()
    recipe = resolve(recipe)
    share = share_of_batch(recipe, 1, micro_batch)
    run = Progress(recipe, rows, validation, shown=progress, stop_at=stop_at)
    learner = _Learner(folder, recipe, share=share, start=start)
    checkpoint = out / "checkpoints" / "mlx.safetensors"
    if resume and checkpoint.exists():
        learner.resume(checkpoint, run)
    mx.reset_peak_memory()

    def mean_loss(held_out: Sequence[TokenRow]) -> float:
        return _validation_loss(learner.model, held_out, share)

    with _recomputing(learner.model, recipe), run.running():
        run.validate(len(run.updates), mean_loss)
        for number, group in enumerate(rows_of_updates(recipe, rows)):
            if number < len(run.updates):
                continue
            rate = run.learning_rate(number, peak=recipe.learning_rate)
            run.add(learner.update(number, group, rate))
            run.validate(number + 1, mean_loss)
            if run.checkpoint_due():
                learner.save(checkpoint, run)
            if run.out_of_time():
                break
    adapter = out / "adapter"
    learner.save_adapter(adapter)
    return run.trained(adapter, peak_memory=int(mx.get_peak_memory()))


class _Learner:
    """A model with a LoRA adapter and its optimizer.

    ``share`` is the number of rows that are held at once; ``start`` is an adapter to begin with.
    """

    def __init__(self, folder: Path, recipe: Recipe, *, share: int, start: Path | None) -> None:
        mx = mlx()
        import mlx.nn as nn
        import mlx.optimizers as optim

        self._recipe, self._share = recipe, share
        mx.random.seed(recipe.seed)
        model, config = load_model_as(folder, recipe)
        check_vocabulary(load_tokenizer(folder), config["vocab_size"], folder)
        add_lora(model, recipe)
        if start is not None:
            model.load_weights(str(start / "adapters.safetensors"), strict=False)
        self._optimizer = optim.AdamW(
            learning_rate=0.0, betas=[recipe.beta1, recipe.beta2], eps=recipe.epsilon,
            weight_decay=recipe.weight_decay, bias_correction=True,
        )  # fmt: skip
        model.train()
        self._optimizer.init(model.trainable_parameters())
        # The function refers to the model only: a cycle with self would keep it in memory.
        self._loss_and_gradient = nn.value_and_grad(model, lambda *batch: _loss_sum(model, *batch))
        self.model = model

    def update(self, number: int, group: Sequence[TokenRow], rate: float) -> Update:
        """One optimizer update on a batch; ``number`` counts updates from 0."""
        mx = mlx()
        import mlx.optimizers as optim
        from mlx.utils import tree_map

        # Dropout must not depend on where a run was resumed.
        mx.random.seed(self._recipe.seed + 1 + number)
        learned = sum(len(row.ids) - row.prompt for row in group)
        loss, gradient = mx.array(0.0), None
        for batch in self._batches(group):
            part, slope = self._loss_and_gradient(*batch)
            loss = loss + part
            gradient = slope if gradient is None else tree_map(mx.add, gradient, slope)
            mx.eval(loss, gradient)
        gradient = tree_map(lambda one: one / learned, gradient)
        gradient, _ = optim.clip_grad_norm(gradient, self._recipe.max_norm)
        self._optimizer.learning_rate = rate
        self._optimizer.update(self.model, gradient)
        mx.eval(self.model.trainable_parameters(), self._optimizer.state)
        return Update(number + 1, loss.item() / learned, rate)

    def _batches(self, group: Sequence[TokenRow]) -> Iterator[Batch]:
        """The rows of an update as what is computed at once: micro batches, or their trees."""
        for first in range(0, len(group), self._share):
            rows = group[first : first + self._share]
            if not used_for(self._recipe):
                yield _padded(rows)
                continue
            for one in trees(rows):
                prefix = mlx().array([one.prefix]) if one.prefix else None
                yield prefix, *_padded(one.branches)[1:]

    def save(self, checkpoint: Path, run: Progress) -> None:
        """Write adapter, optimizer state and history to one file."""
        from mlx.utils import tree_flatten

        arrays = {f"model.{name}": value for name, value in self._adapter().items()}
        arrays |= {f"optimizer.{name}": v for name, v in tree_flatten(self._optimizer.state)}
        metadata = {
            "history": json.dumps([astuple(update) for update in run.updates]),
            "validation": json.dumps([astuple(one) for one in run.validation]),
        }
        save_arrays(checkpoint, arrays, metadata)

    def resume(self, checkpoint: Path, run: Progress) -> None:
        """Read what ``save`` wrote."""
        from mlx.utils import tree_unflatten

        arrays, metadata = mlx().load(str(checkpoint), return_metadata=True)

        def part(prefix: str) -> list[tuple[str, array]]:
            return [(k.removeprefix(prefix), v) for k, v in arrays.items() if k.startswith(prefix)]

        self.model.load_weights(part("model."), strict=False)
        self._optimizer.state = tree_unflatten(part("optimizer."))
        run.resume(
            [Update(*entry) for entry in json.loads(metadata["history"])],
            [Validation(*entry) for entry in json.loads(metadata["validation"])],
        )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in mlx-lm's layout."""
        save_arrays(folder / "adapters.safetensors", self._adapter())
        recipe = self._recipe
        write_json(
            folder / "adapter_config.json",
            {
                "fine_tune_type": "lora",
                "num_layers": len(self.model.layers),
                "lora_parameters": {"rank": recipe.rank, "scale": recipe.alpha / recipe.rank,
                                    "dropout": recipe.dropout},
            },
        )  # fmt: skip

    def _adapter(self) -> dict[str, array]:
        from mlx.utils import tree_flatten

        return dict(tree_flatten(self.model.trainable_parameters()))


@contextmanager
def _recomputing(model: Module, recipe: Recipe) -> Iterator[None]:
    """Gradient checkpointing of every layer, if it is in the recipe.

    mlx-lm's function patches the class of the layers, which every model of the process shares.
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


def _loss_sum(
    model: Module, prefix: array | None, ids: array, places: array, targets: array
) -> array:
    """The summed loss of ``targets``, the tokens after ``places`` of ``ids``; see :func:`_padded`.

    Logits are computed at these places only. All rows follow ``prefix``, if there is one.
    """
    mx = mlx()
    import mlx.nn as nn

    states = states_of(model, prefix, ids)
    states = states.reshape(-1, states.shape[-1])[places]
    tied = model.args.tie_word_embeddings
    logits = model.model.embed_tokens.as_linear(states) if tied else model.lm_head(states)
    return nn.losses.cross_entropy(logits.astype(mx.float32), targets).sum()


def _validation_loss(model: Module, rows: Sequence[TokenRow], at_once: int) -> float:
    """The mean loss over the learned tokens of rows, without dropout."""
    alike = sorted(rows, key=lambda row: len(row.ids))
    model.eval()
    batches = (_padded(alike[at : at + at_once]) for at in range(0, len(alike), at_once))
    total = sum(cast(float, _loss_sum(model, *batch).item()) for batch in batches)
    model.train()
    return total / sum(len(row.ids) - row.prompt for row in rows)


def _padded(group: Sequence[TokenRow]) -> Batch:
    """A batch: no prefix, padded ids (rows x width), the places that predict learned tokens, these.

    Places are indices into the flattened ids.
    """
    mx = mlx()
    longest = max(len(row.ids) for row in group)
    width = -(-longest // PAD_TO) * PAD_TO
    ids = [list(row.ids) + [0] * (width - len(row.ids)) for row in group]
    places = [
        number * width + place - 1
        for number, row in enumerate(group)
        for place in range(row.prompt, len(row.ids))
    ]
    targets = [token for row in group for token in row.ids[row.prompt :]]
    return None, mx.array(ids), mx.array(places), mx.array(targets)

"""trl's trainer with the schedule, the loss and the history that both back ends share.

Importing this module imports trl, which takes seconds.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers import TrainerCallback
from trl import SFTTrainer

from distill_sql.training.outcome import Update, Validation
from distill_sql.training.progress import MeanLoss, Progress
from distill_sql.training.rows import TokenRow
from distill_sql.training.tree import Tree, loss_sum, trees

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerState, TrainingArguments
    from transformers.modeling_outputs import CausalLMOutputWithPast
    from transformers.trainer_callback import TrainerControl

#: A tree without a learned token, whose loss and gradients are zero.
NOTHING = Tree((), (TokenRow((0,), 1),))


class Trainer(SFTTrainer):  # type: ignore[misc]
    """trl's trainer with the recipe's schedule and a loss over the learned tokens only.

    With ``in_trees`` the rows of a batch that begin alike are computed as one tree
    (:mod:`distill_sql.training.tree`), and memory holds one tree at a time.
    """

    def __init__(self, progress: Progress, *, in_trees: bool = False, **options: Any) -> None:
        self.progress = progress
        self.in_trees = in_trees
        super().__init__(**options)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of :func:`~distill_sql.training.outcome.learning_rate`."""

        def share_of_peak(update: int) -> float:
            return self.progress.learning_rate(update, peak=1.0)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, share_of_peak
        )
        return self.lr_scheduler

    def training_step(
        self,
        model: PreTrainedModel,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The forward and backward passes of a batch: of all its rows at once, or tree by tree."""
        if not self.in_trees:
            step: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return step
        model.train()
        # Every process has a backward pass to average gradients in, also without rows.
        made = trees(_rows(**inputs)) or [NOTHING]
        total = torch.zeros((), device=self.args.device)
        for one in made:
            last = one is made[-1]
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = self._share(loss_sum(model, one), num_items_in_batch)
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, CausalLMOutputWithPast | None]:
        """Mean cross-entropy over an update's learned tokens, on every device.

        trl's loss computes logits for every token of every prompt, and metrics that are not used.
        Here logits are computed for learned tokens only.
        """
        if self.in_trees:
            sums = [loss_sum(model, one) for one in trees(_rows(**inputs)) or [NOTHING]]
            loss = self._share(torch.stack(sums).sum(), num_items_in_batch)
            return (loss, None) if return_outputs else loss
        # The logits at a position predict the next token; the last position predicts nothing.
        targets = F.pad(inputs.pop("labels")[:, 1:], (0, 1), value=-100)
        learned = targets != -100
        outputs = model(**inputs, use_cache=False, logits_to_keep=learned)
        loss = F.cross_entropy(outputs.logits.float(), targets[learned], reduction="sum")
        loss = self._share(loss, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _share(self, loss: torch.Tensor, items: torch.Tensor | int | None) -> torch.Tensor:
        """A sum of losses by the ``items`` of all processes, over which gradients are averaged."""
        return loss * self.accelerator.num_processes / items


def _rows(
    input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor, **_: Any
) -> list[TokenRow]:
    """The rows of a padded batch that have a learned token."""
    batch = (input_ids.tolist(), labels.tolist(), attention_mask.tolist())
    found = []
    for tokens, targets, seen in zip(*batch, strict=True):
        length = sum(seen)
        learned = sum(target != -100 for target in targets)
        if learned:
            found.append(TokenRow(tuple(tokens[:length]), length - learned))
    return found


class RecordProgress(TrainerCallback):  # type: ignore[misc]
    """Records updates and validation losses.

    Validation losses are also kept in the trainer's log, which is part of a checkpoint.
    """

    def __init__(self, progress: Progress, mean_loss: MeanLoss) -> None:
        self._progress = progress
        self._mean_loss = mean_loss

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Restore the history of a resumed run, and validate before the first update."""
        log = state.log_history
        self._progress.resume(
            [
                Update(entry["step"], entry["loss"], entry["learning_rate"])
                for entry in log
                if "loss" in entry
            ],
            [
                Validation(entry["step"], entry["validation"])
                for entry in log
                if "validation" in entry
            ],
        )
        self._validate(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate if it is due, and save or end the run if it is time to."""
        self._validate(state)
        # Processes that train together save together, and their clocks differ.
        if args.world_size == 1 and self._progress.time_to_save():
            control.should_save = True
        if self._progress.out_of_time():
            control.should_training_stop = True

    def _validate(self, state: TrainerState) -> None:
        measured = self._progress.validate(state.global_step, self._mean_loss)
        if measured is not None:
            state.log_history.append({"step": measured.update, "validation": measured.loss})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **_: Any,
    ) -> None:
        """Record the update that was logged; the trainer also logs a summary at its end."""
        if "loss" in logs:
            self._progress.add(Update(state.global_step, logs["loss"], logs["learning_rate"]))

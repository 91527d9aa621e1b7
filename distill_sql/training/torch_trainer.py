"""Training on PyTorch, with trl."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_sql.errors import TrainingError
from distill_sql.models import torch_backend
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.recipes import Recipe
from distill_sql.models.torch_backend import quiet
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.training.outcome import (
    Trained,
    Update,
    Validation,
    learning_rate,
    measured_after,
)
from distill_sql.training.rows import Row, Rows, rows_of_updates, share_of_batch, updates

#: Updates between two checkpoints that a killed run goes on from.
CHECKPOINT_EVERY = 50
#: Bytes of a tensor from which on it has pages of its own on a CPU.
LARGE_BLOCK = 4 * 2**20


def trains_in_bfloat16(recipe: Recipe) -> bool:
    """Whether training by a recipe multiplies in bfloat16 on this machine."""
    return recipe.precision != "float32" and (
        torch_backend.device() == "cuda" or torch_backend.multiplies_bfloat16()
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
    """Train an adapter on ``rows`` into ``out``; under ``accelerate launch``, on every device.

    ``micro_batch`` is the number of rows that a device holds at once; the update is the recipe's
    batch whatever it is. ``start`` is an adapter whose weights are the first ones. A checkpoint is
    kept every :data:`CHECKPOINT_EVERY` updates, and ``resume`` goes on from the last. The loss on
    ``validation`` is measured beside; training is the same without.
    """
    recipe = torch_backend.resolve(recipe)
    with quiet():
        import datasets
        import torch
        from peft import LoraConfig, PeftModel
        from transformers import PrinterCallback, TrainerCallback, set_seed
        from trl import SFTConfig, SFTTrainer

        from distill_sql.models.inference.lean import LeanQwen2

    datasets.disable_progress_bars()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch_backend.device() == "cuda"
    share = share_of_batch(recipe, processes, micro_batch)
    total = updates(recipe, rows)
    tokenizer = load_tokenizer(folder)
    set_seed(recipe.seed)
    with quiet():
        model = torch_backend.load_base(folder, recipe)
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    if not on_gpu and not isinstance(model, LeanQwen2):
        _give_back_large_blocks()
    in_bfloat16 = trains_in_bfloat16(recipe)
    if in_bfloat16 and isinstance(model, LeanQwen2):
        # Its layers round by themselves; autocast would round the adapters' sums, too.
        model.model.precision, in_bfloat16 = torch.bfloat16, False
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
    )
    if start is not None:
        model = PeftModel.from_pretrained(model, str(start), is_trainable=True)
    # The trainer counts on whole batches: rows that teach nothing fill an epoch's last one.
    filler = Row(rows.rows[0].ids[:1], prompt=1)
    groups = rows_of_updates(recipe, rows)
    filled = chain.from_iterable(
        [*group, *[filler] * (recipe.batch - len(group))] for group in groups
    )
    dataset = datasets.Dataset.from_list([_example(row) for row in filled])
    arguments = SFTConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=share,
        gradient_accumulation_steps=recipe.batch // (share * processes),
        max_steps=total,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",  # replaced by the schedule that both back ends share
        optim="adamw_torch",
        adam_beta1=recipe.beta1,
        adam_beta2=recipe.beta2,
        adam_epsilon=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_norm,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        activation_checkpointing=recipe.checkpointing,
        bf16=in_bfloat16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=CHECKPOINT_EVERY,
        save_total_limit=1,
        seed=recipe.seed,
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_backend=None if on_gpu or processes == 1 else "gloo",
    )

    if on_gpu and processes == 1:
        _ = arguments.device  # counts every device in sight, as if one process used them all
        arguments._n_gpu = 1

    class Trainer(SFTTrainer):
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            def share_of_peak(update: int) -> float:
                return learning_rate(update, peak=1.0, warm_up=recipe.warm_up, total=total)

            optimizer = optimizer or self.optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
            return self.lr_scheduler

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """Mean cross-entropy over an update's learned tokens, on every device.

            trl's own goes through the whole vocabulary for every token of every prompt, twice, and
            for figures that nobody reads; only logits that are learned from are computed here.
            """
            # What a position predicts is the token after it; the last one predicts nothing.
            targets = torch.nn.functional.pad(inputs.pop("labels")[:, 1:], (0, 1), value=-100)
            learned = targets != -100
            outputs = model(**inputs, use_cache=False, logits_to_keep=learned)
            loss = torch.nn.functional.cross_entropy(
                outputs.logits.float(), targets[learned], reduction="sum"
            )
            # The count is that of all processes, over which gradients are averaged.
            loss = loss * processes / num_items_in_batch
            return (loss, outputs) if return_outputs else loss

    bar = tqdm(total=total, disable=not progress, desc=recipe.name)

    class Bar(TrainerCallback):
        """One bar; the trainer's own prints a line per update as well."""

        def on_log(self, _: Any, state: Any, *__: Any, logs: Any = None, **___: Any) -> None:
            if logs and "loss" in logs:
                bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)
            bar.update(state.global_step - bar.n)

    measured = 0.0  # seconds

    class Measure(TrainerCallback):
        """The validation loss, kept in the log, which is saved and resumed with a checkpoint."""

        def on_train_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            self.on_step_end(_, state)

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            nonlocal measured
            known = {entry["step"] for entry in state.log_history if "validation" in entry}
            if state.global_step in measured_after(total) - known:
                began = time.monotonic()
                loss = _validation_loss(trainer, validation, share)
                state.log_history.append({"step": state.global_step, "validation": loss})
                measured += time.monotonic() - began

    with quiet():
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=_fast_tokenizer(folder),
            peft_config=None if start is not None else lora,
            callbacks=[Bar(), *([Measure()] if validation else [])],
        )
        trainer.remove_callback(PrinterCallback)
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            # trl rounds the adapters of a 4-bit base to bfloat16, which loses small updates.
            weight.data = weight.data.float()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    adapter = out / "adapter"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=resume and _has_checkpoint(out / "checkpoints"))
        seconds = time.monotonic() - began - measured
        if trainer.is_world_process_zero():
            trainer.model.save_pretrained(adapter)
    except OSError as error:
        raise TrainingError(
            f"The run could not be saved in {out} ({error}). Free some space, then run the same "
            "command: training goes on from its last checkpoint."
        ) from error
    finally:
        bar.close()
    history = [
        Update(entry["step"], entry["loss"], entry["learning_rate"])
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return Trained(
        adapter,
        tuple(history),
        rows.tokens,
        rows.learned,
        rows.too_long,
        seconds,
        torch.cuda.max_memory_allocated() if on_gpu else _peak_resident(),
        tuple(
            Validation(entry["step"], entry["validation"])
            for entry in trainer.state.log_history
            if "validation" in entry
        ),
    )


def _give_back_large_blocks() -> None:
    """Have glibc, if it is there, return large blocks to the system as soon as they are freed.

    It would come to keep those of up to 32 MiB, and fits no second tensor in one: a run of
    Qwen2.5-0.5B's width took a third more. On small models this would cost more than it saves.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(-3, LARGE_BLOCK)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD, which the first call takes to its least


def _example(row: Row) -> dict[str, list[int]]:
    """A row as the trainer takes it."""
    labels = [-100] * row.prompt + list(row.ids[row.prompt :])
    return {"input_ids": list(row.ids), "labels": labels}


def _validation_loss(trainer: Any, rows: Sequence[Row], at_once: int) -> float:
    """The mean loss over the learned tokens of rows, which the processes share; without dropout."""
    import torch

    processes, model = trainer.accelerator.num_processes, trainer.model
    alike = sorted(rows, key=lambda row: len(row.ids))
    mine = alike[trainer.accelerator.process_index :: processes]
    total = torch.zeros((), dtype=torch.float64, device=trainer.args.device)
    was_training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        for first in range(0, len(mine), at_once):
            batch = trainer.data_collator([_example(row) for row in mine[first : first + at_once]])
            inputs = {name: value.to(total.device) for name, value in batch.items()}
            total += trainer.compute_loss(model, inputs, num_items_in_batch=processes)
    model.train(was_training)
    learned = sum(len(row.ids) - row.prompt for row in rows)
    return float(trainer.accelerator.reduce(total, "sum")) / learned


def _fast_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _has_checkpoint(folder: Path) -> bool:
    return any(folder.glob("checkpoint-*/trainer_state.json"))


def _peak_resident() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

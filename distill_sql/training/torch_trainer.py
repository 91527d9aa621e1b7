"""Training on PyTorch, with trl."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from distill_sql.errors import TrainingError
from distill_sql.models import torch_backend
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.recipes import Recipe
from distill_sql.models.torch_backend import quiet
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.training import tree
from distill_sql.training.outcome import Trained
from distill_sql.training.progress import Progress
from distill_sql.training.rows import Rows, TokenRow, rows_of_updates, share_of_batch

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedModel
    from trl import SFTConfig

    from distill_sql.training.sft import Trainer

#: The size in bytes from which on a tensor on a CPU gets its own memory pages.
LARGE_BLOCK = 2**20


def trains_in_bfloat16(recipe: Recipe) -> bool:
    """Whether training with a recipe multiplies in bfloat16 on this machine."""
    return recipe.precision != "float32" and (
        torch_backend.device() == "cuda" or torch_backend.multiplies_bfloat16()
    )


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
    """Train an adapter on ``rows`` into ``out``; under ``accelerate launch``, on every device.

    The arguments are those of :class:`~distill_sql.training.student.Trainer`.
    """
    recipe = torch_backend.resolve(recipe)
    share = share_of_batch(recipe, _processes(), micro_batch)
    run = Progress(recipe, rows, validation, shown=progress, stop_at=stop_at)
    trainer = _trainer(folder, recipe, rows, out, run=run, share=share, start=start)
    adapter, checkpoints = out / "adapter", out / "checkpoints"
    _reset_peak()
    try:
        with run.running(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=resume and _last_checkpoint(checkpoints))
        if trainer.is_world_process_zero():
            trainer.model.save_pretrained(adapter)
    except OSError as error:
        raise TrainingError(
            f"The run could not be saved in {out} ({error}). Free some space, then run the same "
            "command: training resumes from its last checkpoint."
        ) from error
    return run.trained(adapter, peak_memory=_peak())


def _trainer(
    folder: Path,
    recipe: Recipe,
    rows: Rows,
    out: Path,
    *,
    run: Progress,
    share: int,
    start: Path | None,
) -> Trainer:
    """The trainer of a run, whose adapter is new or begins with the weights of ``start``."""
    with quiet():
        from peft import PeftModel
        from transformers import AutoTokenizer, PrinterCallback, set_seed

        from distill_sql.models.inference.lean import LeanQwen2
        from distill_sql.training.sft import RecordProgress, Trainer

    set_seed(recipe.seed)
    model, autocast = _load(folder, recipe)
    in_trees = tree.used_for(recipe, lean=isinstance(model, LeanQwen2))
    if start is not None:
        model = PeftModel.from_pretrained(model, str(start), is_trainable=True)
    if in_trees:
        tree.use(model)
    with quiet():
        trainer = Trainer(
            run,
            in_trees=in_trees,
            model=model,
            args=_settings(recipe, out, run, share=share, bf16=autocast),
            train_dataset=_dataset(recipe, rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=lora(recipe) if start is None else None,
        )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(
        RecordProgress(run, lambda held_out: _validation_loss(trainer, held_out, share))
    )
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            # trl rounds the adapter of a 4-bit base to bfloat16, which loses small updates.
            weight.data = weight.data.float()
    return trainer


def _load(folder: Path, recipe: Recipe) -> tuple[PreTrainedModel, bool]:
    """The base model, and whether PyTorch's autocast runs its products in bfloat16."""
    import torch

    from distill_sql.models.inference.lean import LeanQwen2

    tokenizer = load_tokenizer(folder)
    with quiet():
        model = torch_backend.load_base(folder, recipe)
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    in_bfloat16 = trains_in_bfloat16(recipe)
    if isinstance(model, LeanQwen2):
        if in_bfloat16:  # inside its layers; autocast would also round the sums of the adapters
            model.model.precision = torch.bfloat16
        return model, False
    if torch_backend.device() != "cuda":
        return_large_blocks()
    return model, in_bfloat16


def lora(recipe: Recipe) -> LoraConfig:
    """The recipe's adapter, as peft describes it."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
    )


def _dataset(recipe: Recipe, rows: Rows) -> Dataset:
    """The rows in the order of training, with every epoch filled up to whole batches."""
    import datasets

    datasets.disable_progress_bars()
    # The trainer expects whole batches. A filler row has no learned token.
    filler = TokenRow(rows.rows[0].ids[:1], prompt=1)
    groups = rows_of_updates(recipe, rows)
    filled = chain.from_iterable(
        [*group, *[filler] * (recipe.batch - len(group))] for group in groups
    )
    return datasets.Dataset.from_list([_example(row) for row in filled])


def _settings(recipe: Recipe, out: Path, run: Progress, *, share: int, bf16: bool) -> SFTConfig:
    """The recipe in trl's terms; ``share`` is the number of rows that a device holds at once."""
    from trl import SFTConfig

    processes, on_gpu = _processes(), torch_backend.device() == "cuda"
    settings = SFTConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=share,
        gradient_accumulation_steps=recipe.batch // (share * processes),
        max_steps=run.total,
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
        bf16=bf16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=run.checkpoint_every,
        save_total_limit=1,
        seed=recipe.seed,
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_backend=None if on_gpu or processes == 1 else "gloo",
    )
    if on_gpu and processes == 1:
        _ = settings.device  # sets the number of GPUs to all visible ones
        settings._n_gpu = 1
    return settings


def _processes() -> int:
    """The number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def return_large_blocks() -> None:
    """Make glibc, if it is used, return large blocks to the system as soon as they are freed.

    By default it keeps freed blocks of up to 32 MiB, and no second tensor fits into one: a run with
    the width of Qwen2.5-0.5B took a third more memory. Keeping blocks of 1 to 4 MiB, which a tree's
    attention has, took an eighth more. For small models this costs more than it saves.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(-3, LARGE_BLOCK)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD, which the first call sets to its minimum


def _example(row: TokenRow) -> dict[str, list[int]]:
    """A row in the trainer's format."""
    labels = [-100] * row.prompt + list(row.ids[row.prompt :])
    return {"input_ids": list(row.ids), "labels": labels}


def _validation_loss(trainer: Trainer, rows: Sequence[TokenRow], at_once: int) -> float:
    """The mean loss over the learned tokens of rows, without dropout.

    The processes share the rows.
    """
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


def _last_checkpoint(folder: Path) -> str | None:
    """The last complete checkpoint; its state is what the trainer writes last."""
    complete = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    numbers = {int(one.name.rpartition("-")[2]): str(one) for one in complete}
    return numbers[max(numbers)] if numbers else None


def _reset_peak() -> None:
    import torch

    if torch_backend.device() == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    """The peak memory of the run in bytes: on the GPU, or of the process on a CPU."""
    import resource
    import sys

    import torch

    if torch_backend.device() == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

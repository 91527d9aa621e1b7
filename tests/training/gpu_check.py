"""Checks that need a CUDA device: ``python -m tests.training.gpu_check [TOKENIZER]``.

Models with the shapes of Qwen2.5-0.5B and 1.5B and random weights are trained for a few updates.
The checks compare memory estimates with PyTorch's counts, train twice in one process, look at the
device of a process (``LOCAL_RANK``), and measure training speed and generation with a batch of 32.
The output is one JSON object; a failed check is recorded as its error, and the others still run.
``TOKENIZER`` is a folder with Qwen2.5's tokenizer (default: that of the package's models, which has
a smaller vocabulary). Requires the extra ``train`` in the versions of pyproject.toml, except for
torch; one check requires ``nf4``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models import free
from distill_sql.models.recipes import Precision, Recipe, recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.peaks import Case
from distill_sql.training.memory import CONFIGS, check_memory, estimate_memory, heaviest, way_of

#: Seconds after which no further check is begun.
LIMIT = 200
DEVICE = "cuda"
SIZES = {"0.5b": "Qwen/Qwen2.5-0.5B-Instruct", "1.5b": "Qwen/Qwen2.5-1.5B-Instruct"}
FULL = Case(batch=8, length=1024, learned=128, vocabulary=151_936)
SMALL = replace(FULL, batch=4, length=512)


def held(precision: Precision, **changes: Any) -> Recipe:
    """Recipe 0.5b at a precision, for a model of any size."""
    return recipe_for("0.5b", precision=precision, **changes)


#: The trainings that are measured: the model's size, the recipe, the rows. The first loads kernels.
TRAININGS = {
    "warm up": ("0.5b", held("auto"), SMALL),
    "0.5b auto": ("0.5b", held("auto"), FULL),
    "0.5b no dropout": ("0.5b", held("auto", dropout=0.0), FULL),
    "0.5b no padding": ("0.5b", held("auto"), replace(FULL, padded=False)),
    "0.5b recomputed": ("0.5b", held("auto", checkpointing=True), FULL),
    "0.5b float32": ("0.5b", held("float32"), FULL),
    "0.5b mixed": ("0.5b", held("mixed"), FULL),
    "0.5b all logits": ("0.5b", held("auto"), replace(SMALL, learned=511)),
    "1.5b auto": ("1.5b", held("auto"), FULL),
    "1.5b recomputed": ("1.5b", held("auto", checkpointing=True), FULL),
    "1.5b nf4": ("1.5b", held("nf4", checkpointing=True), FULL),
}


def make_model(size: str, folder: Path, tokenizer: Path) -> Path:
    """A model of a published shape with random bfloat16 weights, created on the device."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from distill_sql.models.folders import save_model

    config = Qwen2Config(
        **CONFIGS[SIZES[size]], max_position_embeddings=4096, eos_token_id=1, bos_token_id=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(42)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    save_model(model, load_tokenizer(tokenizer), folder)
    return folder


def train(
    folder: Path, recipe: Recipe, case: Case, updates: int = 4, validation: int = 0
) -> dict[str, Any]:
    """Train for some updates: estimated memory, PyTorch's count, speed."""
    import torch

    from distill_sql.models import torch_backend
    from distill_sql.training import torch_trainer

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    recipe = torch_backend.resolve(replace(recipe, base=str(folder), batch=case.batch))
    rows = case.rows(updates)
    load = heaviest(recipe, rows, case.batch)
    found = estimate_memory(
        read_json(folder / "config.json"), recipe, micro_batch=case.batch,
        way=way_of(folder, recipe), load=load,
    )  # fmt: skip
    before = torch.cuda.memory_allocated()
    with tempfile.TemporaryDirectory() as out:
        trained = torch_trainer.train(
            folder, recipe, rows, Path(out), progress=False, validation=rows.rows[:validation]
        )
    allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {
        "precision": recipe.precision,
        "estimated_mib": found.total >> 20,
        "parts_mib": [found.weights >> 20, found.adapter >> 20, found.activations >> 20,
                      found.logits >> 20],
        "allocated_mib": (allocated - before) >> 20,
        "reserved_mib": reserved >> 20,
        "estimate_by_allocated": round(found.total / (allocated - before), 3),
        "estimate_by_reserved": round(found.total / reserved, 3),
        "tokens_per_second": round(trained.tokens_per_second),
        "losses": [round(update.loss, 3) for update in trained.updates],
        "validation": [[one.update, round(one.loss, 3)] for one in trained.validation],
    }  # fmt: skip


def second_training(folder: Path, recipe: Recipe, case: Case) -> dict[str, Any]:
    """Whether memory that the first training freed is available to the second."""
    import torch

    from distill_sql.models import torch_backend

    first = free.available()
    train(folder, recipe, case, updates=2)
    gc.collect()
    after, driver = free.available(), torch.cuda.mem_get_info()[0]
    held = torch_backend.resolve(replace(recipe, base=str(folder), batch=case.batch))
    rows = case.rows(2)
    # The memory before must be available again, except for objects that are still referenced.
    check_memory(folder, held, rows=rows, free=after)
    train(folder, recipe, case, updates=2)
    return {"free_before_mib": first >> 20, "free_after_mib": after >> 20,
            "driver_says_mib": driver >> 20, "lost_mib": (first - after) >> 20}  # fmt: skip


def local_rank(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Available memory by rank; a rank without a device is refused."""
    import torch

    count, found = torch.cuda.device_count(), {}
    for rank in range(count + 1):
        os.environ["LOCAL_RANK"] = str(rank)
        try:
            found[str(rank)] = f"{free.available() >> 20} MiB"
        except Exception as error:
            found[str(rank)] = f"{type(error).__name__}: {str(error)[:80]}"
    os.environ.pop("LOCAL_RANK")
    return {"devices": count, "free": found}


def refused(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """A run that does not fit is refused with advice."""
    from distill_sql.models import torch_backend

    held = torch_backend.resolve(replace(recipe, base=str(folder), batch=512, length=4096))
    try:
        check_memory(folder, held, micro_batch=512)
    except TrainingError as error:
        return {"message": str(error)}
    return {"message": "not refused"}


def generation(folder: Path, recipe: Recipe, batch: int = 32) -> dict[str, Any]:
    """Tokens per second of a batch with a shared prefix; no answer ends early."""
    import torch

    from distill_sql.models import torch_backend

    gc.collect()
    torch.cuda.empty_cache()
    student = torch_backend.load(folder, replace(recipe, base=str(folder), trained=False))
    student._end = set()
    prefix, suffixes = [7] * 600, [[11 + number] * 40 for number in range(batch)]
    student.complete(prefix, suffixes, max_tokens=4, finished=lambda _: False)
    torch.cuda.synchronize()
    began, tokens = time.monotonic(), 128
    answers = student.complete(prefix, suffixes, max_tokens=tokens, finished=lambda _: False)
    torch.cuda.synchronize()
    seconds = time.monotonic() - began
    return {"held_in": str(student.model.dtype), "batch": batch, "tokens": sum(map(len, answers)),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(sum(map(len, answers)) / seconds)}  # fmt: skip


def main(tokenizer: Path) -> dict[str, Any]:
    """The result of every check, or its error, by name."""
    began = time.monotonic()
    import peft
    import torch
    import transformers
    import trl

    versions = {one.__name__: one.__version__ for one in (torch, transformers, peft, trl)}
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "python": sys.version.split()[0], **versions,
    }  # fmt: skip

    def check(name: str, work: Callable[[], Any]) -> Any:
        start = time.monotonic()
        if start - began > LIMIT:
            found[name] = "left out: no time"
            return None
        try:
            result = work()
        except Exception as error:
            text = "".join(traceback.format_exception(error)[-4:])
            result = {"error": f"{type(error).__name__}: {error}", "where": text[-1500:]}
            gc.collect()
            torch.cuda.empty_cache()
        shown = str(result) if isinstance(result, Path) else result
        found[name] = {"result": shown, "seconds": round(time.monotonic() - start, 1)}
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
        return result

    with tempfile.TemporaryDirectory() as scratch:
        for size in SIZES:
            make = partial(make_model, size, Path(scratch) / size, tokenizer)
            folder = check(f"make {size}", make)
            if not isinstance(folder, Path):
                continue
            for name, (of_size, recipe, case) in TRAININGS.items():
                if of_size == size:
                    rows = 16 if name == "0.5b auto" else 0
                    check(name, partial(train, folder, recipe, case, validation=rows))
            if size == "0.5b":
                check("second training", partial(second_training, folder, held("auto"), FULL))
                check("local rank", partial(local_rank, folder, held("auto")))
                check("refused", partial(refused, folder, held("auto")))
                check("generation 0.5b float32", partial(generation, folder, held("float32")))
            check(f"generation {size}", partial(generation, folder, held("auto")))
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINTS / "pocket-s"
    print(json.dumps(main(given), indent=1))

"""Students on PyTorch: loading with transformers, LoRA with peft."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.recipes import Recipe
from distill_sql.models.torch_student import TorchStudent
from distill_sql.prompting.tokenizer import load_tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """Import and load without the libraries' bars and notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def device() -> str:
    """``cuda`` if there is such a device, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; where it does not, float32 is faster."""
    import torch

    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def resolve(recipe: Recipe) -> Recipe:
    """The recipe as this machine carries it out: ``auto`` becomes the precision that is chosen."""
    if recipe.precision != "auto":
        return recipe
    fast = device() == "cuda" or multiplies_bfloat16()
    return replace(recipe, precision="bfloat16" if fast else "float32")


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> TorchStudent:
    """The model in ``folder``, held as ``recipe`` says, with a trained adapter if one is given."""
    recipe = resolve(recipe)
    tokenizer = load_tokenizer(folder)
    with quiet():
        model = load_base(folder, recipe)
        if adapter is not None:
            model = with_adapter(model, adapter, merged=recipe.precision != "nf4")
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    return TorchStudent(model, tokenizer)


def with_adapter(model: Any, adapter: Path, *, merged: bool) -> Any:
    """The model with a trained adapter: added to its weights, or beside them.

    Merged, it costs nothing at inference; 4-bit weights would lose it in rounding.
    """
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(adapter))
    return wrapped.merge_and_unload() if merged else wrapped.get_base_model()


def load_base(folder: Path, recipe: Recipe) -> Any:
    """The base model; raises :class:`TrainingError` if 4-bit loading needs what is not there."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from distill_sql.models import lean

    options: dict[str, Any] = {"attn_implementation": "sdpa"}
    on_gpu = device() == "cuda"
    if recipe.precision == "nf4":
        if not on_gpu:
            raise TrainingError(
                f"Recipe {recipe.name} holds its base in 4 bits (NF4), which needs a CUDA device; "
                "this machine has none. Use a Mac with --framework mlx, or override precision."
            )
        from importlib.util import find_spec

        if find_spec("bitsandbytes") is None:
            raise MissingDependencyError(
                f"Recipe {recipe.name} holds its base in 4 bits (NF4), which needs bitsandbytes: "
                "pip install 'distill-sql[nf4]'."
            )
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        options["dtype"] = torch.bfloat16
    else:
        options["dtype"] = torch.float32 if recipe.full_width else torch.bfloat16
    if on_gpu:
        # Under accelerate every process has a device of its own.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    elif recipe.full_width and lean.suits(AutoConfig.from_pretrained(folder), recipe):
        return lean.LeanQwen2.from_pretrained(folder, **options)
    return AutoModelForCausalLM.from_pretrained(folder, **options)

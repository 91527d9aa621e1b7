"""Students on PyTorch: loading with transformers, LoRA with peft."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.errors import MissingDependencyError, TrainingError
from distill_sql.models.fits import check_fits
from distill_sql.models.folders import check_vocabulary
from distill_sql.models.inference.torch_student import TorchStudent
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the progress bars and warnings of the libraries."""
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
    """``cuda`` if there is a CUDA device, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions; without them float32 is faster."""
    import torch

    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with precision ``auto`` replaced by the one that suits this machine."""
    if recipe.precision != "auto":
        return recipe
    fast = device() == "cuda" or multiplies_bfloat16()
    return replace(recipe, precision="bfloat16" if fast else "float32")


def load(folder: Path, recipe: Recipe, *, adapter: Path | None = None) -> TorchStudent:
    """The model in ``folder`` at the recipe's precision, with a trained adapter if one is given.

    Raises :class:`TrainingError` if its weights exceed the available memory.
    """
    recipe = resolve(recipe)
    check_fits(folder, recipe, "torch")
    tokenizer = load_tokenizer(folder)
    with quiet():
        model = load_base(folder, recipe)
        if adapter is not None:
            model = with_adapter(model, adapter, merged=recipe.precision != "nf4")
    check_vocabulary(tokenizer, model.config.vocab_size, folder)
    return TorchStudent(model, tokenizer)


def with_adapter(model: PreTrainedModel, adapter: Path, *, merged: bool) -> PreTrainedModel:
    """The model with a trained adapter, merged into the weights or kept separate.

    A merged adapter costs nothing at inference. Merging into 4-bit weights would round it away.
    """
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(adapter))
    return wrapped.merge_and_unload() if merged else wrapped.get_base_model()


def load_base(folder: Path, recipe: Recipe) -> PreTrainedModel:
    """The base model, on a CPU with the lean decoder if it is used for this model.

    Raises :class:`TrainingError` or :class:`MissingDependencyError` if 4-bit weights cannot be
    loaded on this machine.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from distill_sql.models.inference import lean

    options: dict[str, Any] = {"attn_implementation": "sdpa"}
    on_gpu = device() == "cuda"
    if recipe.precision == "nf4":
        options["quantization_config"] = _four_bits(recipe, on_gpu=on_gpu)
    options["dtype"] = torch.float32 if recipe.full_width else torch.bfloat16
    if on_gpu:
        # Under accelerate every process has its own device.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    elif lean.used_for(folder, recipe):
        return lean.LeanQwen2.from_pretrained(folder, **options)
    return AutoModelForCausalLM.from_pretrained(folder, **options)


def _four_bits(recipe: Recipe, *, on_gpu: bool) -> BitsAndBytesConfig:
    """The settings of NF4, after a check that this machine can load it."""
    if not on_gpu:
        raise TrainingError(
            f"Recipe {recipe.name} loads its base in 4 bits (NF4), which needs a CUDA device; "
            "this machine has none. Use a Mac with --framework mlx, or override precision."
        )
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise MissingDependencyError(
            f"Recipe {recipe.name} loads its base in 4 bits (NF4), which needs bitsandbytes: "
            "pip install 'distill-sql[nf4]'."
        )
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )

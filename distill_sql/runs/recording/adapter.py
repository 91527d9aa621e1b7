"""The adapter that is recorded: in bfloat16, half the size of the trained one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from distill_sql.errors import TrainingError
from distill_sql.files import read_json, write_json
from distill_sql.models.recipes import Recipe

#: The files of an adapter in peft's layout.
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def weights_digest(adapter: Path) -> str:
    """The SHA-256 (hex) of an adapter's weights."""
    weights = b"".join(path.read_bytes() for path in sorted(adapter.glob("*.safetensors")))
    return hashlib.sha256(weights).hexdigest()


def keep_adapter(adapter: Path, out: Path, recipe: Recipe) -> dict[str, Any]:
    """Write a trained adapter to the folder ``out`` in bfloat16, and describe it.

    Its settings name the recipe's base in place of a folder of this machine. Raises
    :class:`TrainingError` if there is no adapter of PyTorch.
    """
    if not (adapter / WEIGHTS).is_file():
        raise TrainingError(
            f"No {WEIGHTS} in {adapter}. Keep an adapter in the command that trains it, on PyTorch."
        )
    import torch
    from safetensors.torch import load_file, save_file

    arrays = {name: one.to(torch.bfloat16) for name, one in load_file(adapter / WEIGHTS).items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / WEIGHTS, {"format": "pt"})
    settings = read_json(adapter / SETTINGS) | {"base_model_name_or_path": recipe.base}
    write_json(out / SETTINGS, settings)
    return {
        "file": f"{out.name}/{WEIGHTS}",
        "sha256": weights_digest(out),
        "bytes": (out / WEIGHTS).stat().st_size,
        "dtype": "bfloat16",
    }

"""Whether a model fits into memory, asked before it is loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from distill_sql.errors import TrainingError
from distill_sql.models.folders import stored
from distill_sql.models.free import available
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import LINEARS, WEIGHT_BYTES, Recipe


def loaded_bytes(folder: Path, recipe: Recipe) -> int:
    """The bytes of the weights in ``folder`` once loaded; the recipe's precision is resolved.

    In 4 bits are only the linear maps of the decoder's layers.
    """
    linear = other = 0
    for name, shape in stored(folder).items():
        if len(shape) == 2 and name.split(".")[-2] in LINEARS:
            linear += math.prod(shape)
        else:
            other += math.prod(shape)
    return int(linear * WEIGHT_BYTES[recipe.precision] + other * (4 if recipe.full_width else 2))


def check_fits(folder: Path, recipe: Recipe, framework: Framework) -> None:
    """Raise :class:`TrainingError` if the weights exceed the available memory.

    Otherwise Linux would end the process without a message, or read weights that it has mapped from
    disk again and again. What answers need besides the weights depends on their number and length,
    and is not counted.
    """
    needed, free = loaded_bytes(folder, recipe), available(framework)
    if needed <= free:
        return
    narrow = loaded_bytes(folder, replace(recipe, precision="bfloat16"))
    advice = "Close other programs, or use a smaller recipe"
    if recipe.full_width and narrow <= free:
        advice += f", or --set precision=bfloat16, which takes {narrow / 2**30:.1f} GiB"
    raise TrainingError(
        f"The weights of recipe {recipe.name} take {needed / 2**30:.1f} GiB in {recipe.precision}, "
        f"and {free / 2**30:.1f} GiB of memory are available. {advice}."
    )

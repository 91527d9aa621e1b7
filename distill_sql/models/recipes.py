"""Recipes of students: one frozen record per row of the headline table.

Both back ends read every hyperparameter from the recipe. All Qwen2.5 recipes share the defaults of
:class:`Recipe`; they differ in the base model, its precision, gradient checkpointing, the modes of
the one ablation, and for Qwen2.5-Coder in ``grouping``. All sizes of the pocket ladder share one
set of values: these models are a thousand times smaller and need a far higher learning rate. The
optimizer is AdamW with the schedule of :func:`~distill_sql.training.outcome.learning_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from distill_sql.errors import ParameterError
from distill_sql.prompting.rendering import Style

#: The data type of the weights. ``mixed``: float32, with products in bfloat16 during training on
#: PyTorch where the machine supports it. ``auto``: bfloat16 where the machine supports it, else
#: float32; the back end's ``resolve`` decides.
Precision = Literal["auto", "float32", "mixed", "bfloat16", "nf4"]

#: How updates are composed: of examples in random order, or of those on one database, which begin
#: with the same schema.
Grouping = Literal["mixed", "database"]

#: Bytes per weight of a linear layer, in 4 bits with the scales and offsets of their groups.
WEIGHT_BYTES = {"float32": 4.0, "mixed": 4.0, "bfloat16": 2.0, "nf4": 0.53}
#: Every linear layer of a decoder block, by Qwen2's names.
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Recipe:
    """One student. ``trained`` is False for a base row: the untrained model with the same prompts.

    ``base`` is a hub id, a GGUF file of the hub or of this machine, or the name of a model in the
    package. ``modes`` selects the traces to train on. ``schema_tokens`` is the token limit of a
    prompt's schema, 0 for no limit. ``length`` is that of prompt and completion together.
    ``warm_up`` is in optimizer updates; ``batch`` is examples per update, on any number of devices.
    ``grouping`` says how they are chosen. With ``database``, the schema that they share is computed
    once, except by the decoder for narrow models and on MLX with ``checkpointing``. ``beta1``,
    ``beta2``, ``epsilon`` and ``weight_decay`` are AdamW's; ``max_norm`` is the global norm for
    gradient clipping. Raises :class:`ParameterError` for an invalid value.
    """

    name: str
    base: str
    trained: bool = True
    modes: Literal["both", "direct"] = "both"
    style: Style = "full"
    precision: Precision = "auto"
    checkpointing: bool = False
    length: int = 1024
    schema_tokens: int = 0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] = LINEARS
    learning_rate: float = 5e-5
    warm_up: int = 50
    batch: int = 8
    grouping: Grouping = "mixed"
    epochs: int = 1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float = 1.0
    seed: int = 42

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(self.name, field.name, getattr(self, field.name))
        for name, low in _LEAST.items():
            self._check(name, getattr(self, name) >= low, f"{low} or more")
        for name in ("dropout", "beta1", "beta2"):
            self._check(name, getattr(self, name) < 1, "less than 1")
        for name in ("epsilon", "max_norm"):
            self._check(name, getattr(self, name) > 0, "more than 0")
        object.__setattr__(self, "targets", tuple(self.targets))  # JSON has lists only

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ParameterError(
                f"Recipe {self.name}: {name} is {getattr(self, name)}; expected {expected}."
            )

    @property
    def full_width(self) -> bool:
        """Whether weights have 32 bits; ``auto`` must be resolved before."""
        assert self.precision != "auto"
        return self.precision in ("float32", "mixed")

    @property
    def pocket(self) -> bool:
        """Whether the base is one of the models in the package."""
        return self.base.startswith("pocket-")

    @property
    def model(self) -> str:
        """The usual name of the base, without its organization; with a GGUF file's quantization.

        >>> recipe_for("coder-0.5b").model
        'Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)'
        """
        place, _, name = self.base.rpartition("/")
        repository = place.rpartition("/")[2]
        if name.endswith(".gguf") and repository.endswith("-GGUF"):
            quantization = name.removesuffix(".gguf").rpartition("-")[2].upper()
            return f"{repository.removesuffix('-GGUF')} ({quantization})"
        return name

    @property
    def family(self) -> str:
        """The models that the base belongs to, whose sizes are comparable."""
        if self.pocket:
            return "pocket"
        return "Qwen2.5-Coder" if "coder" in self.base.lower() else "Qwen2.5"


#: The allowed values of fields with names, the integer fields, and the other number fields.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "modes": ("both", "direct"), "style": get_args(Style), "precision": get_args(Precision),
    "grouping": get_args(Grouping),
}  # fmt: skip
_WHOLE = ("length", "schema_tokens", "rank", "alpha", "warm_up", "batch", "epochs", "seed")
_NUMBERS = (
    "dropout", "learning_rate", "beta1", "beta2", "epsilon", "weight_decay", "max_norm",
)  # fmt: skip
_LEAST: Mapping[str, int] = {
    "length": 16, "schema_tokens": 0, "rank": 1, "alpha": 1, "warm_up": 0, "batch": 1, "epochs": 1,
    "seed": 0, "dropout": 0, "beta1": 0, "beta2": 0, "learning_rate": 0, "weight_decay": 0,
}  # fmt: skip


def _check_kind(recipe: str, name: str, value: Any) -> None:
    """Raise :class:`ParameterError` if a value has the wrong type for its field."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _WORDS:
        fits, expected = value in _WORDS[name], f"one of {', '.join(_WORDS[name])}"
    elif name in _WHOLE:
        fits = is_number and isinstance(value, int) and abs(value) < 2**31
        expected = "a whole number"
    elif name in _NUMBERS:
        fits, expected = is_number and math.isfinite(value), "a number"
    elif name == "targets":
        is_some = isinstance(value, tuple | list) and len(value) > 0  # a list if it was JSON
        fits = is_some and all(one in LINEARS for one in value) and len(set(value)) == len(value)
        expected = f"some of {', '.join(LINEARS)}, each once, as a tuple"
    else:
        kind = bool if name in ("trained", "checkpointing") else str
        fits = isinstance(value, kind) and str(value).strip() != ""
        expected = "True or False" if kind is bool else "text"
    if not fits:
        raise ParameterError(f"Recipe {recipe}: {name} is {value!r}; expected {expected}.")


def _qwen(size: str, **changes: Any) -> Recipe:
    family = changes.pop("family", "Qwen2.5")
    return Recipe(changes.pop("name", size), f"Qwen/{family}-{size.upper()}-Instruct", **changes)


def _coder(size: str, **changes: Any) -> Recipe:
    """A recipe on the official GGUF file of Qwen2.5-Coder, which a laptop can hold and train.

    Updates are grouped by database: on a CPU, schemas are most of the work.
    """
    repository = f"Qwen/Qwen2.5-Coder-{size.upper()}-Instruct-GGUF"
    file = f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf"
    return Recipe(changes.pop("name"), f"{repository}/{file}", grouping="database", **changes)


#: Precision and gradient checkpointing by size, for models that do not fit in 16 bits.
_HOLD: Mapping[str, Mapping[str, Any]] = {
    "0.5b": {},
    "1.5b": {},
    "3b": {"precision": "nf4", "checkpointing": True},
    "7b": {},
    "14b": {"precision": "nf4", "checkpointing": True},
}
#: The values of all recipes of the pocket ladder.
_POCKET: Mapping[str, Any] = {
    "style": "compact",
    "precision": "mixed",
    "length": 512,
    "rank": 32,
    "alpha": 64,
    "dropout": 0.0,
    "learning_rate": 2e-3,
    "warm_up": 20,
    "epochs": 1,
}
POCKET_SIZES = ("pocket-s", "pocket-m", "pocket-l")
QWEN_SIZES = tuple(_HOLD)
#: Sizes of Qwen2.5-Coder whose base is a GGUF file.
CODER_SIZES = ("0.5b", "1.5b")

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(_qwen(size, **hold) for size, hold in _HOLD.items()),
        _qwen("0.5b", name="0.5b-direct", modes="direct"),
        *(_qwen(size, name=f"{size}-base", trained=False, **hold) for size, hold in _HOLD.items()),
        *(_coder(size, name=f"coder-{size}") for size in CODER_SIZES),
        _coder("0.5b", name="coder-0.5b-direct", modes="direct"),
        *(_coder(size, name=f"coder-{size}-base", trained=False) for size in CODER_SIZES),
        *(
            _qwen(
                size,
                name=f"coder-{size}-base",
                trained=False,
                family="Qwen2.5-Coder",
                grouping="database",
                **hold,
            )
            for size, hold in _HOLD.items()
            if size not in CODER_SIZES
        ),
        *(Recipe(size, size, **_POCKET) for size in POCKET_SIZES),
        *(Recipe(f"{size}-base", size, trained=False, **_POCKET) for size in POCKET_SIZES),
        *(Recipe(f"{size}-direct", size, modes="direct", **_POCKET) for size in POCKET_SIZES),
        Recipe("pocket-teacher", "pocket-teacher", trained=False, **_POCKET),
    )
}


def sizes_for(dataset: str) -> tuple[str, ...]:
    """The default ladder of students for a dataset, smallest first."""
    return POCKET_SIZES if dataset == "pocket" else QWEN_SIZES


def size_for(dataset: str) -> str:
    """The default student for a dataset, where a chapter trains one."""
    return POCKET_SIZES[-1] if dataset == "pocket" else QWEN_SIZES[0]


def recipe_for(name: str, /, **overrides: Any) -> Recipe:
    """The recipe called ``name``, with some of its values replaced.

    An override of None keeps the recipe's value. Raises :class:`ParameterError` for an unknown
    recipe, with the closest name, or for an unknown field.
    """
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ParameterError(f"Unknown recipe {name!r}.{hint} There are: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    wanted = {field: value for field, value in overrides.items() if value is not None}
    known = {field.name for field in fields(Recipe)} - {"name"}
    if unknown := sorted(wanted.keys() - known):
        raise ParameterError(
            f"A recipe has no {', '.join(unknown)}; its values are {', '.join(sorted(known))}."
        )
    return replace(recipe, **wanted)


def overridden(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe that differ from :data:`RECIPES`, to print and to record."""
    standard = RECIPES[recipe.name]
    return {
        field.name: getattr(recipe, field.name)
        for field in fields(Recipe)
        if getattr(recipe, field.name) != getattr(standard, field.name)
    }

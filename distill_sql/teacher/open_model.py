"""An open teacher: a recipe's base model, served on this machine for the time of a run.

``coder-1.5b`` names the recipe. One of two servers answers: PyTorch, on the float32 weights that a
GGUF file was converted to, or llama.cpp on the file itself, where PyTorch is not installed.
``coder-1.5b@llama.cpp`` chooses one. Answers are stored under a name with the server and a digest
of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.models.folders import base_folder, gguf_path, name_with_digest
from distill_sql.models.gguf_file import SHA256
from distill_sql.models.recipes import RECIPES, Recipe
from distill_sql.teacher.local import Served, started

Server = Literal["llama.cpp", "torch"]
#: Bits per weight of the official files.
BITS = {
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": 6.2,
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": 5.0,
}
#: OpenMP's threads spin while they wait. On cores that other processes use as well, that made
#: llama.cpp ten times slower (24 tokens of three samples of the 0.5B: 72 s, and 8 s without).
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
#: Digits of a digest in a name.
DIGITS = 8


@dataclass(frozen=True)
class OpenModel:
    """A recipe's base model and the server that answers for it.

    ``digest`` (hex) is the SHA-256 of the GGUF file, or a shortened digest of a folder's weights.
    """

    recipe: Recipe
    server: Server
    digest: str

    @property
    def name(self) -> str:
        """The name under which answers are stored."""
        return f"{self.recipe.name}@{self.server}-{self.digest[:DIGITS]}"

    @property
    def file(self) -> str:
        """The name of the GGUF file; empty if the base is a folder."""
        return Path(self.recipe.base).name if is_file(self.recipe) else ""

    @property
    def at_once(self) -> int:
        """The number of concurrent requests that keeps the server busy."""
        return 64 if self.server == "torch" else 8

    @contextmanager
    def serving(self) -> Iterator[Served]:
        """Serve the model while the context is open; the weights are fetched if needed.

        Raises :class:`~distill_sql.errors.TrainingError` if they cannot be had, and
        :class:`TeacherError` if the server does not start.
        """
        check_installed(self.server)
        if self.server == "torch":
            module = "distill_sql.models.endpoint"
            arguments = [str(base_folder(self.recipe)), f"--precision={self.recipe.precision}"]
        else:
            module = "distill_sql.models.llama_server"
            arguments = [str(gguf_path(self.recipe.base)), f"--sha256={self.digest}"]
        arguments.append(f"--name={self.name}")
        with started(module, arguments, what=self.name, environment=ENVIRONMENT) as served:
            yield served


def is_recipe(model: str) -> bool:
    """Whether a model's name is that of a recipe with weights outside the package.

    >>> [is_recipe(name) for name in ("coder-1.5b", "coder-1.5b@torch", "gpt-4o-mini", "pocket-s")]
    [True, True, False, False]
    """
    recipe = RECIPES.get(model.partition("@")[0])
    return recipe is not None and not recipe.pocket


def is_file(recipe: Recipe) -> bool:
    """Whether the recipe's base is a GGUF file."""
    return recipe.base.endswith(".gguf")


def open_model(model: str) -> OpenModel:
    """The open teacher of a name: a recipe's, with ``@`` and a server or a whole stored name.

    Recipes with the same base are the same teacher. Raises :class:`TeacherError` for other names,
    and for a stored name of other weights.
    """
    if not is_recipe(model):
        raise TeacherError(
            f"{model!r} is no recipe with weights that this machine can serve; expected one such "
            "as coder-1.5b, or the name of a model with the --base-url of its endpoint."
        )
    name, _, rest = model.partition("@")
    asked, _, digest = rest.partition("-")
    base = RECIPES[name].base
    recipe = next(one for one in RECIPES.values() if one.base == base)
    server = _server(asked, recipe)
    found = SHA256.get(Path(base).name) or name_with_digest(base_folder(recipe))[-DIGITS:]
    if digest not in ("", found[:DIGITS]):
        raise TeacherError(
            f"{model} names weights with the digest {digest}; those of {name} have "
            f"{found[:DIGITS]}. Ask {name}, or use the version of distill-sql that had them."
        )
    return OpenModel(recipe, server, found)


def default_server(recipe: Recipe) -> Server:
    """The server of a recipe's base if none is named.

    PyTorch is the faster one: it answers up to 32 questions on a database together, which share
    the computation of its schema (:mod:`distill_sql.runs.teacher_benchmark`).
    """
    return "llama.cpp" if is_file(recipe) and not find_spec("torch") else "torch"


def _server(asked: str, recipe: Recipe) -> Server:
    for server in get_args(Server):
        if asked == server and (server == "torch" or is_file(recipe)):
            return server  # type: ignore[no-any-return]
    if asked:
        known = get_args(Server) if is_file(recipe) else ("torch",)
        raise TeacherError(
            f"No server {asked!r} for {recipe.name}; expected {' or '.join(known)}, as in "
            f"{recipe.name}@{known[0]}."
        )
    return default_server(recipe)


def check_installed(server: Server) -> None:
    """Raise :class:`MissingDependencyError` unless a server's packages are installed."""
    needs = {"torch": ("torch", "transformers", "peft", "tornado"), "llama.cpp": ("xllamacpp",)}
    if missing := [name for name in needs[server] if find_spec(name) is None]:
        raise MissingDependencyError(
            f"Serving a model with {server} needs {', '.join(missing)}: pip install "
            "'distill-sql[train]'."
        )

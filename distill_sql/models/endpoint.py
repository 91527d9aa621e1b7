"""An OpenAI-compatible endpoint over one small model, for a machine without a GPU.

``python -m distill_sql.models.endpoint MODEL --port PORT`` serves ``/v1/chat/completions`` from a
model folder, to this machine only unless ``--host`` is given. Concurrent requests are batched
(:mod:`~distill_sql.models.inference.engine`). Access and limits are in
:mod:`~distill_sql.models.web`, the supported requests in :mod:`~distill_sql.models.chat`.

Not supported: streaming, tools, log probabilities. ``mlx_lm.server`` and ``transformers serve``
support more. The first needs MLX, whose CPU build multiplies matrices far slower than torch; the
second needs a larger web framework. This endpoint needs tornado, which JupyterLab needs anyway.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, get_args

from distill_sql.errors import (
    DistillSqlError,
    MissingDependencyError,
    ParameterError,
    TrainingError,
)
from distill_sql.models.chat import Refused, read_request, response
from distill_sql.models.folders import name_with_digest
from distill_sql.models.hosts import authorities
from distill_sql.models.inference.engine import BusyError, Engine
from distill_sql.models.recipes import Precision, Recipe
from distill_sql.sql.processes import watch

if TYPE_CHECKING:
    from distill_sql.models.inference.torch_student import TorchStudent
    from distill_sql.models.web import Server


def server(
    student: TorchStudent,
    port: int,
    *,
    host: str = "127.0.0.1",
    allowed: Sequence[str] = (),
    key: str = "",
    names: Sequence[str] = (),
) -> Server:
    """A server that is ready to ``serve``; port 0 takes any free port.

    ``names`` are the accepted model names, of which the first is listed; without names every name
    is accepted. ``allowed`` and ``key`` are those of :class:`~distill_sql.models.web.Server`.
    Raises OSError if it cannot listen there.
    """
    from distill_sql.models.web import Server

    engine = Engine(student)
    started = int(time.time())

    async def complete(body: bytes) -> dict[str, Any]:
        # Tokenizing a long text takes a while; other requests go on meanwhile.
        request = await asyncio.to_thread(read_request, body, student, names=names)
        try:
            done = engine.submit(request)
        except BusyError:
            busy = "too many requests are waiting; retry later"
            raise Refused(503, busy, {"Retry-After": "1"}) from None
        outputs = await asyncio.wrap_future(done)
        return response(request, outputs, student)

    async def models(_: bytes) -> dict[str, Any]:
        listed = {"id": (*names, student.tokenizer.name)[0], "object": "model"}
        return {"object": "list", "data": [listed | {"created": started, "owned_by": "local"}]}

    async def health(_: bytes) -> dict[str, Any]:
        return {"status": "ok"}

    routes = {
        ("GET", "/health"): health,
        ("GET", "/v1/models"): models,
        ("POST", "/v1/chat/completions"): complete,
    }
    try:
        return Server(host, port, routes, allowed=allowed, key=key, on_close=engine.close)
    except BaseException:
        engine.close()
        raise


def served_names(model: Path) -> tuple[str, str]:
    """The names of the model in a folder: the folder's name, without and with the weights' digest.

    The second one is part of the key of the embedded teacher's answers.
    """
    return model.name, name_with_digest(model)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 2 for a user mistake."""
    options = _parser().parse_args(argv)
    if options.parent is not None:
        Thread(target=watch, args=(options.parent,), daemon=True).start()
    try:
        key = _key(options.api_key_env)
        listening = _listening(options, key)
        where = authorities(options.host, listening.port)[0]
        print(f"serving {options.model} at http://{where}/v1", file=sys.stderr, flush=True)
        listening.serve()
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill_sql.models.endpoint",
        description="Serve a model folder through OpenAI's chat completions API.",
    )
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("--port", type=_port, required=True, help="the port; 0 takes any free one")
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", metavar="NAME",
        help="the address to listen at (default: %(default)s, this machine only)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", type=_host, default=[], action="append", metavar="NAME[:PORT]",
        help="a further host name that clients may use, besides --host and loopback",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-env", metavar="VARIABLE",
        help="the environment variable with the key that clients must send",
    )  # fmt: skip
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="the parent process: exit when it exits"
    )
    parser.add_argument("--name", help="the one model name to accept (default: the folder's)")
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32",
        help="the data type of the weights (default: %(default)s)",
    )  # fmt: skip
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected 0 to 65535")
    return int(text)


def _host(text: str) -> str:
    try:
        authorities(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected a host name or an address") from None
    return text


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ParameterError(
            f"The environment variable {variable} has no key. Set it to printable ASCII "
            "characters, or omit --api-key-env."
        )
    return key


def _listening(options: argparse.Namespace, key: str) -> Server:
    model: Path = options.model.expanduser().absolute()
    student = _load(model, options.precision)
    try:
        return server(
            student, options.port, host=options.host, allowed=options.allow_host, key=key,
            names=(options.name,) if options.name else served_names(model),
        )  # fmt: skip
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"Cannot listen at {options.host}, port {options.port}: {reason}. "
            "Use an address of this machine and a free port."
        ) from None


def _load(model: Path, precision: Precision) -> TorchStudent:
    if not (model / "config.json").is_file():
        raise TrainingError(f"No model in {model}: expected config.json, weights and a tokenizer.")
    if not all(map(find_spec, ("torch", "transformers", "tornado"))):
        raise MissingDependencyError(
            "Serving a model needs torch and tornado: pip install 'distill-sql[train]'."
        )
    from distill_sql.models import torch_backend

    recipe = Recipe(model.name, str(model), trained=False, precision=precision)
    try:
        return torch_backend.load(model, recipe)
    except DistillSqlError:
        raise
    except Exception as error:  # the libraries raise many types, all for a failed load
        raise TrainingError(
            f"The model in {model} cannot be loaded ({type(error).__name__}: {error}). Copy or "
            "download its folder again."
        ) from error


if __name__ == "__main__":
    sys.exit(main())

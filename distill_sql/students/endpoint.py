"""An OpenAI-compatible endpoint over one small model, for a machine without a GPU.

``python -m distill_sql.students.endpoint MODEL --port PORT`` answers ``/v1/chat/completions`` from
a model folder, on this machine alone unless ``--host`` says otherwise. Requests that wait at the
same time are answered together (:mod:`~distill_sql.students.engine`). Who may ask, and how much, is
in :mod:`~distill_sql.students.web`; what may be asked is in :mod:`~distill_sql.students.chat`.

Left out: streaming, tools, log probabilities. ``mlx_lm.server`` and ``transformers serve`` do more.
The one needs MLX, whose CPU build multiplies matrices far slower than torch, and the other a web
framework; this needs nothing that training does not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.errors import (
    DistillSqlError,
    MissingDependencyError,
    ParameterError,
    TrainingError,
)
from distill_sql.recipes import Recipe
from distill_sql.students.chat import read_request, response
from distill_sql.students.engine import BusyError, Engine
from distill_sql.students.head import Refused, authorities
from distill_sql.students.web import LIMITS, Limits, Server

if TYPE_CHECKING:
    from distill_sql.students.torch_backend import TorchStudent

#: Seconds between two looks whether a client still waits for its answer.
LOOK = 1.0


def server(
    student: TorchStudent,
    port: int,
    *,
    host: str = "127.0.0.1",
    allowed: Sequence[str] = (),
    key: str = "",
    names: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> Server:
    """A server that is ready to ``serve_forever``; at port 0, at any that is free.

    ``names`` are what the model may be asked as, the first one listed; without any it may be asked
    as anything. ``allowed``, ``key`` and ``limits`` are those of
    :class:`~distill_sql.students.web.Server`. Raises OSError if it cannot listen there.
    """
    engine = Engine(student)
    started = int(time.time())

    def complete(body: bytes, gone: Callable[[], bool]) -> Any:
        asked = read_request(body, student, names=names)
        try:
            done = engine.submit(asked)
        except BusyError:
            busy = "too many requests wait; ask later"
            raise Refused(503, busy, {"Retry-After": "1"}) from None
        return response(asked, _wait(done, gone), student)

    def models(*_: Any) -> Any:
        listed = {"id": (*names, student.tokenizer.name)[0], "object": "model"}
        return {"object": "list", "data": [listed | {"created": started, "owned_by": "local"}]}

    def health(*_: Any) -> Any:
        return {"status": "ok"}

    routes = {
        ("GET", "/health"): health,
        ("GET", "/v1/models"): models,
        ("POST", "/v1/chat/completions"): complete,
    }
    try:
        return Server(
            host, port, routes, allowed=allowed, key=key, limits=limits, on_close=engine.close
        )
    except BaseException:
        engine.close()
        raise


def _wait(done: Future[list[list[int]]], gone: Callable[[], bool]) -> list[list[int]]:
    """A request's answers, or its end; it is cancelled when its client is gone."""
    while True:
        try:
            error = done.exception(timeout=LOOK)
        except TimeoutError:
            if gone():
                done.cancel()
                raise Refused(400, "the connection was closed before the answer") from None
            continue
        except CancelledError:
            raise Refused(503, "the server is closing") from None
        if error is not None:
            raise Refused(500, f"the model failed ({type(error).__name__})")
        return done.result()


def served_names(model: Path) -> tuple[str, str]:
    """What the model in a folder may be asked as: the folder's name, and with its weights' digest.

    The second is what the embedded teacher's answers are filed under
    (:func:`distill_sql.teacher.embedded.name`).
    """
    digest = hashlib.sha256()
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return model.name, f"{model.name}-{digest.hexdigest()[:8]}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 2 for a mistake of the user's."""
    options = _parser().parse_args(argv)
    try:
        key = _key(options.api_key_env)
        with _listening(options, key) as listening:
            where = authorities(options.host, listening.server_address[1])[0]
            print(f"serving {options.model} at http://{where}/v1", file=sys.stderr, flush=True)
            listening.serve_forever()
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill_sql.students.endpoint",
        description="Serve a model folder through OpenAI's chat completions API.",
    )
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("--port", type=_port, required=True, help="0 for any that is free")
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", metavar="NAME",
        help="the address to listen at (default: %(default)s, this machine alone)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", type=_host, default=[], action="append", metavar="NAME[:PORT]",
        help="a name that clients may ask at, besides --host and this machine's own",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-env", metavar="VARIABLE",
        help="the environment variable that holds the key which clients must send",
    )  # fmt: skip
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 0 to 65535")
    return int(text)


def _host(text: str) -> str:
    try:
        authorities(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected a name or an address") from None
    return text


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ParameterError(
            f"The environment variable {variable} holds no key. Set it to printable ASCII "
            "characters, or leave --api-key-env out."
        )
    return key


def _listening(options: argparse.Namespace, key: str) -> Server:
    model: Path = options.model.expanduser().absolute()
    student = _load(model)
    try:
        return server(
            student, options.port, host=options.host, allowed=options.allow_host, key=key,
            names=served_names(model),
        )  # fmt: skip
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot have
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"Cannot listen at {options.host}, port {options.port}: {reason}. "
            "Give an address of this machine and a free port."
        ) from None


def _load(model: Path) -> TorchStudent:
    if not (model / "config.json").is_file():
        raise TrainingError(f"No model in {model}: expected config.json, weights and a tokenizer.")
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingDependencyError(
            "Serving a model needs torch: pip install 'distill-sql[train]'."
        )
    from distill_sql.students import torch_backend

    recipe = Recipe(model.name, str(model), trained=False, precision="float32")
    try:
        return torch_backend.load(model, recipe)
    except DistillSqlError:
        raise
    except Exception as error:  # the libraries raise many kinds, all meaning "not loaded"
        raise TrainingError(
            f"The model in {model} cannot be loaded ({type(error).__name__}: {error}). Copy or "
            "download its folder again."
        ) from error


if __name__ == "__main__":
    sys.exit(main())

"""llama.cpp's own server over a GGUF file: an OpenAI-compatible endpoint on the quantized weights.

``python -m distill_sql.models.llama_server FILE --port PORT`` serves ``/v1/chat/completions`` to
this machine only, through the package xllamacpp. Samples of one request share the computation of
its prompt, and a prompt that begins like an earlier one continues from there.

llama.cpp samples from the most likely tokens by default; here it samples from all of them, as
OpenAI does. Its ``usage`` counts the tokens of the first sample alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from distill_sql.errors import DistillSqlError, MissingDependencyError, TrainingError
from distill_sql.models.free import of_machine
from distill_sql.models.gguf_file import MAGIC
from distill_sql.sql.processes import watch

#: Answers that are generated at the same time.
SEQUENCES = 12
#: Tokens of prompts and answers that are held in memory, of all sequences together.
CONTEXT = 32_768
#: The memory that a server takes beside the file's own size: keys and values of the context,
#: buffers, and weights that are packed again. Measured with Qwen2.5-1.5B: 1.7 GiB.
BESIDE = 2 * 2**30


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 2 for a user mistake."""
    options = _parser().parse_args(argv)
    if options.parent is not None:
        Thread(target=watch, args=(options.parent,), daemon=True).start()
    try:
        serve(options.file, options.port, sha256=options.sha256, name=options.name)
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def serve(file: Path, port: int, *, sha256: str = "", name: str = "") -> None:
    """Serve a GGUF file until the process ends.

    ``sha256`` (hex) is what the file should be, and ``name`` the model's name in answers. Raises
    :class:`TrainingError` if the file is none, is another one, or needs more memory than is
    available, and :class:`MissingDependencyError` without xllamacpp.
    """
    check(file, sha256=sha256)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {name or file.stem}
    params.port = port
    params.ui = params.endpoint_slots = False
    params.cors_origins = f"http://127.0.0.1:{port}"  # no page of a browser may ask
    params.n_parallel, params.n_ctx, params.kv_unified = SEQUENCES, CONTEXT, True
    params.fit_params = False  # it would shrink the context silently
    params.cache_ram_mib = 0  # sequences keep their prompts; copies of them would take gigabytes
    params.sampling.top_k, params.sampling.top_p, params.sampling.min_p = 0, 1.0, 0.0
    params.verbosity = 1
    try:
        server = xllamacpp.Server(params)
    except Exception as error:  # of many kinds: what llama.cpp runs into
        raise TrainingError(
            f"llama.cpp cannot serve {file} at port {port} ({error}). The file may be damaged, or "
            "the port in use."
        ) from error
    print(f"serving {file} at {server.listening_address}/v1", file=sys.stderr, flush=True)
    Event().wait()


def check(file: Path, *, sha256: str = "") -> None:
    """Raise unless ``file`` can be served here; see :func:`serve`."""
    if find_spec("xllamacpp") is None:
        raise MissingDependencyError(
            "Serving a GGUF file needs xllamacpp: pip install 'distill-sql[train]'."
        )
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(MAGIC))
            opened.seek(0)
            digest = hashlib.file_digest(opened, "sha256").hexdigest() if sha256 else ""
    except OSError as error:
        raise TrainingError(f"{file} cannot be read ({error.strerror}). Check the path.") from None
    if magic != MAGIC:
        raise TrainingError(
            f"{file} is no GGUF file: it begins with {magic!r}, expected {MAGIC!r}. Download it "
            "again; a model folder of transformers is served by distill_sql.models.endpoint."
        )
    if digest != sha256:
        raise TrainingError(
            f"{file} has the SHA-256 {digest[:16]}..., expected {sha256[:16]}...: it is another "
            "file, or a damaged one. Download it again."
        )
    needed, free = file.stat().st_size + BESIDE, of_machine()
    if needed > free:
        raise TrainingError(
            f"Serving {file.name} takes {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are available. Close other programs, or use a smaller model."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill_sql.models.llama_server",
        description="Serve a GGUF file with llama.cpp through OpenAI's chat completions API.",
    )
    parser.add_argument("file", type=Path, help="a GGUF file")
    parser.add_argument("--port", type=int, required=True, help="the port")
    parser.add_argument("--name", default="", help="the model's name (default: the file's)")
    parser.add_argument("--sha256", default="", metavar="HEX", help="what the file should be")
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="the parent process: exit when it exits"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

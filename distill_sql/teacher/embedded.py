"""A teacher on this machine: a small model behind a real endpoint, for use without a key.

The server is :mod:`distill_sql.models.endpoint` in a separate process. It serves any model folder
that transformers can load.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.models.folders import name_with_digest
from distill_sql.teacher.addresses import EMBEDDED as BASE_URL
from distill_sql.teacher.secrets import one_line

__all__ = ["ANSWER", "AT_ONCE", "BASE_URL", "FOLDER", "name", "serving"]

#: The teacher that ships with the package.
FOLDER = CHECKPOINTS / "pocket-teacher"
#: Seconds within which a server must start.
PATIENCE = 120.0
#: Concurrent requests to use: requests on one database are answered together.
AT_ONCE = 192
#: Timeout of an answer in seconds. A busy machine takes minutes for so many requests, and a retry
#: after a timeout would add to its load.
ANSWER = 1800.0


def name(model: Path = FOLDER) -> str:
    """The model name of the teacher in a folder."""
    return name_with_digest(model)


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """Serve a model folder on this machine while the context is open; gives the base URL.

    The server ends with this process, however that ends. Raises :class:`MissingDependencyError`
    without torch, transformers and tornado, and :class:`TeacherError` if the server does not start.
    """
    if not (model / "config.json").is_file():
        raise TeacherError(f"No model in {model}: expected config.json, weights and a tokenizer.")
    if not all(map(find_spec, ("torch", "transformers", "tornado"))):
        raise MissingDependencyError(
            "Serving the embedded teacher needs torch and tornado: "
            "pip install 'distill-sql[train]'."
        )
    port = _free_port()
    url = f"http://127.0.0.1:{port}/v1"
    command = [sys.executable, "-m", "distill_sql.models.endpoint", str(model), f"--port={port}"]
    own = [f"--parent={os.getpid()}"]  # so that the server ends even if this process is killed
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as out:
        log = Path(out.name)
        process = subprocess.Popen(command + own, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/v1/models"):
            if process.poll() is not None or time.monotonic() > end:
                tail = one_line(log.read_text(errors="replace").strip()[-500:], length=500)
                raise TeacherError(
                    f"The endpoint for {model} did not start: {tail}. Try the command by hand: "
                    f"{' '.join(command)}"
                )
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        log.unlink()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            json.load(response)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return False
    return True

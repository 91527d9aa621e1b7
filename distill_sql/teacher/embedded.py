"""A teacher on this machine: a small model behind a real endpoint, for when there is no key.

The server is mlx-lm's, which runs on a Mac and, through mlx's CPU build, on Linux. Any model folder
that mlx-lm loads will do.
"""

from __future__ import annotations

import json
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

from distill_sql.errors import MissingDependencyError, TeacherError

#: What answers of an embedded teacher are filed under, whatever port it is served at.
BASE_URL = "embedded"
#: The name under which mlx-lm's server knows the model it was started with.
MODEL = "default_model"
#: Seconds that a server has to start.
PATIENCE = 120.0


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """The base URL of an endpoint on this machine that serves a model folder while it is needed.

    Raises :class:`MissingDependencyError` without mlx-lm and :class:`TeacherError` if the server
    does not come up.
    """
    if not (model / "config.json").is_file():
        raise TeacherError(f"No model in {model}: expected config.json, weights and a tokenizer.")
    if find_spec("mlx_lm") is None:
        raise MissingDependencyError(
            "Serving the embedded teacher needs mlx-lm: pip install 'distill-sql[mlx]'."
        )
    port = _free_port()
    url = f"http://127.0.0.1:{port}/v1"
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(model), "--port", str(port)]
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as out:
        log = Path(out.name)
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text().strip()[-500:]
                raise TeacherError(
                    f"mlx_lm.server did not come up for {model}: {tail}. Try the command by hand: "
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
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return True

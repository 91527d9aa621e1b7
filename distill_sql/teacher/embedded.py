"""A teacher on this machine: a small model behind a real endpoint, for when there is no key.

The server is mlx-lm's, which runs on a Mac and, through mlx's CPU build, on Linux. Any model folder
that mlx-lm loads will do. Until the package carries a trained checkpoint, :func:`random_model`
makes one with random weights: it proves that question, endpoint, cache and sieve fit together, and
answers nothing rightly.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.tokenizer import ChatTokenizer

#: What answers of an embedded teacher are filed under, whatever port it is served at.
BASE_URL = "embedded"
#: The name under which mlx-lm's server knows the model it was started with.
MODEL = "default_model"
#: Seconds that a server has to start.
PATIENCE = 120.0


def random_model(folder: Path, tokenizer: ChatTokenizer, *, seed: int = 42) -> Path:
    """A Qwen2 of about half a million parameters with random weights, in Hugging Face's layout.

    The same seed gives the same weights. Raises :class:`MissingDependencyError` without the extra
    ``train``.
    """
    try:
        with warnings.catch_warnings():  # of widgets that notebooks could show, and we do not
            warnings.simplefilter("ignore")
            import torch
            import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "Making a model needs torch and transformers: pip install 'distill-sql[train]'."
        ) from error
    markers = {text: tokenizer.encode(text)[0] for text in ("<|endoftext|>", "<|im_end|>")}
    config = transformers.Qwen2Config(
        vocab_size=tokenizer.backend.get_vocab_size(),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=markers["<|endoftext|>"],
        eos_token_id=markers["<|im_end|>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer.backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = tokenizer.chat_template
    fast.save_pretrained(folder)
    return folder


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
    log = model / "server.log"
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(model), "--port", str(port)]
    with log.open("w") as out:
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

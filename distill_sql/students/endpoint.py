"""An OpenAI-compatible endpoint over one small model, for a machine without a GPU.

``python -m distill_sql.students.endpoint MODEL --port PORT`` answers ``/v1/chat/completions`` from
a model folder. Requests that wait at the same time are answered together, and what their prompts
begin with in common, a schema as a rule, is computed once. A question's samples depend on its own
text and their number only, whatever else is asked meanwhile.

Left out: streaming, tools, log probabilities, keys. ``mlx_lm.server`` and ``transformers serve`` do
more. The one needs MLX, whose CPU build multiplies matrices far slower than torch, and the other a
web framework; this needs nothing that training does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from distill_sql.recipes import Recipe
from distill_sql.students.generation import shared_prefix
from distill_sql.students.protocol import ClosingFence

if TYPE_CHECKING:
    import torch

    from distill_sql.students.torch_backend import TorchStudent

#: Answers that are written at the same time, at most.
ROWS = 96
#: Seconds that the first of several requests waits for others.
GATHER = 0.02
#: Share of a prompt that must be common for two requests to be answered together.
COMMON = 0.5
#: What a request may ask for at most.
MOST_SAMPLES, MOST_TOKENS = 16, 1024


class BadRequest(ValueError):
    """A request that cannot be answered as it is."""


@dataclass(frozen=True)
class Asked:
    """One request: prompt as token ids, how many samples, how they are drawn, where they go."""

    ids: tuple[int, ...]
    samples: int
    temperature: float
    max_tokens: int
    done: Future[list[list[int]]] = field(default_factory=Future, compare=False)

    @property
    def drawn(self) -> tuple[float, int, int]:
        """What two requests must have in common to be answered together."""
        return self.temperature, self.max_tokens, self.samples


class Engine:
    """Answers requests, those that wait together in one batch."""

    def __init__(self, student: TorchStudent) -> None:
        self.student = student
        self._finished = ClosingFence(student.tokenizer)
        self._waiting: Queue[Asked] = Queue()
        Thread(target=self._work, daemon=True).start()

    def submit(self, asked: Asked) -> Future[list[list[int]]]:
        """The request's answers as token ids, in the future."""
        self._waiting.put(asked)
        return asked.done

    def _work(self) -> None:
        while True:
            waiting = [self._waiting.get()]
            time.sleep(GATHER)
            while True:
                try:
                    waiting.append(self._waiting.get_nowait())
                except Empty:
                    break
            for group in groups(waiting):
                try:
                    self._answer(group)
                except Exception as error:
                    for asked in group:
                        asked.done.set_exception(error)

    def _answer(self, group: list[Asked]) -> None:
        prefix = shared_prefix([asked.ids for asked in group])
        rows = [(asked, number) for asked in group for number in range(asked.samples)]
        outputs = self.student.complete(
            group[0].ids[:prefix],
            [asked.ids[prefix:] for asked in group],
            copies=group[0].samples,
            max_tokens=group[0].max_tokens,
            finished=self._finished,
            choose=sampler([_seed(*row) for row in rows], group[0].temperature),
        )
        answers = iter(outputs)
        for asked in group:
            asked.done.set_result([next(answers) for _ in range(asked.samples)])


def groups(waiting: Sequence[Asked]) -> list[list[Asked]]:
    """Requests that are answered together: drawn alike, their prompts begun alike, of like length.

    Rows are padded to the longest, so each group holds neighbours in length, and about as many as
    the next.
    """
    alike: list[list[Asked]] = []
    for asked in sorted(waiting, key=lambda one: (one.drawn, one.ids)):
        if alike and _alike(alike[-1][0], asked):
            alike[-1].append(asked)
        else:
            alike.append([asked])
    found = []
    for some in alike:
        some.sort(key=lambda one: len(one.ids))
        pieces = -(-len(some) // (ROWS // some[0].samples))
        cuts = [len(some) * piece // pieces for piece in range(pieces + 1)]
        found += [some[start:end] for start, end in pairwise(cuts)]
    return found


def _alike(first: Asked, other: Asked) -> bool:
    common = shared_prefix([first.ids, other.ids])
    return first.drawn == other.drawn and common >= COMMON * len(other.ids)


def _seed(asked: Asked, number: int) -> int:
    text = json.dumps([asked.ids, asked.temperature, number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def sampler(
    seeds: Sequence[int], temperature: float
) -> Callable[[torch.Tensor, list[int]], torch.Tensor] | None:
    """Draws each answer's next token with a generator of its own; None at temperature 0: greedy.

    The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel, 1954).
    """
    import torch

    if temperature == 0:
        return None
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]

    def choose(logits: torch.Tensor, answers: list[int]) -> torch.Tensor:
        even = torch.stack(
            [torch.rand(logits.shape[-1], generator=draws[answer]) for answer in answers]
        )
        noise = -torch.log(-torch.log(even.clamp(1e-20, 1 - 1e-7)))
        return (logits.float().cpu() / temperature + noise).argmax(-1).to(logits.device)

    return choose


def read_request(body: bytes, student: TorchStudent) -> Asked:
    """A chat completion request; :class:`BadRequest` says what is wrong with it."""
    try:
        asked = json.loads(body)
        messages = [
            {"role": str(one["role"]), "content": str(one["content"])} for one in asked["messages"]
        ]
        samples = int(asked.get("n") or 1)
        temperature = float(asked.get("temperature", 1.0))
        most = int(asked.get("max_completion_tokens") or asked.get("max_tokens") or 256)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"expected a chat completion request: {error!r}") from error
    if not 1 <= samples <= MOST_SAMPLES or not 1 <= most <= MOST_TOKENS or temperature < 0:
        raise BadRequest(
            f"n is {samples}, max_tokens {most}, temperature {temperature}; expected n of 1 to "
            f"{MOST_SAMPLES}, max_tokens of 1 to {MOST_TOKENS}, temperature of 0 or more"
        )
    tokenizer = student.tokenizer
    ids = tuple(tokenizer.encode(tokenizer.render(messages)))  # type: ignore[arg-type]
    if len(ids) + most > student.model.config.max_position_embeddings:
        raise BadRequest(f"the prompt is {len(ids)} tokens, which leaves no room for {most} more")
    return Asked(ids, samples, temperature, most)


def response(asked: Asked, outputs: Sequence[Sequence[int]], student: TorchStudent) -> Any:
    """The JSON of a chat completion."""
    choices = [
        {
            "index": number,
            "message": {"role": "assistant", "content": student.tokenizer.backend.decode(output)},
            "finish_reason": "length" if len(output) >= asked.max_tokens else "stop",
        }
        for number, output in enumerate(outputs)
    ]
    written = sum(map(len, outputs))
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": student.tokenizer.name,
        "choices": choices,
        "usage": {
            "prompt_tokens": len(asked.ids),
            "completion_tokens": written,
            "total_tokens": len(asked.ids) + written,
        },
    }


def server(student: TorchStudent, port: int) -> ThreadingHTTPServer:
    """A server on this machine's own address that is ready to ``serve_forever``."""
    engine = Engine(student)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"status": "ok", "data": [{"id": student.tokenizer.name}]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send(*self._answer(body))

        def _answer(self, body: bytes) -> tuple[int, Any]:
            if self.path != "/v1/chat/completions":
                return 404, _error(f"no {self.path} here: /v1/chat/completions is")
            try:
                asked = read_request(body, student)
            except BadRequest as error:
                return 400, _error(str(error))
            try:
                outputs = engine.submit(asked).result()
            except Exception as error:
                return 500, _error(repr(error))
            return 200, response(asked, outputs, student)

        def _send(self, status: int, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Nothing: a request is no news."""

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 256
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}


def main() -> None:
    """The command line."""
    from distill_sql.students import torch_backend

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    recipe = Recipe(options.model.name, str(options.model), trained=False, precision="float32")
    student = torch_backend.load(options.model, recipe)
    print(f"serving {options.model} at http://127.0.0.1:{options.port}/v1", file=sys.stderr)
    server(student, options.port).serve_forever()


if __name__ == "__main__":
    main()

"""A scriptable chat completions endpoint that injects faults, in a separate process.

It has no model: answers come from its script. It records its answers and their cost, so that a
client's ledger can be checked. Start it with :func:`serving`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SCRIPT: dict[str, Any] = {
    "seed": 0,
    "latency": 0.0,
    "many": True,  # whether `n` has an effect
    "knows_n": True,  # else `n` is refused
    "odd": {},  # part of a question -> {"status", "body", "headers"} of its reply
    "answers": {},  # last message's first line -> answers, one per sample
    "default": "```sql\nSELECT count(*) FROM t\n```",
    "too_many": 0.0,  # share of requests with each fault
    "broken": 0.0,
    "dropped": 0.0,
    "malformed": 0.0,
    "headers": {},  # on every answer
    "status": 200,  # anything else: every request is refused with it
    "error": {"message": "no"},
    "refused": {},  # headers of a refusal
    "body": None,  # sent instead of an answer
    "finish": "stop",
    "half": False,  # batches: every other request fails
    "prompt_price": 150,
    "completion_price": 600,
}
PROMPT_TOKENS, COMPLETION_TOKENS = 800, 40
ROOT = Path(__file__).resolve().parents[2]


class Endpoint:
    def __init__(self, script: dict[str, Any]) -> None:
        self.script = SCRIPT | script
        self.rng = random.Random(self.script["seed"])
        self.books: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.active = 0
        self.files: list[bytes] = []
        self.looks: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = next(
                    (int(line.split(":")[1]) for line in head.splitlines()
                     if line.lower().startswith("content-length")), 0
                )  # fmt: skip
                body = await reader.readexactly(size)
                if head.startswith("GET /books"):
                    self.reply(writer, 200, self.totals())
                elif "/files" in head.split("\r\n")[0] or "/batches" in head.split("\r\n")[0]:
                    self.batch(writer, head.split("\r\n")[0], body)
                elif not await self.answer(writer, json.loads(body), head):
                    break
                await writer.drain()
        writer.close()

    def totals(self) -> dict[str, Any]:
        twice = sum(count - 1 for count in self.answered.values())
        return dict(self.books) | {"answered": len(self.answered), "answered_twice": twice}

    async def answer(self, writer: asyncio.StreamWriter, body: dict[str, Any], head: str) -> bool:
        """Answer one request; False to drop the connection."""
        script = self.script
        self.books["requests"] += 1
        self.books["with_key"] += "authorization: bearer sk-test" in head.lower()
        self.active += 1
        self.books["most_at_once"] = max(self.books["most_at_once"], self.active)
        if script["latency"]:
            await asyncio.sleep(script["latency"])
        self.active -= 1
        if script["status"] != 200:
            self.reply(writer, script["status"], {"error": script["error"]}, script["refused"])
            return True
        question = body["messages"][-1]["content"]
        odd = next((odd for part, odd in script["odd"].items() if part in question), None)
        if "n" in body and not script["knows_n"]:
            odd = {"status": 400, "body": '{"error": {"message": "n is unknown"}}'}
        if odd:
            self.books["odd"] += 1
            status, text = odd.get("status", 200), odd.get("body", "")
            self.send(writer, status, text.encode(), odd.get("headers"))
            return True
        chance = self.rng.random()
        for fault in ("too_many", "broken", "dropped", "malformed"):
            chance -= script[fault]
            if chance < 0:
                self.books[fault] += 1
                if fault == "too_many":
                    headers = {"retry-after": "0.01"}
                    self.reply(writer, 429, {"error": {"message": "slow down"}}, headers)
                elif fault == "broken":
                    self.reply(writer, 500, {"error": {"message": "oops"}})
                else:
                    self.book(body, 1)
                    if fault == "dropped":
                        return False
                    self.send(writer, 200, b'{"choices": [{"mess')
                return True
        if script["body"] is not None:
            self.send(writer, 200, script["body"].encode(), script["headers"])
            return True
        count = body.get("n", 1) if script["many"] else 1
        key = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()
        answers = next((a for q, a in script["answers"].items() if q in question), None)
        texts = []
        for _ in range(count):
            number = self.answered[f"{key} total"]
            self.answered[f"{key} total"] += 1
            texts.append(answers[number % len(answers)] if answers else script["default"])
        self.book(body, count)
        choices = [
            {"index": i, "finish_reason": script["finish"],
             "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]  # fmt: skip
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count * COMPLETION_TOKENS}
        self.reply(writer, 200, {"choices": choices, "usage": usage}, script["headers"])
        return True

    def batch(self, writer: asyncio.StreamWriter, first: str, body: bytes) -> None:
        """Files and batches: a batch is finished at the second poll."""
        if first.startswith("POST") and "/files" in first:
            self.files.append(body)
            self.reply(writer, 200, {"id": f"file-{len(self.files) - 1}", "object": "file"})
        elif first.startswith("POST"):
            self.looks.append(0)
            self.reply(writer, 200, self.state(len(self.looks) - 1, "validating"))
        elif "/batches" in first:
            number = int(first.split("batch-")[1].split()[0])
            self.looks[number] += 1
            status = "completed" if self.looks[number] > 1 else "in_progress"
            self.reply(writer, 200, self.state(number, status))
        else:
            number = int(first.split("file-")[1].split("/")[0])
            lines = [line for line in self.files[number].splitlines() if line[:1] == b"{"]
            self.send(writer, 200, b"\n".join(map(self.answer_line, lines)))

    def state(self, number: int, status: str) -> dict[str, Any]:
        return {"id": f"batch-{number}", "object": "batch", "status": status, "created_at": 1,
                "completion_window": "24h", "endpoint": "/v1/chat/completions",
                "input_file_id": f"file-{number}", "output_file_id": f"file-{number}",
                "request_counts": {"completed": 1, "failed": 0, "total": 1}}  # fmt: skip

    def answer_line(self, line: bytes) -> bytes:
        request = json.loads(line)
        self.books["requests"] += 1
        if self.script["half"] and self.books["requests"] % 2:
            return json.dumps({"custom_id": request["custom_id"], "response": None}).encode()
        count = request["body"].get("n", 1)
        self.book(request["body"], count)
        choices = [
            {"message": {"content": self.script["default"]}, "finish_reason": "stop"}
        ] * count
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count * COMPLETION_TOKENS}
        body = {"choices": choices, "usage": usage}
        found = {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}}
        return json.dumps(found).encode()

    def book(self, body: dict[str, Any], count: int) -> None:
        self.books["samples"] += count
        self.books["cost"] += (
            PROMPT_TOKENS * self.script["prompt_price"]
            + count * COMPLETION_TOKENS * self.script["completion_price"]
        )

    def reply(
        self, writer: asyncio.StreamWriter, status: int, value: Any,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.send(writer, status, json.dumps(value).encode(), headers)

    def send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [f"content-length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)


@contextmanager
def serving(
    folder: Path, *, module: str = "tests.teacher.endpoint", **script: Any
) -> Iterator[str]:
    """The base URL of an endpoint that follows ``script`` (see :data:`SCRIPT`)."""
    path = folder / "script.json"
    path.write_text(json.dumps(script))
    command = [sys.executable, "-m", module, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.communicate()


def books(url: str) -> dict[str, int]:
    """The number of answers by kind, and their cost (nano-dollars)."""
    with urllib.request.urlopen(url.replace("/v1", "/books")) as response:
        found: dict[str, int] = json.loads(response.read())
    return found


async def listen(endpoint: Endpoint) -> None:
    """Print a port and serve on it until the process is killed."""
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    asyncio.run(listen(Endpoint(json.loads(parser.parse_args().script.read_text()))))

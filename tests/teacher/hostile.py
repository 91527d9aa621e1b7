"""A hostile endpoint: all kinds of malformed answers, 5 % each, and a journal in a file.

It reads the clients' cache when a request arrives, so it knows whether the answer is there already.
Each line of the journal is a request or an answer, with the time. An answer is written to it before
its first byte is sent. Run by :mod:`tests.teacher.hostile_soak`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from distill_sql.teacher import Price, Store
from distill_sql.teacher.store import request_key
from tests.teacher.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, Endpoint, listen

#: The address of this endpoint in the clients' settings.
BASE_URL = "http://hostile/v1"
PRICE = Price(150, 600)
#: Maximum number of samples of a question.
SAMPLES = 3

#: Refused before anything was charged.
UNPAID = ("refused", "too many", "come back")
#: Charged, without a usable answer.
WASTED = ("broken", "no choices", "deep", "no answer", "huge", "drip", "dropped")
#: Charged, with a usable although malformed answer.
KEPT = (
    "parts", "reasoning", "texts", "no message", "shape", "number", "types", "usage", "encoding",
)  # fmt: skip
#: 5 % of each; the remaining 5 % are normal answers.
KINDS = (*UNPAID, *WASTED, *KEPT)

_LIES: list[Any] = [
    None, [], "much", {}, {"input_tokens": 800, "output_tokens": 120}, {"total_tokens": 920},
    {"prompt_tokens": -800, "completion_tokens": -1}, {"prompt_tokens": 1e30},
    {"prompt_tokens": 10**30, "completion_tokens": 10**30}, {"prompt_tokens": 0},
    {"prompt_tokens": 800}, {"prompt_tokens": 800, "completion_tokens": -1},
    {"prompt_tokens": 800, "completion_tokens": 0}, {"completion_tokens": 120},
    {"prompt_tokens": True, "completion_tokens": False}, {"prompt_tokens": "800"},
    {"prompt_tokens": 800.5, "completion_tokens": None},
]  # fmt: skip


class Hostile(Endpoint):
    def __init__(self, script: dict[str, Any]) -> None:
        super().__init__(script)
        self.cache = Path(script["cache"])
        self.journal = Path(script["journal"]).open("a", encoding="utf-8")  # noqa: SIM115
        self.store: Store | None = None
        self.under_way: dict[int, tuple[str, str, str]] = {}

    def note(self, event: str, number: int, **more: Any) -> None:
        """Write an event to the journal, flushed before anything else happens."""
        line = {"event": event, "number": number, "time": time.time(), **more}
        self.journal.write(json.dumps(line) + "\n")
        self.journal.flush()

    async def answer(self, writer: asyncio.StreamWriter, body: dict[str, Any], head: str) -> bool:
        who = next(line for line in head.split("\r\n") if line.lower().startswith("authorization"))
        who = who.rpartition("-")[2]
        count = int(body.pop("n", 1))
        key = request_key(body, BASE_URL)
        place = int(self.rng.random() * 20)
        kind = KINDS[place] if place < len(KINDS) else "plain"
        self.books["asked"] += 1
        number = self.books["asked"]
        self.store = self.store or Store(self.cache, read_only=True)
        held = SAMPLES - len(self.store.missing(key, SAMPLES))
        # A client has given up an answer that does not end, and may ask again.
        at_once = any(
            other_key == key.hex() and other_kind not in WASTED and _lives(other)
            for other_key, other_kind, other in self.under_way.values()
        )
        self.note(
            "asked", number, key=key.hex(), who=who, n=count, kind=kind,
            again=held + count > SAMPLES, at_once=at_once,
        )  # fmt: skip
        self.under_way[number] = (key.hex(), kind, who)
        try:
            await asyncio.sleep(self.script["latency"])
            return await self.send_kind(writer, kind, number, count)
        except ConnectionError:  # the client was killed, or has read enough
            return False
        finally:
            del self.under_way[number]

    async def send_kind(
        self, writer: asyncio.StreamWriter, kind: str, number: int, count: int
    ) -> bool:
        """Charge and answer; False to drop the connection."""
        if kind in UNPAID:
            self.refuse(writer, kind)
            return True
        answer = self.usual(number, count)
        if kind in KEPT:
            self.make_odd(answer, kind, count)
        charged = max(count, len(answer["choices"]))
        cost = PRICE.cost(PROMPT_TOKENS, charged * COMPLETION_TOKENS)
        whole = 0 if kind in WASTED else min(count, len(answer["choices"]))
        self.note("answered", number, cost=cost, whole=whole)
        self.books["cost"] += cost
        if kind in WASTED:
            return await self.waste(writer, kind, answer)
        content = json.dumps(answer).encode()
        if kind == "encoding":
            marked, latin = (
                b"\xef\xbb\xbf" + content,
                content.replace(b"answer", b"\xe9\xff answer"),
            )
            content = self.rng.choice([marked, latin, content.decode().encode("utf-16")])
        self.send(writer, 200, content)
        await writer.drain()
        return True

    def usual(self, number: int, count: int) -> dict[str, Any]:
        choices = [
            {"index": i, "finish_reason": "stop", "message": {
                "role": "assistant", "content": f"```sql\nSELECT 1 -- answer {number}-{i}\n```"}}
            for i in range(count)
        ]  # fmt: skip
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count * COMPLETION_TOKENS}
        return {"choices": choices, "usage": usage}

    def make_odd(self, answer: dict[str, Any], kind: str, count: int) -> None:
        choices, rng = answer["choices"], self.rng
        first = choices[0]
        message = first["message"]
        if kind == "parts":
            message["content"] = [{"type": "text", "text": message["content"]}, {"type": "image"}]
        elif kind == "reasoning":
            message["reasoning_content"], message["content"] = message["content"], None
        elif kind == "texts":
            message["content"] += rng.choice(["\ud83d", "\x00", "\u2028\x85", "a" * 100_000])
        elif kind == "no message":
            first["message"] = rng.choice([None, [], "text", 5])
        elif kind == "shape":
            first["index"] = rng.choice([7, None, "x", -1])
            if rng.random() < 0.5:
                answer["choices"] = {str(i): choice for i, choice in enumerate(choices)}
        elif kind == "number":
            if count > 1 and rng.random() < 0.5:
                del choices[1:]
            else:
                choices += [first] * 2
                answer["usage"]["completion_tokens"] = len(choices) * COMPLETION_TOKENS
        elif kind == "types":
            first["finish_reason"] = rng.choice([None, 5, ["stop"], {}, "x" * 10_000])
            message["refusal"] = rng.choice([None, True, "no", ["no"], {"text": "no"}])
        elif kind == "usage":
            answer["usage"] = rng.choice(_LIES)

    def refuse(self, writer: asyncio.StreamWriter, kind: str) -> None:
        error = {"error": {"message": f"no: {kind}"}}
        if kind == "refused":
            self.reply(writer, self.rng.choice([400, 413, 422]), error)
        elif kind == "come back":
            self.reply(writer, 503, error, {"retry-after": "0.05"})
        else:
            wait = self.rng.choice(
                [None, "0.05", "soon", "-1", "nan", "1e99", formatdate(time.time() - 9),
                 formatdate(time.time() + 1.2, usegmt=True)]
            )  # fmt: skip
            self.reply(writer, 429, error, {} if wait is None else {"retry-after": wait})

    async def waste(self, writer: asyncio.StreamWriter, kind: str, answer: dict[str, Any]) -> bool:
        content, rng = json.dumps(answer).encode(), self.rng
        if kind == "broken":
            self.reply(writer, rng.choice([500, 502, 503, 504, 524]), {"error": "upstream"})
        elif kind == "no choices":
            error = {"error": {"message": "overloaded", "code": 502}}
            found = rng.choice([{"choices": None} | error, {"choices": []}, {}, error, [error]])
            self.reply(writer, 200, found)
        elif kind == "deep":
            self.send(writer, 200, b'{"choices": ' + b"[" * 200_000)
        elif kind == "no answer":
            self.send(
                writer, 200, rng.choice([b"", b"<html>busy</html>", b"\xff\xfe\x00", b"\x00"])
            )
        elif kind == "dropped":
            cut = content[: rng.randrange(len(content))]
            writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n" + cut)
            await writer.drain()
            return False
        elif kind == "huge":
            writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 400000000\r\n\r\n")
            for _ in range(400):
                writer.write(b" " * 1_000_000)
                await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        await writer.drain()
        return True


def _lives(who: str) -> bool:
    with suppress(ProcessLookupError, ValueError):
        os.kill(int(who), 0)
        return True
    return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    asyncio.run(listen(Hostile(json.loads(parser.parse_args().script.read_text()))))

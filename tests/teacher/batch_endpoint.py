"""A fake Batch API in the same process: its files can be damaged, and it records costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from distill_sql.errors import TeacherError
from distill_sql.teacher.batch_api import RefusedError

TEXT = "```sql\nSELECT count(*) FROM t\n```"
PROMPT_TOKENS, COMPLETION_TOKENS = 80, 4
#: The endpoint's prices in nano-dollars per token.
PRICES = (75, 300)


def answer_to(record: dict[str, Any]) -> dict[str, Any]:
    """The line of the output file for a line of requests."""
    count = record["body"].get("n", 1)
    choice = {"message": {"content": TEXT}, "finish_reason": "stop"}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count * COMPLETION_TOKENS}
    body = {"choices": [choice] * count, "usage": usage}
    return {"custom_id": record["custom_id"], "response": {"status_code": 200, "body": body}}


def cost_of(answer: dict[str, Any]) -> int:
    """The endpoint's price of an answer."""
    usage: dict[str, int] = answer["response"]["body"]["usage"]
    return PRICES[0] * usage["prompt_tokens"] + PRICES[1] * usage["completion_tokens"]


class FakeApi:
    """Replaces :class:`distill_sql.teacher.batch_api.BatchApi`.

    ``write`` makes the output file and the error file from the answers. ``queue`` is the limit of
    pending requests in all batches; a batch over the limit fails. ``looks`` is the number of polls
    until a batch is finished. ``failing`` makes the next calls of a method raise.
    """

    def __init__(self) -> None:
        self.write: Callable[[list[dict[str, Any]]], tuple[bytes, bytes]] = lambda found: (
            b"\n".join(json.dumps(answer).encode() for answer in found),
            b"",
        )
        self.queue: int | None = None
        self.looks = 0
        self.status = "completed"
        self.errors: list[dict[str, Any]] = []
        self.failing: dict[str, list[BaseException]] = {}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.sizes: list[int] = []
        self.cost = 0

    def _may_fail(self, name: str) -> None:
        if self.failing.get(name):
            raise self.failing[name].pop(0)

    def upload(self, content: bytes) -> str:
        self._may_fail("upload")
        return self._file(content)

    def _file(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def create(self, file: str) -> str:
        self._may_fail("create")
        name = f"batch-{len(self.batches)}"
        records = [json.loads(line) for line in self.files[file].split(b"\n")]
        ids = [record["custom_id"] for record in records]
        assert len(ids) == len(set(ids)), "an endpoint refuses a batch that has a name twice"
        self.sizes.append(len(records))
        under_way = sum(len(b["records"]) for b in self.batches.values() if b["looks"] is not None)
        self.batches[name] = {
            "records": records,
            "looks": self.looks,
            "state": {"id": name, "input_file_id": file},
            "fails": self.queue is not None and under_way + len(records) > self.queue,
        }
        self._may_fail("created")
        return name

    def find(self, file: str) -> str | None:
        self._may_fail("find")
        for name, batch in self.batches.items():
            if batch["state"]["input_file_id"] == file:
                return name
        return None

    def state(self, name: str) -> dict[str, Any]:
        self._may_fail("state")
        batch = self.batches[name]
        state: dict[str, Any] = batch["state"]
        if batch["looks"] is None:
            return state
        if batch["looks"]:
            batch["looks"] -= 1
            return state | {"status": "in_progress"}
        batch["looks"] = None
        if batch["fails"] or self.errors:
            message = "Enqueued token limit reached for m. Limit: 9 enqueued tokens."
            found = self.errors or [{"code": "token_limit_exceeded", "message": message}]
            state |= {"status": "failed", "errors": {"object": "list", "data": found}}
            return state
        found = [answer_to(record) for record in batch["records"]]
        self.cost += sum(map(cost_of, found))
        output, errors = map(self._file, self.write(found))
        state |= {"status": self.status, "output_file_id": output, "error_file_id": errors}
        return state

    def lines(self, file: str) -> Iterator[bytes]:
        self._may_fail("lines")
        for line in self.files[file].split(b"\n"):
            self._may_fail("line")
            yield line

    def line(self, text: str) -> str:
        return text


def down() -> TeacherError:
    """The error while the endpoint cannot be reached."""
    return TeacherError("Fetching failed: ReadError. Nothing is lost.")


def refused(status: int) -> RefusedError:
    """The error if the endpoint refuses."""
    return RefusedError(f"status {status}", status)

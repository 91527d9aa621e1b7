"""The Batch API: the same questions at half the price, outside the daily request cap.

Files of requests are handed in, and their answers fetched up to a day later, into the same store.
What was handed in is remembered there, so a later run fetches it and pays for nothing twice. Left
out: finding a batch again whose number was lost to a kill in the moment between handing it in and
writing it down; the endpoint's own list shows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.teacher.prices import Price, dollars
from distill_sql.teacher.store import Store, share
from distill_sql.teacher.work import Request, Settings

if TYPE_CHECKING:
    import openai

#: Requests in one batch, at most; the API allows 50,000 and 200 MB.
SIZE = 10_000
#: Seconds between two looks at a batch.
POLL = 30.0

_OVER = ("completed", "failed", "expired", "cancelled")


class Batches:
    """Hands in what the store lacks, and fetches what was handed in. ``price`` is the full one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        api_key: str,
        price: Price,
        cap: int | None = None,
        url: str | None = None,
        size: int = SIZE,
        say: Callable[[str], None] = print,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError(
                "Asking a teacher needs the package openai: pip install 'distill-sql[teacher]'."
            ) from error
        self.settings = settings
        self._store = store
        self._price = price.halved()
        self._cap = cap
        self._size = size
        self._say = say
        self._client = openai.OpenAI(base_url=url or settings.base_url, api_key=api_key)

    def submit(self, requests: Iterable[Request]) -> int:
        """Hand in every request that lacks samples; how many batches that made.

        Refused while a batch is open, since its requests would be paid for twice.
        """
        if self._store.open_batches():
            raise TeacherError(
                "A batch is under way. Fetch it first: the same command with --wait, or later."
            )
        wanted = (
            (request, missing)
            for request in requests
            if (missing := self._store.missing(request.key, self.settings.samples))
        )
        count = 0
        while chunk := list(islice(wanted, self._size)):
            self._hand_in(chunk)
            count += 1
        return count

    def _hand_in(self, chunk: list[tuple[Request, list[int]]]) -> None:
        bound = sum(
            self._price.cost(request.prompt_bound, len(missing) * self.settings.max_tokens)
            for request, missing in chunk
        )
        if not self._store.reserve(bound, self._cap):
            assert self._cap is not None
            raise TeacherError(
                f"{len(chunk):,} requests may cost {dollars(bound)}, which does not fit in the "
                f"budget of {dollars(self._cap)} with {dollars(self._store.spent())} spent or "
                "booked. Raise --budget, or lower --limit or --max-tokens."
            )
        lines = [json.dumps(_line(request, missing)) for request, missing in chunk]
        file = self._client.files.create(
            file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch"
        )
        batch = self._client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        self._store.add_batch(batch.id, bound)
        self._say(f"batch {batch.id}: {len(chunk):,} requests handed in")

    def fetch(
        self, requests: Iterable[Request], *, wait: bool = False, poll: float = POLL
    ) -> list[str]:
        """Fetch the answers of every open batch that is over; the ids of those that are not yet.

        ``wait`` looks again every ``poll`` seconds until all are over. Requests that failed are
        left for the next batch.
        """
        known = {request.key.hex(): request for request in requests}
        while True:
            still = [
                batch_id
                for batch_id, bound in self._store.open_batches()
                if not self._fetched(batch_id, bound, known)
            ]
            if not still or not wait:
                return still
            time.sleep(poll)

    def _fetched(self, batch_id: str, bound: int, known: dict[str, Request]) -> bool:
        batch = self._client.batches.retrieve(batch_id)
        counts = batch.request_counts
        done = f", {counts.completed} of {counts.total} answered" if counts else ""
        self._say(f"batch {batch_id}: {batch.status}{done}")
        if batch.status not in _OVER:
            return False
        spent = 0
        for line in self._lines(batch):
            request = known.get(str(line.get("custom_id", "")).partition(":")[0])
            body = (line.get("response") or {}).get("body") or {}
            if request is None or not body.get("choices"):
                continue
            samples = self._samples(line["custom_id"], body)
            cost = sum(sample.cost for sample in samples.values())
            self._store.settle(request.key, request.body, samples, bound=cost)
            spent += cost
        self._store.release(bound - spent)
        self._store.close_batch(batch_id)
        return True

    def _samples(self, custom_id: str, body: dict[str, Any]) -> dict[int, Any]:
        numbers = [int(number) for number in custom_id.partition(":")[2].split(",")]
        texts = [
            (number, choice["message"].get("content") or "", choice.get("finish_reason") or "")
            for number, choice in zip(numbers, body["choices"], strict=False)
        ]
        usage = body["usage"]
        prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
        return share(texts, prompt, completion, self._price.cost(prompt, completion))

    def _lines(self, batch: openai.types.Batch) -> Iterator[dict[str, Any]]:
        if batch.output_file_id:
            for line in self._client.files.content(batch.output_file_id).text.splitlines():
                yield json.loads(line)


def _line(request: Request, missing: list[int]) -> dict[str, Any]:
    """One request of a batch; its id says which samples its answers are."""
    many = {"n": len(missing)} if len(missing) > 1 else {}
    return {
        "custom_id": f"{request.key.hex()}:{','.join(map(str, missing))}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": request.body | many,
    }

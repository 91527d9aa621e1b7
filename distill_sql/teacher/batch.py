"""The Batch API: the same questions at half the price, outside the daily request limit.

Files of requests are submitted, and their answers are fetched up to a day later into the same
store. The endpoint's queue has a token limit, so a large dataset is submitted in several batches,
one after another. The record of each batch (:mod:`distill_sql.teacher.handed_in`) is all that
fetching needs. A request that comes back without an answer goes into the next batch.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable

from distill_sql.errors import TeacherError
from distill_sql.teacher.batch_answers import Fetcher
from distill_sql.teacher.batch_api import BatchApi, RefusedError
from distill_sql.teacher.batch_lines import custom_id
from distill_sql.teacher.handed_in import Batch, HandedIn, Item
from distill_sql.teacher.prices import Price, dollars
from distill_sql.teacher.store import Store
from distill_sql.teacher.work import MESSAGE_TOKENS, Request, Settings

#: Maximum requests in one batch and bytes of its file; the API allows 50,000 and 200 MB.
SIZE = 40_000
FILE_SIZE = 180_000_000
#: Maximum prompt tokens in all pending batches: Tier 1's queue for gpt-4o-mini. Spider's training
#: questions have 5 to 6 million.
ENQUEUED_TOKENS = 2_000_000
#: Seconds between two polls of a batch.
POLL = 30.0


class Batches:
    """Submits the requests whose answers the store lacks, and fetches the answers.

    ``price`` is the full price, ``cap`` the limit on all spending with this store (nano-dollars),
    and ``url`` the endpoint's address if it is not the settings' base URL. ``enqueued_tokens`` is
    the token limit of the endpoint's queue, ``size`` the maximum number of requests in a batch.
    """

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
        enqueued_tokens: int = ENQUEUED_TOKENS,
        say: Callable[[str], None] = print,
    ) -> None:
        if enqueued_tokens < 1:
            raise TeacherError(f"--enqueued-tokens is {enqueued_tokens}; expected 1 or more.")
        self.settings = settings
        self._store = store
        self._handed = HandedIn(store)
        self._price = price.halved()
        self._cap = cap
        self._size = size
        self._queue = enqueued_tokens
        self._say = say
        # A final slash does not matter, as in the key of a request.
        self._home = settings.base_url.rstrip("/")
        self._api = BatchApi(url or settings.base_url, api_key=api_key)
        self._fetcher = Fetcher(
            self._handed, self._api, base_url=self._home, price=self._price, say=say
        )

    # --- Submitting ---------------------------------------------------------------------------

    def submit(self, requests: Iterable[Request]) -> int:
        """Submit the requests with missing samples while the queue has room; returns the number of
        batches.

        Requests that are in a batch, or that another process is asking, are skipped. Raises
        :class:`TeacherError` if the endpoint refuses a batch, or if the batch does not fit in the
        budget and no batch is pending that may release some of it.
        """
        waiting = deque(request for request in requests if self._missing(request))
        count = 0
        while waiting:
            chunk = self._chunk(waiting)
            try:
                if not chunk or not self._hand_in(chunk):
                    break
            finally:
                for item in chunk:
                    self._store.unclaim(item.key)
            count += 1
        return count

    def waiting(self, requests: Iterable[Request]) -> list[Request]:
        """The ``requests`` that have missing samples and are in no batch."""
        return [request for request in requests if self._missing(request)]

    def _missing(self, request: Request) -> tuple[int, ...]:
        if self._store.batch_of(request.key):
            return ()
        return tuple(self._store.missing(request.key, self.settings.samples))

    def _chunk(self, waiting: deque[Request]) -> list[Item]:
        """Claim the next requests that fit in queue and file; at least one if the queue is idle."""
        room, is_idle = self._handed.room(self._home, self.settings.model, self._queue)
        chunk: dict[bytes, Item] = {}
        tokens = size = 0
        while waiting and len(chunk) < self._size:
            item = self._item(waiting[0])
            tokens += item.tokens
            size += len(_line(item)) + 1
            if (tokens > room or size > FILE_SIZE) and (chunk or not is_idle):
                break
            request = waiting.popleft()
            if item.key in chunk or not self._store.claim(item.key):
                continue
            if item.numbers and self._missing(request) == item.numbers:
                chunk[item.key] = item
            else:  # another process was faster
                self._store.unclaim(item.key)
        return list(chunk.values())

    def _item(self, request: Request) -> Item:
        numbers = self._missing(request)
        bound = self._price.cost(request.prompt_bound, len(numbers) * self.settings.max_tokens)
        # A token usually has four bytes. Three is safer: a batch that exceeds the queue fails.
        tokens = sum(len(m["content"].encode()) // 3 + MESSAGE_TOKENS for m in request.messages)
        return Item(request.key, numbers, bound, request.body, tokens)

    def _hand_in(self, chunk: list[Item]) -> bool:
        """Submit one batch; False if it may fit in the budget later."""
        is_alone = not self._handed.under_way()
        number = secrets.token_hex(8)
        self._store.claim(number.encode())  # so that other processes see that it is being submitted
        try:
            if not self._handed.start(
                number, chunk, url=self._home, price=self._price, cap=self._cap
            ):
                return self._over_budget(chunk, is_alone=is_alone)
            content = b"\n".join(map(_line, chunk))
            try:
                file = self._api.upload(content)
            except TeacherError:
                self._handed.forget(number)
                raise
            self._handed.uploaded(number, file)
            try:
                name = self._api.create(file)
            except RefusedError:
                self._handed.forget(number)
                raise
            self._handed.sent(number, name)
        finally:
            self._store.unclaim(number.encode())
        self._say(self._api.line(f"batch {name}: {len(chunk):,} requests submitted"))
        return True

    def _over_budget(self, chunk: list[Item], *, is_alone: bool) -> bool:
        assert self._cap is not None
        found = (
            f"{len(chunk):,} requests may cost {dollars(sum(item.bound for item in chunk))}, which "
            f"does not fit in the budget of {dollars(self._cap)} with "
            f"{dollars(self._store.spent())} spent or booked."
        )
        if is_alone:
            raise TeacherError(
                f"{found} Raise --budget, or lower --limit, --max-tokens or --enqueued-tokens."
            )
        self._say(f"{found} They wait until the pending batches release some of it.")
        return False

    # --- Fetching -----------------------------------------------------------------------------

    def fetch(
        self, requests: Iterable[Request] = (), *, wait: bool = False, poll: float = POLL
    ) -> list[str]:
        """Fetch the answers of every finished batch; returns the names of the pending ones.

        ``wait`` polls every ``poll`` seconds until all batches are finished, and submits the rest
        of ``requests`` when the queue has room. A request that came back without an answer is left
        for the next call. Raises :class:`TeacherError`, after all batches were polled, if one
        cannot be fetched now, or failed in a way that a smaller batch would, too.
        """
        requests, unanswered = list(requests), set[bytes]()
        while True:
            still, problems = self._look(unanswered)
            if problems:
                raise problems[0]
            if not wait:
                return still
            left = [request for request in requests if request.key not in unanswered]
            if not self.submit(left) and not still:
                return []
            time.sleep(poll)

    def _look(self, unanswered: set[bytes]) -> tuple[list[str], list[TeacherError]]:
        """Poll every batch once; returns the pending ones and the errors."""
        still: list[str] = []
        problems: list[TeacherError] = []
        for batch in self._handed.under_way():
            if batch.url not in ("", self._home):
                self._say(f"batch {batch.name} is at {batch.url}: fetch it with this --base-url")
                continue
            try:
                if not batch.name and self._was_never_made(batch):
                    continue
                rest = self._fetcher.fetch(batch) if batch.name else None
                if rest is None:
                    still.append(batch.name or batch.id)
                else:
                    unanswered.update(item.key for item in rest)
            except TeacherError as error:
                problems.append(error)
        return still, problems

    def _was_never_made(self, batch: Batch) -> bool:
        """Whether a batch whose submission was interrupted is not at the endpoint."""
        if not self._store.claim(batch.id.encode()):
            return False  # another process is submitting it now
        try:
            name = self._api.find(batch.file) if batch.file else None
            if name:
                self._handed.sent(batch.id, name)
            else:
                self._handed.forget(batch.id)
            return not name
        finally:
            self._store.unclaim(batch.id.encode())


def _line(item: Item) -> bytes:
    """One request as a line of the batch's file."""
    many = {"n": len(item.numbers)} if len(item.numbers) > 1 else {}
    record = {
        "custom_id": custom_id(item.key, item.numbers),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {**item.body, **many},
    }
    return json.dumps(record).encode()

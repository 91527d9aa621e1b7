"""Asks an OpenAI-compatible endpoint many questions concurrently.

All samples of a question are requested together if the endpoint supports it, since the prompt is
then paid for once. The number of concurrent requests adapts: it is halved on rate limits (429) and
raised slowly otherwise. Retry-After and the rate-limit headers are followed. A limit that lasts for
hours ends the run; the same command continues it. A request is claimed in the store before it is
sent, so processes that share a cache do not ask it twice. A malformed answer can make its question
fail; the run goes on unless :data:`SEVERAL` questions fail in the same way before any was answered.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from distill_sql.errors import TeacherError
from distill_sql.teacher.addresses import STARTED, split_login
from distill_sql.teacher.attempts import Attempts, Outcome, unreachable
from distill_sql.teacher.pace import LONGEST_PAUSE, Pace, backoff, in_words
from distill_sql.teacher.prices import Price
from distill_sql.teacher.refusals import FailedError, RetryError, StopError
from distill_sql.teacher.secrets import checked_key, one_line, redact
from distill_sql.teacher.store import Store
from distill_sql.teacher.wire import NotSentError, Wire
from distill_sql.teacher.work import Request, Settings

__all__ = ["Outcome", "Teacher", "check_concurrency"]

#: Attempts at one request before its question fails in this run; an attempt that may have been
#: charged counts twice.
ATTEMPTS = 10
#: The run ends if this many questions fail in the same way before any was answered.
SEVERAL = 5
#: Seconds between two polls of requests that another process is asking.
LOOK = 0.2
#: Maximum number of concurrent requests: the number of connections that the transport keeps.
MOST_AT_ONCE = 1000


class Teacher:
    """Fetches the samples that the store lacks.

    ``cap`` limits all spending with this store, in nano-dollars (None for no limit).
    ``concurrency`` is the maximum number of concurrent requests. ``url`` is the endpoint's address,
    by default the settings' base URL; it may contain a login. ``timeout`` is in seconds for a
    request and its whole answer. Raises :class:`TeacherError` for an invalid key or address.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        api_key: str,
        price: Price,
        cap: int | None = None,
        concurrency: int = 16,
        url: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        check_concurrency(concurrency)
        if not 0 < timeout < math.inf:
            raise TeacherError(f"The timeout is {timeout}; expected a number of seconds above 0.")
        self.settings = settings
        self.outcome = Outcome()
        self.pace = Pace(concurrency)
        self._store = store
        self._key = checked_key(api_key)
        self._concurrency = concurrency
        self._url, self._login = split_login(url or settings.base_url)
        if self._url in STARTED:
            raise TeacherError(
                "A teacher on this machine has no address of its own: give the address of its "
                "server."
            )
        self._secrets = (self._key, *(self._login or ())[1:])
        self._timeout = timeout
        self._attempts = Attempts(
            settings, store, self.outcome, price=price, cap=cap, pace=self.pace, url=self._url,
            secrets=self._secrets,
        )  # fmt: skip
        self._heeds_n = False  # one request returned several samples
        self._needs_one = 0  # questions refused for n > 1 and answered for n = 1
        self._found_some = False  # some questions were answered before this run
        self._failures: Counter[str] = Counter()
        self._busy: set[bytes] = set()
        self._aside: list[Request] = []
        self._fatal: TeacherError | None = None

    def run(self, requests: Iterable[Request], *, total: int | None = None) -> Outcome:
        """Ask for everything that is missing.

        Raises :class:`TeacherError` if the endpoint cannot be used at all: a wrong key or address,
        an unknown model, a server with another protocol.
        """
        with ThreadPoolExecutor(1) as pool:  # a notebook's thread already runs an event loop
            future = pool.submit(asyncio.run, self._run(iter(requests), total))
            try:
                return future.result()
            except KeyboardInterrupt:
                self.stop("interrupted")  # pending requests may finish: they are paid for
                return future.result()

    async def _run(self, requests: Iterator[Request], total: int | None) -> Outcome:
        start = time.monotonic()
        try:
            wire = Wire(self._url, api_key=self._key, login=self._login, timeout=self._timeout)
        except NotSentError as error:
            raise unreachable(self._url, one_line(str(error), *self._secrets)) from None
        async with wire:
            with tqdm(total=total, desc="asking", unit="question", disable=total is None) as bar:
                await self._work_all(wire, requests, bar)
                await self._come_back(wire, bar)
        self.outcome.seconds = time.monotonic() - start
        # With fewer questions than SEVERAL, the common failure is reported here.
        failed = self.outcome.failed
        if not (self.outcome.stopped or self._attempts.answered or self._found_some):
            for kind in [kind for kind, count in self._failures.items() if count == len(failed)]:
                self._end(self._hopeless(kind, next(iter(failed.values()))))
        if self._fatal:
            raise self._fatal
        return self.outcome

    def stop(self, why: str) -> None:
        """End the run early; may be called from any thread. Pending requests are not sent again."""
        self.outcome.stopped = self.outcome.stopped or redact(why, *self._secrets)

    def _end(self, why: str) -> None:
        """End the run with an error."""
        self.stop(why)
        self._fatal = self._fatal or TeacherError(redact(why, *self._secrets))

    async def _work_all(self, wire: Wire, requests: Iterator[Request], bar: Any) -> None:
        await asyncio.gather(*(self._work(wire, requests, bar) for _ in range(self._concurrency)))

    async def _come_back(self, wire: Wire, bar: Any) -> None:
        """Ask the requests that were claimed by others, once these have released them."""
        patience = ATTEMPTS * (self._timeout + LONGEST_PAUSE)
        deadline = time.monotonic() + patience
        while self._aside and not self.outcome.stopped:
            waiting, self._aside = self._aside, []
            await self._work_all(wire, iter(waiting), bar)
            if len(self._aside) < len(waiting):
                deadline = time.monotonic() + patience
            elif time.monotonic() < deadline:
                await asyncio.sleep(LOOK)
            else:
                why = f"another process has held it for {in_words(patience)}"
                self.outcome.failed |= {r.example.question_id: why for r in self._aside}
                return

    async def _work(self, wire: Wire, requests: Iterator[Request], bar: Any) -> None:
        while not self.outcome.stopped:
            request = next(requests, None)
            if request is None:
                return
            try:
                if not await self._is_done(wire, request):
                    self._aside.append(request)
                    continue
            except StopError as stop:
                self.stop(str(stop))
            except TeacherError as error:
                self._end(str(error))
            except sqlite3.Error as error:
                self._end(f"{self._store.path} cannot be read or written ({error}).")
            except FailedError as error:
                self._fail(request, str(error), error.kind)
            bar.update()

    def _fail(self, request: Request, why: str, kind: str) -> None:
        self.outcome.failed[request.example.question_id] = redact(why, *self._secrets)
        if kind:
            self._failures[kind] += 1
            if self._failures[kind] == SEVERAL and not self._attempts.answered:
                self._end(self._hopeless(kind, why))

    def _hopeless(self, kind: str, why: str) -> str:
        return (
            f"Every question fails with {kind}, and none was answered: {why}. Check the model "
            f"{self.settings.model!r}, the settings and the address {self._url}."
        )

    async def _is_done(self, wire: Wire, request: Request) -> bool:
        """Ask one question; False if another process is asking it now."""
        if not self._missing(request):
            self._found_some = True
            return True
        # A claim keeps out other stores only; ``_busy`` keeps a question that occurs twice in this
        # run from being asked twice at once.
        if request.key in self._busy or not self._store.claim(request.key):
            return False
        self._busy.add(request.key)
        try:
            batch = self._store.batch_of(request.key)
            if batch:
                raise FailedError(
                    f"it is in batch {batch}, which is pending: fetch the batch first, with "
                    "`distill-sql teacher batch`"
                )
            await self._ask(wire, request)
        finally:
            self._busy.discard(request.key)
            self._store.unclaim(request.key)
        return True

    def _missing(self, request: Request) -> list[int]:
        return self._store.missing(request.key, self.settings.samples)

    async def _ask(self, wire: Wire, request: Request) -> None:
        failures, weight, one_by_one = 0, 0, False
        while missing := self._missing(request):
            if self.outcome.stopped:
                return
            one_by_one |= self._needs_one >= SEVERAL and not self._heeds_n
            wanted = missing[:1] if one_by_one else missing
            try:
                await self._attempts.make(wire, request, wanted)
            except RetryError as error:
                failures, weight = failures + 1, weight + error.weight
                if weight >= ATTEMPTS:
                    raise (StopError if error.unsent else FailedError)(str(error)) from None
                if error.pause:
                    await self._sleep(backoff(failures))
            except FailedError:
                # Some endpoints do not support `n`. If a request for a single sample fails as well,
                # so does the question.
                if len(wanted) == 1:
                    raise
                one_by_one = True
            else:
                self._heeds_n |= len(wanted) > 1
                self._needs_one += one_by_one and len(missing) == self.settings.samples

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but stop early if the run ends."""
        end = time.monotonic() + seconds
        while not self.outcome.stopped and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))


def check_concurrency(concurrency: int) -> None:
    """Raise :class:`TeacherError` if the number of concurrent requests is out of range."""
    if not 1 <= concurrency <= MOST_AT_ONCE:
        raise TeacherError(
            f"The concurrency is {concurrency}; expected 1 to {MOST_AT_ONCE} concurrent requests."
        )

"""Asking an OpenAI-compatible endpoint, many questions at a time.

All samples of a question are asked for in one request where the endpoint can do that, since the
prompt is then paid for once. How many requests are under way adapts: halved when the endpoint says
that there are too many (429), raised slowly while it does not. Retry-After and the rate-limit
headers are honoured; a limit that opens only in hours ends the run, which the same command takes up
again. Every attempt's highest cost is booked in the store before it is sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.teacher.prices import Price, dollars
from distill_sql.teacher.store import Sample, Store, share
from distill_sql.teacher.work import Request, Settings

if TYPE_CHECKING:
    import openai

#: Attempts at one request before its question is left out of this run.
ATTEMPTS = 10
#: Seconds that a limit may ask us to wait; a longer wait ends the run.
PATIENCE = 300.0
#: Longest pause between two attempts, in seconds.
LONGEST_PAUSE = 30.0


@dataclass
class Outcome:
    """What a run did. ``stopped`` says why it ended early, empty if it did not.

    ``cost`` is that of the answers, in nano-dollars, and ``seconds`` the wall time.
    """

    requests: int = 0
    samples: int = 0
    cost: int = 0
    seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)
    stopped: str = ""


class _Retry(Exception):
    """The attempt failed and may be repeated."""


class _Stop(Exception):
    """The run has to end; what is under way may finish."""


class Teacher:
    """Fetches the samples that the store lacks.

    ``cap`` is the most that may ever be spent with this store, in nano-dollars (None for no cap),
    ``concurrency`` the most requests under way, ``url`` where the endpoint is if not at the
    settings' base URL, ``timeout`` in seconds and per request.
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
        self.settings = settings
        self.outcome = Outcome()
        self._store = store
        self._api_key = api_key
        self._price = price
        self._cap = cap
        self._concurrency = concurrency
        self._url = url or settings.base_url
        self._timeout = timeout
        self._limit = float(concurrency)
        self._cut = self._open_at = 0.0
        self._active = self._sent = 0
        self._one_by_one = settings.samples == 1
        self._answered = False
        self._fatal: TeacherError | None = None

    def run(self, requests: Iterable[Request], *, total: int | None = None) -> Outcome:
        """Ask everything that is missing, and say what was done.

        Raises :class:`TeacherError` if the endpoint cannot be used at all: a wrong key or address,
        an unknown model, something that does not speak this protocol.
        """
        with ThreadPoolExecutor(1) as pool:  # a notebook's own thread has a loop running
            future = pool.submit(asyncio.run, self._run(iter(requests), total))
            try:
                return future.result()
            except KeyboardInterrupt:
                self._stop("interrupted")  # what is under way may finish: it is paid for
                return future.result()

    async def _run(self, requests: Iterator[Request], total: int | None) -> Outcome:
        start = time.monotonic()
        async with _client(self._url, self._api_key, self._timeout) as client:
            with tqdm(total=total, desc="asking", unit="question", disable=total is None) as bar:
                await asyncio.gather(
                    *(self._work(client, requests, bar) for _ in range(self._concurrency))
                )
        self.outcome.seconds = time.monotonic() - start
        if self._fatal:
            raise self._fatal
        return self.outcome

    def _stop(self, why: str) -> None:
        self.outcome.stopped = self.outcome.stopped or why

    async def _work(
        self, client: openai.AsyncOpenAI, requests: Iterator[Request], bar: Any
    ) -> None:
        while not self.outcome.stopped:
            request = next(requests, None)
            if request is None:
                return
            try:
                await self._ask(client, request)
            except _Stop as stop:
                self._stop(str(stop))
            except TeacherError as error:
                self._stop(str(error))
                self._fatal = self._fatal or error
            except _Retry as error:
                self.outcome.failed[request.example.question_id] = str(error)
            bar.update()

    async def _gate(self) -> None:
        """Wait while the endpoint wants a pause, or fewer requests at a time than are under way."""
        while True:
            wait = self._open_at - time.monotonic()
            if wait <= 0 and self._active < max(1, int(self._limit)):
                self._active += 1
                return
            await asyncio.sleep(min(max(wait, 0.01), 1.0))

    async def _ask(self, client: openai.AsyncOpenAI, request: Request) -> None:
        failures = 0
        missing = self._store.missing(request.key, self.settings.samples)
        while missing:
            wanted = missing[:1] if self._one_by_one else missing
            try:
                answered = await self._attempt(client, request, wanted)
                missing = [number for number in missing if number not in answered]
            except _Retry as error:
                failures += 1
                if failures == ATTEMPTS:
                    raise
                if self.outcome.stopped:
                    return
                pause = min(LONGEST_PAUSE, 0.25 * 2**failures) * random.uniform(0.5, 1)
                await asyncio.sleep(pause if "429" not in str(error) else 0)

    async def _attempt(
        self, client: openai.AsyncOpenAI, request: Request, missing: list[int]
    ) -> dict[int, Sample]:
        bound = self._price.cost(request.prompt_bound, len(missing) * self.settings.max_tokens)
        await self._gate()
        try:
            await self._book(bound)
            self._sent += 1
            try:
                samples = await self._send(client, request, missing, bound)
                self._store.settle(request.key, request.body, samples, bound=bound)
            finally:
                self._sent -= 1
        finally:
            self._active -= 1
        self._answered = True
        self._one_by_one |= len(samples) < len(missing)
        self._limit = min(self._concurrency, self._limit + 1 / self._limit)
        self.outcome.requests += 1
        self.outcome.samples += len(samples)
        self.outcome.cost += sum(sample.cost for sample in samples.values())
        return samples

    async def _book(self, bound: int) -> None:
        """Book the most that an attempt can cost; requests under way may give some of it back."""
        while not self._store.reserve(bound, self._cap):
            if self.outcome.stopped or not self._sent:
                assert self._cap is not None
                raise _Stop(
                    f"the budget of {dollars(self._cap)} is used up: "
                    f"{dollars(self._store.spent())} spent or booked, and the next request may "
                    f"cost {dollars(bound)}"
                )
            await asyncio.sleep(0.02)

    async def _send(
        self, client: openai.AsyncOpenAI, request: Request, missing: list[int], bound: int
    ) -> dict[int, Sample]:
        """One request. What was booked is taken back only where nothing was paid for certain."""
        import openai

        many = {"n": len(missing)} if len(missing) > 1 else {}
        try:
            # Not chat.completions.create, which checks every message against its types: that takes
            # as long as all the rest.
            response = await client.post(
                "/chat/completions",
                body=request.body | many,
                cast_to=openai.HttpxBinaryResponseContent,
            )
        except openai.APIStatusError as error:
            self._store.release(bound)
            raise self._refused(error, len(missing)) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            if type(cause).__name__ == "ConnectError":  # nothing was sent
                self._store.release(bound)
                if not self._answered:
                    raise TeacherError(
                        f"Nothing answers at {self._url}. Check the address, and that the server "
                        "runs."
                    ) from None
            raise _Retry(f"connection: {type(cause).__name__} {cause}".strip()) from None
        self._heed(response.response.headers)
        return self._read(response.content, request, missing)

    def _read(self, content: bytes, request: Request, missing: list[int]) -> dict[int, Sample]:
        """The samples in an answer; a body that cannot be read stays booked at its bound."""
        try:
            body = json.loads(content)
            texts = [
                (number, *_text(choice))
                for number, choice in zip(missing, body["choices"], strict=False)
            ]
            usage = body.get("usage") or {}
            prompt = int(usage.get("prompt_tokens") or 0)
            completion = int(usage.get("completion_tokens") or 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if not self._answered and content.lstrip()[:1] != b"{":
                raise TeacherError(
                    f"{self._url} answered with no OpenAI response but with "
                    f"{content[:60].decode(errors='replace')!r}. Give the address of an "
                    "OpenAI-compatible endpoint; it ends in /v1, as a rule."
                ) from None
            raise _Retry(f"a body that cannot be read ({type(error).__name__}: {error})") from None
        if not texts:
            raise _Retry("an answer without choices")
        if not usage:  # the endpoint does not say: what it may have been
            prompt, completion = request.prompt_bound, len(texts) * self.settings.max_tokens
        return share(texts, prompt, completion, self._price.cost(prompt, completion))

    def _refused(self, error: openai.APIStatusError, count: int) -> Exception:
        """What a status means: try again, end the run, or a mistake of the user's."""
        status, message = error.status_code, _message(error)
        if status == 429:
            return self._too_many(error, message)
        if status in (408, 409, 425) or status >= 500:
            self._heed(error.response.headers)
            return _Retry(f"status {status}: {message}")
        if status in (400, 422) and count > 1 and not self._one_by_one:
            self._one_by_one = True  # some endpoints know no `n`
            return _Retry(f"status {status}: {message}")
        hints = {
            401: "Set OPENAI_API_KEY to a key that is valid for this endpoint.",
            403: "Set OPENAI_API_KEY to a key that may use this model.",
            404: f"Check the model {self.settings.model!r} and the address {self._url}.",
        }
        hint = hints.get(status, "Change the request accordingly.")
        return TeacherError(f"The endpoint refuses with status {status}: {message} {hint}")

    def _too_many(self, error: openai.APIStatusError, message: str) -> Exception:
        now = time.monotonic()
        if now - self._cut > 1:  # one answer to many requests that were under way together
            self._cut = now
            self._limit = max(1.0, self._limit / 2)
        if "insufficient_quota" in json.dumps(error.body, default=str):
            return _Stop(f"the account has no credit left ({message})")
        headers = error.response.headers
        wait = retry_after(headers)
        if wait > PATIENCE:
            return _Stop(f"the endpoint's limit opens again in {_hours(wait)} ({message})")
        self._open_at = max(self._open_at, now + wait)
        return _Retry(f"status 429: {message}")

    def _heed(self, headers: Mapping[str, str]) -> None:
        """Pause where the headers say that the next request would be one too many."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                reset = seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
                if reset <= PATIENCE:
                    self._open_at = max(self._open_at, time.monotonic() + reset)


def _client(url: str, api_key: str, timeout: float) -> openai.AsyncOpenAI:
    try:
        import openai
    except ImportError as error:
        raise MissingDependencyError(
            "Asking a teacher needs the package openai: pip install 'distill-sql[teacher]'."
        ) from error
    return openai.AsyncOpenAI(base_url=url, api_key=api_key, timeout=timeout, max_retries=0)


def _text(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Text and finish reason of a choice."""
    message = choice["message"]
    if message.get("refusal"):
        return "", "refusal"
    return message.get("content") or "", choice.get("finish_reason") or ""


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body
    return " ".join(str(body or error.message).split())[:300]


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a refusal asks to wait: Retry-After, or the reset of the limit that is used up.

    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (2.0, 0.25, 0.0)
    """
    if "retry-after-ms" in headers:
        return seconds(f"{headers['retry-after-ms']}ms")
    if "retry-after" in headers:
        return seconds(headers["retry-after"])
    return max(
        (
            seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
            for what in ("requests", "tokens")
            if headers.get(f"x-ratelimit-remaining-{what}") == "0"
        ),
        default=0.0,
    )


def seconds(text: str) -> float:
    """A duration of the rate-limit headers; 0 if it is none.

    >>> [seconds(text) for text in ("7", "1.5s", "120ms", "6m0s", "1h2m", "soon")]
    [7.0, 1.5, 0.12, 360.0, 3720.0, 0.0]
    """
    with suppress(ValueError):
        return float(text)
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"([\d.]+)(ms|[smhd])", text)
    return float(sum(float(number) * units[unit] for number, unit in parts))


def _hours(wait: float) -> str:
    return f"{wait / 3600:.1f} hours" if wait >= 3600 else f"{wait / 60:.0f} minutes"

"""One request over HTTP, with an end in time and in size whatever the other side does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from distill_sql.errors import MissingDependencyError
from distill_sql.teacher.answers import unpacked

#: Seconds that a connection may take to come about.
CONNECT = 20.0
#: Bytes that are read of a body which is no answer.
EXCERPT = 65_536


@dataclass(frozen=True)
class Reply:
    """A response. ``is_cut`` says that its body is longer than what was read of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False

    @property
    def is_unpaid(self) -> bool:
        """Whether nothing was charged for certain: the one place that has the rule.

        Refusals (4xx, 429 among them), redirections and a 503 with Retry-After come before any
        model has run. After every other status the request keeps its booking: behind a gateway, a
        500, 502, 504, 52x or a plain 503 may come when the answer was made and charged for.
        """
        return 300 <= self.status < 500 or (self.status == 503 and "retry-after" in self.headers)


class NotSentError(Exception):
    """The request did not leave, so it cannot have been charged for.

    ``is_late`` is whether time ran out, which may be chance; other reasons come again.
    """

    def __init__(self, why: str, *, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


class LostError(Exception):
    """The request left, and no whole response came: it may have been charged for."""


class Wire:
    """Sends requests to one endpoint; use it as an async context manager.

    ``login`` is that of the address, user and password, if it has one. ``timeout`` is in seconds,
    for a request and its whole response. Raises :class:`NotSentError` if the proxy or certificates
    that the environment names cannot be used.
    """

    def __init__(
        self, url: str, *, api_key: str, login: tuple[str, str] | None, timeout: float
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError(
                "Asking a teacher needs the package openai: pip install 'distill-sql[teacher]'."
            ) from error
        self._timeout = timeout
        self._url = f"{url.rstrip('/')}/chat/completions"
        # The client's own calls read errors whole, of any size, and check every message against
        # its types, which takes as long as all the rest. Its headers are used, and its transport.
        try:
            self._http = openai.DefaultAsyncHttpxClient(
                timeout=openai.Timeout(None, connect=CONNECT), follow_redirects=False, auth=login
            )
        except Exception as error:
            raise NotSentError(_named(error)) from None
        self._client = openai.AsyncOpenAI(base_url=url, api_key=api_key, http_client=self._http)
        found = self._client.default_headers | self._client.auth_headers
        self._headers = {name: value for name, value in found.items() if isinstance(value, str)}
        self._headers["Accept-Encoding"] = "identity"

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def post(self, body: bytes, *, most: int) -> Reply:
        """The response to a chat completion, of which ``most`` bytes are read.

        Raises :class:`NotSentError` or :class:`LostError`.
        """
        is_sent, read = False, bytearray()
        status, headers = 0, dict[str, str]()

        async def content() -> AsyncIterator[bytes]:
            # It is asked for its bytes when the headers are out, and not before.
            nonlocal is_sent
            is_sent = True
            yield body

        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(
                    "POST",
                    self._url,
                    content=content(),
                    headers=self._headers | {"Content-Length": str(len(body))},
                ) as response,
            ):
                status, headers = response.status_code, dict(response.headers)
                most = most if 200 <= status < 300 else min(most, EXCERPT)
                async for chunk in response.aiter_raw():
                    read += chunk
                    if len(read) > most:
                        break
        except Exception as error:  # of httpx, h11, ssl, ...: what counts is how far it came
            is_late = isinstance(error, TimeoutError)
            if not is_sent:
                why = f"Connecting took over {self._timeout:g} s" if is_late else _named(error)
                is_late |= type(error).__name__ == "ConnectTimeout"
                raise NotSentError(why, is_late=is_late) from None
            if status < 300:
                why = f"no whole answer within {self._timeout:g} s" if is_late else _named(error)
                raise LostError(why) from None
        encoding = headers.get("content-encoding", "")
        content_read = unpacked(bytes(read[:most]), encoding, most)
        return Reply(status, headers, content_read, is_cut=len(read) > most)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()

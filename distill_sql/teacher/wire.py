"""One request over HTTP, with limits on time and size whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from distill_sql.errors import MissingDependencyError
from distill_sql.teacher.answers import unpacked

#: Connection timeout in seconds.
CONNECT = 20.0
#: Maximum bytes read of a body that is not an answer.
EXCERPT = 65_536


@dataclass(frozen=True)
class Reply:
    """A response. ``is_cut`` says that its body was longer than what was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False

    @property
    def is_unpaid(self) -> bool:
        """Whether certainly nothing was charged; this rule exists only here.

        Refusals (4xx, including 429), redirects and a 503 with Retry-After are sent before a model
        runs. After any other status the request stays booked: behind a gateway, a 500, 502, 504,
        52x or plain 503 may be sent although the answer was generated and charged.
        """
        return 300 <= self.status < 500 or (self.status == 503 and "retry-after" in self.headers)


class NotSentError(Exception):
    """The request was not sent, so it cannot have been charged.

    ``is_late`` says that it timed out, which may not happen again; other causes persist.
    """

    def __init__(self, why: str, *, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


class LostError(Exception):
    """The request was sent, but no complete response arrived: it may have been charged."""


class Wire:
    """Sends requests to one endpoint; use it as an async context manager.

    ``login`` is the user and password in the address, if any. ``timeout`` is in seconds for a
    request and its whole response. Raises :class:`NotSentError` if the proxy or certificates in the
    environment cannot be used.
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
        # The client's own calls read error bodies of any size and validate every message against
        # its types, which takes as long as all the rest. So only its headers and transport are
        # used.
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
        """Post a chat completion and return the response, of which at most ``most`` bytes are read.

        Raises :class:`NotSentError` or :class:`LostError`.
        """
        is_sent, read = False, bytearray()
        status, headers = 0, dict[str, str]()

        async def content() -> AsyncIterator[bytes]:
            # The transport asks for the body only after the headers were sent.
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
        except Exception as error:  # of httpx, h11, ssl, ...: what matters is whether it was sent
            is_late = isinstance(error, TimeoutError)
            if not is_sent:
                why = f"Connecting took over {self._timeout:g} s" if is_late else _named(error)
                is_late |= type(error).__name__ == "ConnectTimeout"
                raise NotSentError(why, is_late=is_late) from None
            if status < 300:
                why = f"no complete answer within {self._timeout:g} s" if is_late else _named(error)
                raise LostError(why) from None
        encoding = headers.get("content-encoding", "")
        content_read = unpacked(bytes(read[:most]), encoding, most)
        return Reply(status, headers, content_read, is_cut=len(read) > most)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()

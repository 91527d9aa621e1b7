"""One request to a server that sends arbitrary bytes."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from distill_sql.teacher.wire import EXCERPT, LostError, NotSentError, Reply, Wire

Handler = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def post(
    handler: Handler, *, timeout: float = 5.0, most: int = 10_000, key: str = "sk-test"
) -> tuple[Reply, bytes]:
    """The reply if ``handler`` answers, and the request that it got."""
    seen = bytearray()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while not seen.endswith(b"body") and (chunk := connection.recv(65_536)):
                seen.extend(chunk)
            handler(connection)

    async def run(port: int) -> Reply:
        url = f"http://127.0.0.1:{port}/v1/"
        async with Wire(url, api_key=key, login=None, timeout=timeout) as wire:
            return await wire.post(b"body", most=most)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            return asyncio.run(run(port)), bytes(seen)
        finally:
            with suppress(OSError):  # if nothing was sent, there was no connection
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            thread.join()


def sends(*parts: bytes) -> Handler:
    return lambda connection: connection.sendall(b"".join(parts))


def drips(head: bytes) -> Handler:
    def handler(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)

    return handler


def test_a_request_and_its_answer() -> None:
    reply, seen = post(sends(OK, b"content-length: 2\r\n\r\n", b"{}"))
    assert (reply.status, reply.body, reply.is_cut) == (200, b"{}", False)
    assert seen.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    lower = seen.lower()
    assert b"\r\nauthorization: bearer sk-test\r\n" in lower
    assert b"\r\naccept-encoding: identity\r\n" in lower
    assert b"\r\ncontent-length: 4\r\n" in lower
    assert b"transfer-encoding" not in lower


def test_a_slow_body_ends_at_the_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(LostError, match=r"no complete answer within 0\.5 s"):
        post(drips(OK + b"\r\n"), timeout=0.5)
    assert time.monotonic() - start < 2


def test_silence_ends_at_the_timeout() -> None:
    with pytest.raises(LostError, match=r"within 0\.2 s"):
        post(lambda connection: time.sleep(0.5), timeout=0.2)


def test_a_slow_refusal_is_a_refusal() -> None:
    reply, _ = post(drips(b"HTTP/1.1 429 X\r\n\r\nslow down"), timeout=0.3)
    assert (reply.status, reply.is_unpaid) == (429, True)
    assert reply.body.startswith(b"slow down")


def test_a_body_is_read_up_to_the_limit() -> None:
    def handler(connection: socket.socket) -> None:
        connection.sendall(OK + b"content-length: 400000000\r\n\r\n")
        for _ in range(400):
            connection.sendall(b"a" * 1_000_000)

    tracemalloc.start()
    try:
        reply, _ = post(handler, most=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(reply.body), reply.is_cut) == (100_000, True)
    assert peak < 30_000_000


def test_only_an_excerpt_of_a_refusal_is_read() -> None:
    handler = sends(b"HTTP/1.1 500 X\r\n\r\n", b"a" * (EXCERPT + 10))
    reply, _ = post(handler, most=10**7)
    assert len(reply.body) == EXCERPT


def test_a_compressed_answer_is_decompressed_up_to_the_limit() -> None:
    packed = gzip.compress(b" " * 20_000_000 + b"{}")
    head = OK + b"content-encoding: gzip\r\n\r\n"
    assert len(post(sends(head, packed), most=100_000)[0].body) == 100_000
    assert post(sends(head, gzip.compress(b"{}")))[0].body == b"{}"


@pytest.mark.parametrize(
    "sent",
    [b"", b"no HTTP at all\r\n\r\n", OK + b"content-length: 100\r\n\r\n{}",
     OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", OK[:20], OK + b"x: " + b"a" * 10**6],
)  # fmt: skip
def test_an_incomplete_response_is_lost(sent: bytes) -> None:
    with pytest.raises(LostError):
        post(sends(sent))


@pytest.mark.parametrize("key", ["a\nb", "a\r", "a\x00", "\u2014"])
def test_an_unsent_request_is_not_lost(key: str) -> None:
    """Keys are checked earlier; this is for other invalid header values."""
    with pytest.raises(NotSentError):
        post(sends(OK, b"\r\n"), key=key)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1", "foo://host/v1"]
)
def test_without_a_server_nothing_is_sent(url: str) -> None:
    async def run() -> None:
        async with Wire(url, api_key="k", login=None, timeout=5) as wire:
            await wire.post(b"body", most=100)

    with pytest.raises(NotSentError):
        asyncio.run(run())


def test_a_connection_timeout_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda *_, **__: asyncio.sleep(9))

    async def run() -> None:
        async with Wire("http://host/v1", api_key="k", login=None, timeout=0.2) as wire:
            await wire.post(b"body", most=100)

    with pytest.raises(NotSentError, match=r"Connecting took over 0\.2 s") as found:
        asyncio.run(run())
    assert found.value.is_late


@pytest.mark.parametrize("proxy", ["nonsense", "http://me:pw@127.0.0.1:9", "socks9://host:1"])
def test_an_unusable_proxy_is_an_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)

    async def run() -> None:
        async with Wire("http://host/v1", api_key="k", login=None, timeout=5) as wire:
            await wire.post(b"body", most=100)

    with pytest.raises(NotSentError):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "headers", "unpaid"),
    [(status, {}, True) for status in (301, 307, 400, 401, 404, 408, 413, 422, 429, 499)]
    + [(status, {}, False) for status in (200, 500, 501, 502, 503, 504, 520, 524, 529)]
    + [(503, {"retry-after": "5"}, True), (504, {"retry-after": "5"}, False)],
)
def test_statuses_after_which_nothing_was_charged(
    status: int, headers: dict[str, str], unpaid: bool
) -> None:
    assert Reply(status, headers, b"").is_unpaid is unpaid

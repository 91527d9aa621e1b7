"""An HTTP/1.1 server for JSON that trusts no client: who may ask, how much, and for how long.

Pages in a browser can send requests to this machine, too. What keeps them out: a request names one
of the server's own names (Host), which DNS rebinding cannot; it comes from no page of another
origin (Origin); and its body is declared as JSON, which a page may not send to other origins
without their consent (Fetch standard, CORS preflight). No consent is ever given.

Every wait has an end, and connections, heads and bodies have a bound (:class:`Limits`). Nothing is
logged. Left out: TLS, chunked and compressed bodies, HTTP/2; a proxy in front does that.
"""

from __future__ import annotations

import hmac
import io
import json
import re
import reprlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn
from typing import Any, TypeAlias

from distill_sql.students.head import Head, Refused, authorities, read_head

#: Connections beyond the bound that are told so; those beyond these are closed at once.
RESERVE = 64
#: What a body is answered with, as JSON; the second argument says whether the client is gone.
Route: TypeAlias = Callable[[bytes, Callable[[], bool]], Any]


@dataclass(frozen=True)
class Limits:
    """What a client may take.

    In seconds: ``idle`` until the next request begins, ``head`` and ``body`` to send them whole,
    ``write`` to take the answer, ``linger`` to take an answer that ends the connection. Then the
    most ``connections`` at a time, and the most bytes of a body.
    """

    idle: float = 60.0
    head: float = 10.0
    body: float = 30.0
    write: float = 30.0
    linger: float = 1.0
    connections: int = 512
    body_bytes: int = 1 << 20


LIMITS = Limits()


class Server(ThreadingMixIn, TCPServer):
    """Answers ``routes``, by method and path; ready to ``serve_forever``.

    ``allowed`` are names or addresses, with a port if it is another one, that are served besides
    loopback's and ``host``. ``key`` is asked of every request unless it is empty. ``on_close`` is
    called when the server closes. Raises OSError if it cannot listen at ``host`` and ``port``.
    """

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[tuple[str, str], Route],
        *,
        allowed: Sequence[str] = (),
        key: str = "",
        limits: Limits = LIMITS,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.routes = routes
        self.limits = limits
        self.closing = False
        self._key = key.encode()
        self._on_close = on_close
        self._open: dict[Any, bool] = {}
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        super().__init__(found[0][4], _Connection)  # type: ignore[arg-type]
        own = ("127.0.0.1", "localhost", "::1", host, str(self.server_address[0]), *allowed)
        self._hosts = frozenset(
            name for given in own for name in authorities(given, self.server_address[1])
        )

    def check(self, head: Head) -> Route:
        """The route that a request may have; refused if it may have none."""
        host, origin = head.one("host"), head.one("origin")
        if not host:
            raise Refused(400, "the header Host is missing")
        if host.lower() not in self._hosts:
            raise Refused(
                403,
                f"Host {reprlib.repr(host)} is not served here; expected localhost or 127.0.0.1 "
                "with the server's port, or a name that --host or --allow-host gives",
            )
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise Refused(403, "pages of other origins may not ask here")
        scheme, _, key = (head.one("authorization") or "").partition(" ")
        if self._key and not (
            scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._key)
        ):
            raise Refused(
                401, "expected the server's key: Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        route = self.routes.get((head.method, head.path))
        if route is not None:
            return route
        methods = sorted({method for method, path in self.routes if path == head.path})
        known = sorted({method for method, _ in self.routes})
        if methods or head.method not in known:
            allow = ", ".join(methods or known)
            raise Refused(
                405, f"{reprlib.repr(head.method)} is not answered here; expected {allow}",
                {"Allow": allow},
            )  # fmt: skip
        paths = ", ".join(f"{method} {path}" for method, path in self.routes)
        raise Refused(404, f"nothing is at {reprlib.repr(head.path)}; expected {paths}")

    def crowded(self, request: Any) -> bool:
        """Whether a connection is one too many."""
        return not self._open.get(request, False)

    def get_request(self) -> tuple[Any, Any]:
        """The next connection."""
        try:
            return super().get_request()
        except OSError:  # no file descriptor is left; asking again at once would take all time
            time.sleep(0.05)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own; far beyond the bound, close it."""
        if len(self._open) >= self.limits.connections + RESERVE:
            self.shutdown_request(request)
            return
        self._open[request] = len(self._open) < self.limits.connections
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, cancel what waits, and end every connection."""
        self.closing = True
        self._on_close()
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: what a client sends is not logged, nor what becomes of it."""


class _Timed(io.RawIOBase):
    """What a socket receives until a deadline; TimeoutError after it.

    A timeout of the socket itself would begin anew with every byte.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0

    def within(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Connection(BaseRequestHandler):
    """One connection: requests are answered one after another."""

    request: socket.socket
    server: Server

    def setup(self) -> None:
        self._raw = _Timed(self.request)
        self._stream = io.BufferedReader(self._raw)

    def handle(self) -> None:
        with suppress(OSError):  # the client is gone, or does not read
            if self.server.crowded(self.request):
                busy = "too many connections are open; ask later"
                self._refuse(Refused(503, busy, {"Retry-After": "1"}))
                return
            while not self.server.closing and self._serve():
                pass

    def _serve(self) -> bool:
        """Answer one request; whether another may follow."""
        self._raw.within(self.server.limits.idle)
        if not self._stream.peek(1):
            return False
        try:
            route, body, last = self._read()
        except Refused as refused:
            self._refuse(refused)
            return False
        except TimeoutError:
            self._refuse(Refused(408, "the request was not sent in time"))
            return False
        status, answer, headers = self._answer(route, body)
        self._send(status, answer, headers, last=last)
        return not last

    def _answer(self, route: Route, body: bytes) -> tuple[int, Any, Mapping[str, str]]:
        try:
            return 200, route(body, self._gone), {}
        except Refused as refused:
            return refused.status, refused.answer, refused.headers
        except BaseException as error:  # a panic in the tokenizer's Rust is no Exception
            failed = Refused(500, f"the server failed ({type(error).__name__})")
            return failed.status, failed.answer, failed.headers

    def _refuse(self, refused: Refused) -> None:
        """Send an error, and end the connection: where the next request begins is not known."""
        self._send(refused.status, refused.answer, refused.headers, last=True)
        # Closed with unread bytes, a connection is reset, and the client loses the answer.
        self.request.shutdown(socket.SHUT_WR)
        self._raw.within(self.server.limits.linger)
        while self._stream.read1(1 << 16):
            pass

    def _read(self) -> tuple[Route, bytes, bool]:
        self._raw.within(self.server.limits.head)
        head = read_head(self._stream)
        route = self.server.check(head)
        return route, self._body(head), head.last

    def _body(self, head: Head) -> bytes:
        length = head.one("content-length")
        if "transfer-encoding" in head.headers:
            raise Refused(400 if length else 411, "expected Content-Length, and no chunks")
        if head.method == "GET":
            if length not in (None, "0"):
                raise Refused(400, "expected a GET without a body")
            return b""
        kind = (head.one("content-type") or "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise Refused(415, f"Content-Type is {reprlib.repr(kind)}; expected application/json")
        if head.one("content-encoding") not in (None, "identity"):
            raise Refused(415, "expected a body without Content-Encoding")
        if length is None:
            raise Refused(411, "expected Content-Length")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise Refused(
                400, f"Content-Length is {reprlib.repr(length)}; expected a size in bytes"
            )
        limits = self.server.limits
        if int(length) > limits.body_bytes:
            raise Refused(413, f"the body is {length} bytes; expected {limits.body_bytes} at most")
        expected = head.one("expect")
        if expected is not None:
            if expected.lower() != "100-continue":
                raise Refused(417, "expected no Expect but 100-continue")
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._raw.within(limits.body)
        body = self._stream.read(int(length))
        if len(body) < int(length):
            raise Refused(400, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _gone(self) -> bool:
        """Whether the client has closed its side: it waits for no answer."""
        self.request.settimeout(0)
        try:
            return not self.request.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(self, status: int, answer: Any, headers: Mapping[str, str], *, last: bool) -> None:
        text = json.dumps(answer).encode()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(text)}",
            *(f"{name}: {value}" for name, value in headers.items()),
            *(["Connection: close"] if last else []),
        ]
        self._write("\r\n".join([*lines, "", ""]).encode() + text)

    def _write(self, data: bytes) -> None:
        self.request.settimeout(self.server.limits.write)
        self.request.sendall(data)  # the timeout is that of the whole

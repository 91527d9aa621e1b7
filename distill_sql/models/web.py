"""An HTTP server for JSON that trusts no client: access control and limits.

Web pages in a browser can also send requests to this machine. Three checks refuse them. The Host
header must be one of the server's names, which prevents DNS rebinding. The Origin header must not
be another origin. The content type must be JSON, which a page may not send to another origin
without a CORS preflight (Fetch standard), and the server never grants one.

Every wait has a timeout, and connections, heads and bodies have limits (:class:`Limits`). Tornado
parses requests: it answers a malformed one with 400, and closes the connection of one that is late
or far too long. Nothing is logged. TLS is left to a proxy in front of the server.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import reprlib
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias, cast
from weakref import WeakSet

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler, stream_request_body

from distill_sql.models.chat import Refused
from distill_sql.models.hosts import authorities

#: Connections above the limit that get an error response; further ones are closed at once.
RESERVE = 64
#: The most bytes of a head, and of a body that is read; a body above the limit is discarded.
HEAD, READ = 1 << 14, 1 << 25
#: Maps the body of a request to the JSON object of the response.
Route: TypeAlias = Callable[[bytes], Awaitable[dict[str, Any]]]

# Clients could fill a disk through tornado's log. Without a handler, Python writes it to stderr.
logging.getLogger("tornado").addHandler(logging.NullHandler())
logging.getLogger("tornado").propagate = False


@dataclass(frozen=True)
class Limits:
    """Limits of a client: the seconds until its next complete head (``idle``), for a body, and to
    read a response (``write``); concurrent connections; bytes of a body."""

    idle: float = 30.0
    body: float = 30.0
    write: float = 30.0
    connections: int = 512
    body_bytes: int = 1 << 20


class Server:
    """Serves ``routes``, by method and path. It listens at once, and responds in ``serve``.

    ``allowed`` are further host names or addresses besides loopback and ``host``, with a port if it
    differs. Every request must send ``key`` unless it is empty. ``on_close`` is called at the end.
    Raises OSError if it cannot listen at ``host`` and ``port``.
    """

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[tuple[str, str], Route],
        *,
        allowed: Sequence[str] = (),
        key: str = "",
        limits: Limits = Limits(),
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.answering: set[asyncio.Task[None]] = set()
        self._routes = routes
        self._key = key.encode()
        self._on_close = on_close
        self._stop: Future[None] = Future()
        family, *_, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._socket = socket.create_server(place[:2], family=family, backlog=256)
        self._socket.setblocking(False)
        address, self.port = self._socket.getsockname()[:2]
        own = ("127.0.0.1", "localhost", "::1", host, address, *allowed)
        self._hosts = frozenset(name for given in own for name in authorities(given, self.port))

    def serve(self) -> None:
        """Answer requests until ``close``, which cancels unanswered ones."""
        try:
            asyncio.run(self._serve())
        finally:
            self._on_close()

    def close(self) -> None:
        """End ``serve``; can be called from any thread."""
        with suppress(InvalidStateError):  # it is already ending
            self._stop.set_result(None)

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_quiet)
        http = self._http = _Bounded(
            Application(default_handler_class=_Handler, default_handler_args={"server": self}),
            max_header_size=HEAD,
            max_body_size=READ,
            idle_connection_timeout=self.limits.idle,
            body_timeout=self.limits.body,
        )
        http.most, http.late = self.limits.connections, WeakSet()
        http.add_sockets([self._socket])
        try:
            await asyncio.wrap_future(self._stop)
        finally:
            http.stop()
            for task in self.answering:
                task.cancel()
            if self.answering:
                await asyncio.wait(self.answering)
            await http.close_all_connections()

    def route(self, request: HTTPServerRequest) -> Route:
        """The route of a request, after access control; :class:`Refused` is raised otherwise."""
        headers, asked = request.headers, (str(request.method), request.path)
        if self._http.refuses(_stream(request)):
            raise Refused(503, "too many connections are open; retry later", {"Retry-After": "1"})
        # A repeated header is joined with a comma, so it equals none of the allowed values.
        host, origin = headers.get("Host", "").lower(), headers.get("Origin")
        if host not in self._hosts:
            raise Refused(
                403,
                f"Host {reprlib.repr(host)} is not served here; expected localhost or 127.0.0.1 "
                "with the server's port, or a name that --host or --allow-host gives",
            )
        if origin is not None and origin.lower() != f"http://{host}":
            raise Refused(403, "requests from pages of other origins are refused")
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._key)
        if self._key and not right:
            message = "expected the server's key: Authorization: Bearer KEY"
            raise Refused(401, message, {"WWW-Authenticate": "Bearer"})
        if asked not in self._routes:
            known = ", ".join(map(" ".join, self._routes))
            allow = ", ".join(method for method, path in self._routes if path == request.path)
            message = f"{reprlib.repr(' '.join(asked))} is not served here; expected {known}"
            raise Refused(405, message, {"Allow": allow}) if allow else Refused(404, message)
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            raise Refused(415, f"Content-Type is {reprlib.repr(kind)}; expected application/json")
        return self._routes[asked]


class _Bounded(HTTPServer):
    """Tornado's server with a limit on connections."""

    most: int
    late: WeakSet[IOStream]

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        if len(self._connections) >= self.most + RESERVE:
            stream.close()
            return
        if len(self._connections) >= self.most:
            self.late.add(stream)
        super().handle_stream(stream, address)

    def refuses(self, stream: IOStream) -> bool:
        """Whether a connection is above the limit; earlier connections are served."""
        return stream in self.late and len(self._connections) > self.most


@stream_request_body
class _Handler(RequestHandler):
    """One request. It is checked after its body was read: a connection that is closed with unread
    bytes is reset, and the client loses the response."""

    def initialize(self, server: Server) -> None:
        self._server = server
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= self._server.limits.body_bytes:
            self._body += chunk

    async def answer(self) -> None:
        route, most = self._server.route(self.request), self._server.limits.body_bytes
        if len(self._body) > most:
            raise Refused(413, f"the body is too long; expected {most} bytes at most")
        self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self._server.answering.add(self._task)
        self._task.add_done_callback(self._server.answering.discard)
        try:
            self.finish(await route(bytes(self._body)))
        except Refused:
            raise
        except asyncio.CancelledError:  # or the client is gone, and gets no response
            raise Refused(503, "the server is closing") from None
        except BaseException as error:  # a panic in the tokenizer's Rust is not an Exception
            raise Refused(500, f"the server failed ({type(error).__name__})") from None

    get = head = post = delete = patch = put = options = answer

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._task:
            self._task.cancel()

    def write_error(self, status_code: int, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        if not isinstance(error, Refused):  # an unknown method, or one for proxies
            error = Refused(status_code, HTTPStatus(status_code).phrase, {"Allow": "GET, POST"})
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.finish(error.answer)

    def finish(self, chunk: Any = None) -> asyncio.Future[None]:
        stream, written = _stream(self.request), super().finish(chunk)
        if not written.done():  # tornado would wait forever
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.limits.write, _leave, written, stream)
        return written


def _stream(request: HTTPServerRequest) -> IOStream:
    return cast(HTTP1Connection, request.connection).stream


def _leave(written: asyncio.Future[None], stream: IOStream) -> None:
    if not written.done():
        stream.close()


def _quiet(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log nothing. If file descriptors ran out, wait: accepting is retried in a busy loop."""
    if getattr(context.get("exception"), "errno", None) in (errno.EMFILE, errno.ENFILE):
        time.sleep(0.05)

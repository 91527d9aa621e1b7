"""An HTTP server for JSON that trusts no client: who may ask, how much, and for how long.

Pages in a browser can send requests to this machine, too. What keeps them out: a request names one
of the server's own names (Host), which DNS rebinding cannot; it comes from no page of another
origin (Origin); and its body is declared as JSON, which a page may not send to other origins
without their consent (Fetch standard, CORS preflight). No consent is ever given.

Every wait has an end, and connections, heads and bodies have a bound (:class:`Limits`). Tornado
reads requests: it answers a malformed one with 400, and closes the connection of one that is late
or far too long. Nothing is logged. Left out: TLS; a proxy in front does that.
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

#: Connections beyond the bound that are told so; those beyond these are closed at once.
RESERVE = 64
#: Most bytes of a head, and of a body that is read at all: too long, it is discarded, not kept.
HEAD, READ = 1 << 14, 1 << 25
#: What a body is answered with: an object of JSON.
Route: TypeAlias = Callable[[bytes], Awaitable[dict[str, Any]]]

# A client could fill a disk with what tornado logs about it. Without a handler, Python writes that
# to stderr.
logging.getLogger("tornado").addHandler(logging.NullHandler())
logging.getLogger("tornado").propagate = False


@dataclass(frozen=True)
class Limits:
    """What a client may take: seconds until the next head is sent whole (``idle``), to send a body,
    and to take an answer (``write``); connections at a time; bytes of a body."""

    idle: float = 30.0
    body: float = 30.0
    write: float = 30.0
    connections: int = 512
    body_bytes: int = 1 << 20


class Server:
    """Answers ``routes``, by method and path: listens at once, answers in ``serve``.

    ``allowed`` are names or addresses, with a port if it is another one, that are served besides
    loopback's and ``host``. ``key`` is asked of every request unless it is empty. ``on_close`` is
    called at the end. Raises OSError if it cannot listen at ``host`` and ``port``.
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
        """Answer requests until ``close``; what is unanswered then is cancelled."""
        try:
            asyncio.run(self._serve())
        finally:
            self._on_close()

    def close(self) -> None:
        """End ``serve``, from any thread."""
        with suppress(InvalidStateError):  # it is ending already
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
        """The route that a request may have; refused if it may have none."""
        headers, asked = request.headers, (str(request.method), request.path)
        if self._http.refuses(_stream(request)):
            raise Refused(503, "too many connections are open; ask later", {"Retry-After": "1"})
        # A header that is given twice is read as both with a comma, which is none of these values.
        host, origin = headers.get("Host", "").lower(), headers.get("Origin")
        if host not in self._hosts:
            raise Refused(
                403,
                f"Host {reprlib.repr(host)} is not served here; expected localhost or 127.0.0.1 "
                "with the server's port, or a name that --host or --allow-host gives",
            )
        if origin is not None and origin.lower() != f"http://{host}":
            raise Refused(403, "pages of other origins may not ask here")
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._key)
        if self._key and not right:
            message = "expected the server's key: Authorization: Bearer KEY"
            raise Refused(401, message, {"WWW-Authenticate": "Bearer"})
        if asked not in self._routes:
            known = ", ".join(map(" ".join, self._routes))
            allow = ", ".join(method for method, path in self._routes if path == request.path)
            message = f"{reprlib.repr(' '.join(asked))} is not answered here; expected {known}"
            raise Refused(405, message, {"Allow": allow}) if allow else Refused(404, message)
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            raise Refused(415, f"Content-Type is {reprlib.repr(kind)}; expected application/json")
        return self._routes[asked]


class _Bounded(HTTPServer):
    """Tornado's server with a bound on connections."""

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
        """Whether a connection is one too many: those that came before it are served."""
        return stream in self.late and len(self._connections) > self.most


@stream_request_body
class _Handler(RequestHandler):
    """One request. It is checked when its body has come: closed with unread bytes, a connection is
    reset, and the client loses the answer."""

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
        except asyncio.CancelledError:  # or the client is gone, and is told nothing
            raise Refused(503, "the server is closing") from None
        except BaseException as error:  # a panic in the tokenizer's Rust is no Exception
            raise Refused(500, f"the server failed ({type(error).__name__})") from None

    get = head = post = delete = patch = put = options = answer

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._task:
            self._task.cancel()

    def write_error(self, status_code: int, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        if not isinstance(error, Refused):  # a method that HTTP has not, or has for proxies
            error = Refused(status_code, HTTPStatus(status_code).phrase, {"Allow": "GET, POST"})
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.finish(error.answer)

    def finish(self, chunk: Any = None) -> asyncio.Future[None]:
        stream, written = _stream(self.request), super().finish(chunk)
        if not written.done():  # tornado would wait for ever
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.limits.write, _leave, written, stream)
        return written


def _stream(request: HTTPServerRequest) -> IOStream:
    return cast(HTTP1Connection, request.connection).stream


def _leave(written: asyncio.Future[None], stream: IOStream) -> None:
    if not written.done():
        stream.close()


def _quiet(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log nothing; without file descriptors left, accepting again at once would take all time."""
    if getattr(context.get("exception"), "errno", None) in (errno.EMFILE, errno.ENFILE):
        time.sleep(0.05)

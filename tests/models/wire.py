"""Raw HTTP: bytes sent to a server, and its responses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage, parse_headers
from threading import Thread
from typing import Any

from distill_sql.models.web import Server


@dataclass(frozen=True)
class Reply:
    status: int
    headers: HTTPMessage
    body: Any
    closed: bool  # whether the server said that it closes the connection

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


@contextmanager
def running(server: Server) -> Iterator[int]:
    """The port of a running server; its thread has ended afterwards."""
    thread = Thread(target=server.serve)
    thread.start()
    try:
        yield server.port
    finally:
        server.close()
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read(connection: socket.socket, *, bodiless: bool = False) -> Reply | None:
    """The next response on a connection; None if there is none."""
    with connection.makefile("rb") as stream:
        first = stream.readline()
        if not first:
            return None
        headers = parse_headers(stream)
        body = b"" if bodiless else stream.read(int(headers.get("Content-Length", "0")))
    closed = headers.get("Connection") == "close"
    return Reply(int(first.split()[1]), headers, json.loads(body) if body else None, closed)


def send(port: int, data: bytes, *, finish: bool = False) -> Reply | None:
    """The first response to bytes; ``finish`` closes the sending side."""
    with connect(port) as connection:
        try:
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            return read(connection, bodiless=data.startswith(b"HEAD "))
        except ConnectionError:
            return None


def request(
    port: int,
    *headers: str,
    method: str = "POST",
    path: str = "/echo",
    body: bytes = b"{}",
    without: tuple[str, ...] = (),
) -> bytes:
    """A valid request, with the given changes."""
    usual = {"Host": f"127.0.0.1:{port}"}
    if method == "POST":
        usual |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given = {line.partition(":")[0].lower() for line in headers}
    lines = [f"{k}: {v}" for k, v in usual.items() if k.lower() not in given and k not in without]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *headers, "", ""])
    return head.encode("latin-1") + (body if method == "POST" else b"")

"""Raw HTTP: bytes to a server, and what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from distill_sql.students.web import Server


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: Any
    closed: bool  # whether the server closed the connection behind it

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


@contextmanager
def running(server: Server) -> Iterator[int]:
    """The port of a server that serves meanwhile; it is closed with all its threads."""
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read(connection: socket.socket) -> Reply | None:
    """The next answer on a connection; None if there is none."""
    with connection.makefile("rb") as stream:
        first = stream.readline()
        if not first:
            return None
        headers = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name] = value
        body = stream.read(int(headers.get("Content-Length", "0")))
    closed = headers.get("Connection") == "close"
    return Reply(int(first.split()[1]), headers, json.loads(body) if body else None, closed)


def send(port: int, data: bytes, *, finish: bool = False) -> Reply | None:
    """The first answer to bytes; with ``finish``, the client says that nothing follows."""
    with connect(port) as connection:
        try:
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            return read(connection)
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
    """A good request, but for what is added, replaced or left out."""
    usual = {"Host": f"127.0.0.1:{port}"}
    if method == "POST":
        usual |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given = {line.partition(":")[0].lower() for line in headers}
    lines = [f"{k}: {v}" for k, v in usual.items() if k.lower() not in given and k not in without]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *headers, "", ""])
    return head.encode("latin-1") + (body if method == "POST" else b"")

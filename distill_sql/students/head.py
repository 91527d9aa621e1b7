"""The head of an HTTP/1.1 request, read so that it has one meaning or is refused.

What other servers read in different ways is an error here: a header given twice, one that goes on
in the next line, spaces around a name, control characters. Left out: HTTP/0.9, and paths that name
a host.
"""

from __future__ import annotations

import io
import re
import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

#: Longest line of a head, in bytes, and the most headers.
LINE, HEADERS = 8192, 100

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]{1,5})?")


class Refused(Exception):
    """A request that is answered with an error: status, message for the client, more headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    @property
    def answer(self) -> dict[str, Any]:
        """The error as OpenAI's endpoint writes it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind}}


@dataclass(frozen=True)
class Head:
    """A request without its body; header names are in lower case, values in order."""

    method: str
    path: str
    version: str
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The header of that name, None without one; refused if there are several."""
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise Refused(400, f"{name} is given {len(values)} times; expected it once")
        return values[0] if values else None

    @property
    def last(self) -> bool:
        """Whether the connection ends with this request."""
        words = ",".join(self.headers.get("connection", ())).lower().split(",")
        return self.version == "HTTP/1.0" or "close" in map(str.strip, words)


def read_head(stream: io.BufferedIOBase) -> Head:
    """The head of the next request on a stream; refused if it is malformed or too long."""
    words = _line(stream).split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not words[2].startswith("HTTP/"):
        raise Refused(400, "expected an HTTP/1.1 request: method, path and version")
    if words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise Refused(505, f"version {reprlib.repr(words[2])}; expected HTTP/1.1")
    headers: dict[str, list[str]] = {}
    for _ in range(HEADERS + 1):
        line = _line(stream)
        if not line:
            return Head(words[0], words[1].partition("?")[0], words[2], headers)
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Refused(400, "a header is malformed; expected NAME: VALUE on one line")
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    raise Refused(431, f"more than {HEADERS} headers")


def _line(stream: io.BufferedIOBase) -> str:
    line = stream.readline(LINE + 1)
    if len(line) > LINE:
        raise Refused(431, f"a line of the head is longer than {LINE} bytes")
    if not line.endswith(b"\n"):
        raise Refused(400, "the request ended within its head")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if _CONTROL.search(line):
        raise Refused(400, "a control character is in the head")
    return line.decode("latin-1")


def authorities(name: str, port: int) -> list[str]:
    """How a Host header may say ``name``, given with or without a port, at ``port``.

    Raises ValueError if it is no name.

    >>> authorities("Box", 8000), authorities("::1", 80), authorities("box:9000", 8000)
    (['box:8000'], ['[::1]:80', '[::1]'], ['box:9000'])
    """
    with suppress(ValueError):
        name = f"[{IPv6Address(name.partition('%')[0])}]"
    found = _NAME.fullmatch(name.lower())
    if not found:
        raise ValueError(f"{name!r} is no name of a host")
    host, own = found.groups()
    # Clients leave out the port that http has by itself.
    if (own or f":{port}") == ":80":
        return [f"{host}:80", host]
    return [f"{host}{own or f':{port}'}"]

"""The Host headers of a server."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address

_NAME = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]{1,5})?")


def authorities(name: str, port: int) -> list[str]:
    """The Host headers of a server that listens at ``port``; ``name`` may have its own port.

    Raises ValueError if it is not a host name.

    >>> authorities("Box", 8000), authorities("::1", 80), authorities("box:9000", 8000)
    (['box:8000'], ['[::1]:80', '[::1]'], ['box:9000'])
    """
    with suppress(ValueError):
        name = f"[{IPv6Address(name.partition('%')[0])}]"
    found = _NAME.fullmatch(name.lower())
    if not found:
        raise ValueError(f"{name!r} is not a host name")
    host, own = found.groups()
    # Clients omit HTTP's default port.
    if (own or f":{port}") == ":80":
        return [f"{host}:80", host]
    return [f"{host}{own or f':{port}'}"]

"""Addresses of endpoints: which are valid, and which belong to OpenAI or to this network."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from distill_sql.errors import TeacherError

OPENAI_URL = "https://api.openai.com/v1"
#: The address under which answers of the embedded teacher are stored, whatever its port.
EMBEDDED = "embedded"
#: The address under which answers of an open model are stored that is served for the run.
LOCAL = "local"
#: Both: their servers are started for a run, at a port of their own.
STARTED = (EMBEDDED, LOCAL)

_OWN_NETWORKS = [
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "0.0.0.0/32", "::1/128", "fc00::/7", "fe80::/10", "::/128",
    )
]  # fmt: skip


def checked(url: str) -> str:
    """``url`` stripped, with its host in lower case.

    Raises :class:`TeacherError`, which shows no login, if it is not a valid address.
    """
    url = url.strip()
    if url in STARTED:
        return url
    found = _found_wrong(url)
    if found:
        raise TeacherError(
            f"{_shown(url)} is not the address of an endpoint: {found}. Expected one such as "
            f"{OPENAI_URL} or http://localhost:8000/v1; give it with --base-url."
        )
    return urlunsplit(urlsplit(url)._replace(netloc=_netloc(urlsplit(url))))


def _found_wrong(url: str) -> str:
    if not url:
        return "it is empty"
    if not url.isprintable() or any(c.isspace() for c in url):
        return "it has white space or a control character"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        if host:
            host.encode("idna")
    except ValueError:
        return "its host or port cannot be read"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not host or not host.strip("."):
        return "it has no host"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return "it has a ? or # and text after it"
    if "@" in parts.path:
        return "it has an @ in its path (in a login, write / as %2F and ? as %3F)"
    return ""


def _netloc(parts: SplitResult) -> str:
    login, at, _ = parts.netloc.rpartition("@")
    host = (parts.hostname or "").rstrip(".")
    port = "" if parts.port is None else f":{parts.port}"
    return f"{login}{at}{f'[{host}]' if ':' in host else host}{port}"


def _shown(url: str) -> str:
    before, at, after = url.rpartition("@")
    return repr(f"{before.partition('//')[0]}//[hidden]@{after}" if at else url)


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """An address without its login, and the login: user and password.

    >>> split_login("https://me:p%40ss@host/v1")
    ('https://host/v1', ('me', 'p@ss'))
    """
    url = checked(url)
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_openai(url: str) -> bool:
    """Whether the address is OpenAI's: api.openai.com, or that of a region.

    >>> [is_openai(url) for url in (OPENAI_URL, "https://EU.api.openai.com./v1", "https://x.io")]
    [True, True, False]
    """
    return f".{_host(url)}".endswith(".api.openai.com")


def is_own(url: str) -> bool:
    """Whether the address is on this machine or in this network, where requests are free.

    These are loopback, private and link-local addresses, ``localhost``, names in ``.local``, and
    the teachers that are started for a run.

    >>> [is_own(url) for url in ("http://[fd00::1]:8000/v1", "http://box.local", "http://8.8.8.8")]
    [True, True, False]
    """
    host = _host(url)
    if url in STARTED or host == "localhost" or host.endswith((".local", ".localhost")):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in _OWN_NETWORKS)
    return False

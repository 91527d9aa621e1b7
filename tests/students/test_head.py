"""Heads of requests: each has one meaning, or is refused."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distill_sql.students.head import HEADERS, LINE, Head, Refused, authorities, read_head

TOKENS = st.text("abcXYZ019-_!~", min_size=1, max_size=9)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"))


def head(data: bytes) -> Head:
    return read_head(io.BytesIO(data))


@given(st.binary(max_size=400))
@example(b"GET / HTTP/1.1\r\n" * 3)
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    with suppress(Refused):
        head(data)
    with suppress(Refused):
        head(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n")


@given(TOKENS, st.text("/abc.%-", min_size=1), st.lists(st.tuples(TOKENS, VALUES), max_size=9))
def test_what_is_written_is_read(method: str, path: str, headers: list[tuple[str, str]]) -> None:
    lines = [f"{method} {path}?query HTTP/1.1", *(f"{name}: {value} " for name, value in headers)]
    for end in ("\r\n", "\n"):
        found = head(end.join([*lines, "", ""]).encode("latin-1"))
        assert (found.method, found.path) == (method, path)
        given = [(name, v) for name, values in found.headers.items() for v in values]
        assert sorted(given) == sorted((name.lower(), value) for name, value in headers)


def test_lengths_are_bounded() -> None:
    longest = b"A: " + b"b" * (LINE - 5) + b"\r\n"
    begun = b"GET / HTTP/1.1\r\n"
    assert head(begun + longest * HEADERS + b"\r\n").headers.keys() == {"a"}
    for more in (b"A: b" + longest, longest * HEADERS + b"A: b\r\n\r\n"):
        with pytest.raises(Refused) as error:
            head(begun + more)
        assert error.value.status == 431


@pytest.mark.parametrize("character", ["\x00", "\r", "\x0b", "\x1f", "\x7f"])
@pytest.mark.parametrize("line", ["GET /a{}b HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA: b{}Host: c\r\n"])
def test_control_characters_are_refused(line: str, character: str) -> None:
    with pytest.raises(Refused, match="a control character"):
        head(line.format(character).encode() + b"\r\n")


@pytest.mark.parametrize(
    ("headers", "version", "last"),
    [
        ({}, "HTTP/1.1", False),
        ({"connection": ["keep-alive"]}, "HTTP/1.1", False),
        ({"connection": ["Close"]}, "HTTP/1.1", True),
        ({"connection": ["a", "b ,close"]}, "HTTP/1.1", True),
        ({"connection": ["keep-alive"]}, "HTTP/1.0", True),
    ],
)
def test_when_a_connection_ends(headers: dict[str, list[str]], version: str, last: bool) -> None:
    assert Head("GET", "/", version, headers).last is last


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "*", "a:b", "a:123456", "[::g]", "http://a", "a\n"]
)
def test_what_is_no_name_of_a_host(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        authorities(name, 80)

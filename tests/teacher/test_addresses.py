from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.errors import TeacherError
from distill_sql.teacher.addresses import EMBEDDED, checked, is_openai, is_own, split_login


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "none", "localhost:8000/v1", "ftp://host/v1", "file:///etc/passwd", "http://",
        "http:///v1", "http:/host/v1", "//host/v1", "http://ho st/v1", "http://host/v 1",
        "http://host:port/v1", "http://host:99999/v1", "http://host/v1?x=1", "http://host/v1#a",
        "http://host/v1?", "http://[::1/v1", "http://host\x00/v1", "http://a..b/v1", "http://./v1",
        "https://me:p/w@host/v1", "http://me:1/w@host/v1", "host/v1", "https:// host",
    ],
)  # fmt: skip
def test_invalid_addresses_are_errors_with_the_fix(url: str) -> None:
    with pytest.raises(TeacherError, match="is not the address of an endpoint") as found:
        checked(url)
    assert "--base-url" in str(found.value)
    assert "w@" not in str(found.value)
    assert str(found.value).isprintable()


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_teacher_error(text: str) -> None:
    with suppress(TeacherError):
        assert checked(checked(text)) == checked(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" http://LOCALHOST:8000/v1/\n", "http://localhost:8000/v1/"),
        ("HTTPS://API.openai.com./v1", "https://api.openai.com/v1"),
        ("http://[FE80::1]:80/v1", "http://[fe80::1]:80/v1"),
        (EMBEDDED, EMBEDDED),
    ],
)
def test_spellings_of_an_address_are_normalized(url: str, expected: str) -> None:
    assert checked(url) == expected


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://me:pw@host/v1", ("me", "pw")),
        ("http://me:p@w@host/v1", ("me", "p@w")),
        ("http://me@host/v1", ("me", "")),
        ("http://me:p%2Fw@host/v1", ("me", "p/w")),
        ("http://host/v1", None),
    ],
)
def test_a_login_is_split_from_its_address(url: str, login: tuple[str, str] | None) -> None:
    assert split_login(url) == ("http://host/v1", login)


@pytest.mark.parametrize(
    ("host", "own", "openai"),
    [
        ("localhost", True, False),
        ("LocalHost.", True, False),
        ("a.localhost", True, False),
        ("gpu.local", True, False),
        ("GPU.Local.", True, False),
        ("127.0.0.1", True, False),
        ("127.9.9.9", True, False),
        ("[::1]", True, False),
        ("[::ffff:10.0.0.1]", True, False),
        ("10.1.2.3", True, False),
        ("172.16.0.1", True, False),
        ("172.31.255.255", True, False),
        ("192.168.1.1", True, False),
        ("169.254.1.1", True, False),
        ("[fd12::1]", True, False),
        ("[fe80::1]", True, False),
        ("172.32.0.1", False, False),
        ("11.0.0.1", False, False),
        ("192.169.0.1", False, False),
        ("[2001:db8::1]", False, False),
        ("[::ffff:8.8.8.8]", False, False),
        ("localhost.example.com", False, False),
        ("127.0.0.1.example.com", False, False),
        ("10.0.0.1.nip.io", False, False),
        ("notlocalhost", False, False),
        ("mylocal", False, False),
        ("2130706433", False, False),
        ("api.openai.com", False, True),
        ("API.OpenAI.com.", False, True),
        ("eu.api.openai.com", False, True),
        ("us.api.openai.com", False, True),
        ("api.openai.com.example.com", False, False),
        ("evilapi.openai.com", False, False),
        ("openrouter.ai", False, False),
    ],
)
@pytest.mark.parametrize("form", ["http://{}/v1", "https://{}:8443/v1", "http://me:pw@{}/v1"])
def test_addresses_of_openai_and_of_this_network(
    form: str, host: str, own: bool, openai: bool
) -> None:
    url = form.format(host)
    assert (is_own(url), is_openai(url)) == (own, openai)

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distill_sql.errors import TeacherError
from distill_sql.teacher.prices import OPENAI_URL
from distill_sql.teacher.secrets import NO_KEY, VARIABLE, api_key, checked_key, one_line, redact

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", " {}", "\t{} ", "\ufeff{}"])
def test_white_space_around_a_key_is_stripped(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, around.format("sk-some-key"))
    if "\ufeff" in around:
        with pytest.raises(TeacherError, match="not ASCII"):
            api_key(OPENAI_URL)
    else:
        assert api_key(OPENAI_URL) == "sk-some-key"


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("sk-secret one", "white space or a line break"),
        ("sk-secret\nsk-secret", "white space or a line break"),
        ("sk-secret\ra", "white space or a line break"),
        ("Bearer sk-secret", "white space or a line break"),
        ("sk-secret\x1ba", "control character"),
        ("sk-secret\x7f", "control character"),
        ("sk-secret\u2014", "not ASCII"),
        ("\u201csk-secret\u201d", "not ASCII"),
        ("sk-secret\udcff", "not ASCII"),
        ("", "it is empty"),
        (" \n", "it is empty"),
    ],
)
def test_an_invalid_key_is_an_error_and_not_shown(key: str, what: str) -> None:
    with pytest.raises(TeacherError, match=what) as found:
        checked_key(key)
    assert "secret" not in str(found.value)
    assert str(found.value).isascii()


def test_openai_needs_a_key_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  \n"):
        monkeypatch.setenv(VARIABLE, value)
        assert api_key("http://localhost:8000/v1") == NO_KEY
        for url in (OPENAI_URL, "https://eu.api.openai.com/v1", "https://API.OPENAI.COM./v1"):
            with pytest.raises(TeacherError, match="No key: set OPENAI_API_KEY"):
                api_key(url)


@given(PRINTABLE.filter(lambda key: len(key) >= 8), st.text(max_size=20), st.text(max_size=20))
def test_a_key_is_redacted_anywhere(key: str, before: str, after: str) -> None:
    assume(key not in f"{before}[hidden]{after}")
    assume(key not in "://[hidden]@ Bearer [hidden] sk-[hidden] =[hidden]")
    assert key not in redact(f"{before}{key}{after}", key)
    assert key not in one_line(f"{before}{key}{after}", key, length=12)


@pytest.mark.parametrize(
    "text",
    [
        "Illegal header value b'Bearer hunter2\\r'",
        "Incorrect API key provided: sk-hunter2.",
        "authorization: bearer hunter2, x",
        "Basic hunter2==",
        "http://me:hunter2@host/v1 is down",
        "http://me:hun@ter2@host/v1 is down",
        "me:hunter2@host refused",
        "proxy http://hunter2@host:3128",
        "https://host/v1?api_key=hunter2&x=1",
        '{"error": "key sk-proj-hunter2_a-b is wrong"}',
    ],
)
def test_text_that_looks_like_a_secret_is_redacted(text: str) -> None:
    shown = redact(text)
    assert "hidden" in shown
    for part in ("hunter2", "hun@", "ter2"):
        assert part not in shown


def test_a_short_key_leaves_words_whole() -> None:
    assert redact("no token: x is expected, x", "x") == "no token: [hidden] is expected, [hidden]"
    assert redact("none of it", NO_KEY) == "none of it"


@given(st.text(max_size=400))
def test_a_message_is_one_printable_line(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert len(shown) <= 300

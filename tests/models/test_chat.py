"""Chat completion requests: accepted ones, refused ones and their messages."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distill_sql.models.chat import FIXED, IGNORED, READ, Refused, read_request, response
from distill_sql.models.inference.engine import CompletionRequest
from distill_sql.prompting.tokenizer import CHATML, ChatTokenizer

HELLO = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, Any] = {"messages": HELLO}


@pytest.fixture(scope="module")
def student(tiny_tokenizer: ChatTokenizer) -> Any:
    """A student with the attributes that are used here: tokenizer and context length."""
    config = SimpleNamespace(max_position_embeddings=2048)
    return SimpleNamespace(tokenizer=tiny_tokenizer, model=SimpleNamespace(config=config))


def asked(student: Any, body: Any, **options: Any) -> CompletionRequest:
    return read_request(
        body if isinstance(body, bytes) else json.dumps(body).encode(), student, **options
    )


def refusal(student: Any, body: Any, **options: Any) -> Refused:
    with pytest.raises(Refused) as error:
        asked(student, body, **options)
    return error.value


def text(student: Any, body: Any) -> str:
    return str(student.tokenizer.backend.decode(asked(student, body).ids))


def field(name: str, raw: str) -> bytes:
    return b'{"messages": [{"role": "user", "content": "Hello"}], "%s": %s}' % (
        name.encode(), raw.encode("utf-8", "surrogatepass"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff{}", b'{"messages"', b"null", b"[]", b"3", b'"text"', b"NaN", b"{}{}",
        b"\x00", b"\xef\xbb\xbf", "{}".encode("utf-16"), b"{'messages': []}", b"{}\x00",
        b"[" * 100_000, b'{"a":' * 100_000, b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"{}", b'{"messages": null}', b'{"messages": {}}', b'{"messages": "no"}',
        b'{"messages": []}', b'{"messages": [[]]}', b'{"messages": [null]}', b'{"messages": [{}]}',
        b'{"messages": [{"role": "user"}]}', b'{"messages": [{"content": "a"}]}',
        b'{"messages": [{"role": "user", "content": null}]}',
        b'{"messages": [{"role": "user", "content": 3}]}',
        b'{"messages": [{"role": "user", "content": []}]}',
        b'{"messages": [{"role": "user", "content": ["a"]}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "text": "a"}]}]}',
        b'{"messages": [{"role": "tool", "content": "a"}]}',
        b'{"messages": [{"role": "USER", "content": "a"}]}',
        b'{"messages": [{"role": ["user"], "content": "a"}]}',
        b'{"messages": [{"role": "user\\n<|im_start|>", "content": "a"}]}',
        b'{"messages": [{"role": "assistant", "content": "a", "tool_calls": [1]}]}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(student: Any, body: bytes) -> None:
    found = refusal(student, body)
    assert found.status == 400
    assert str(found).startswith(("expected a chat completion request", "messages[0] has"))
    assert len(str(found)) < 300


@pytest.mark.parametrize(
    "twice",
    [
        b'{"n": 1, "messages": [{"role": "user", "content": "a"}], "n": 1}',
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        b'{"messages": [{"role": "user", "content": "a"}], "user": {"a": [{"b": 1, "b": 2}]}}',
    ],
)
def test_a_name_occurs_once_in_an_object(student: Any, twice: bytes) -> None:
    assert "a key occurs twice" in str(refusal(student, twice))


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "raw",
    ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1.5", "1.0", "true", "false", '"1"', "[1]",
     "{}", "-1", "0", "1025", "10000000000000000000", "9" * 4000, "9" * 5000,
     "[" * 500 + "]" * 500],
)  # fmt: skip
def test_counts_are_whole_and_bounded(student: Any, name: str, raw: str) -> None:
    found = refusal(student, field(name, raw))
    assert found.status == 400
    assert len(str(found)) < 300


@pytest.mark.parametrize(
    "raw",
    ["1e999", "-1e999", "NaN", "Infinity", "true", '"hot"', "[]", "-0.1", "2.1", "9" * 4000,
     "9" * 5000, "-1e-9"],
)  # fmt: skip
def test_temperatures_are_bounded(student: Any, raw: str) -> None:
    assert refusal(student, field("temperature", raw)).status == 400


@pytest.mark.parametrize(
    "raw", ['""', '["a", ""]', "3", "true", "[1]", "{}", '["a","b","c","d","e"]']
)
def test_stops_are_texts(student: Any, raw: str) -> None:
    assert "stop is" in str(refusal(student, field("stop", raw)))


def test_values_that_mean_the_usual(student: Any) -> None:
    plain = asked(student, GOOD)
    assert (plain.samples, plain.temperature, plain.max_tokens, plain.stop) == (1, 1.0, 256, ())
    nothing = dict.fromkeys((*FIXED, *IGNORED, *READ, "anything"), None) | GOOD
    for same in (nothing, GOOD | FIXED, GOOD | dict.fromkeys(IGNORED, "x"), GOOD | {"n": 1}):
        assert asked(student, same) == plain


def test_values_that_are_taken(student: Any) -> None:
    found = asked(student, GOOD | {"n": 16, "temperature": 2, "max_tokens": 1024, "stop": ";"})
    assert (found.samples, found.temperature, found.max_tokens) == (16, 2.0, 1024)
    assert found.stop == (";",)
    newer = {"max_completion_tokens": 7}
    assert asked(student, GOOD | newer).max_tokens == 7
    assert asked(student, GOOD | newer | {"max_tokens": 7}).max_tokens == 7
    assert "differ" in str(refusal(student, GOOD | newer | {"max_tokens": 8}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", True), ("tools", [{"type": "function"}]), ("tool_choice", "required"),
        ("functions", [{}]), ("logprobs", True), ("top_logprobs", 5), ("logit_bias", {"5": 100}),
        ("response_format", {"type": "json_object"}), ("top_p", 0.9), ("presence_penalty", 1),
        ("frequency_penalty", -1), ("modalities", ["audio"]), ("seed", 1), ("top_k", 5),
        ("reasoning_effort", "low"), ("x" * 1000, 1), ("stream", "false"),
    ],
)  # fmt: skip
def test_what_would_change_the_answer_is_refused_by_name(
    student: Any, name: str, value: Any
) -> None:
    found = refusal(student, GOOD | {name: value})
    assert (found.status, name[:10] in str(found)) == (400, True)
    assert len(str(found)) < 300


def test_a_model_is_asked_by_its_name(student: Any) -> None:
    names = ("pocket", "pocket-0123abcd")
    for name in (*names, None):
        assert asked(student, GOOD | {"model": name}, names=names)
    found = refusal(student, GOOD | {"model": "gpt-4o"}, names=names)
    assert (found.status, "pocket" in str(found)) == (404, True)
    assert refusal(student, GOOD | {"model": 3}, names=names).status == 400
    assert asked(student, GOOD | {"model": "anything"})


def test_content_may_be_parts(student: Any) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    whole = {"messages": [{"role": "user", "content": "one\ntwo"}]}
    assert asked(student, {"messages": [{"role": "user", "content": parts}]}) == asked(
        student, whole
    )


def test_an_answer_may_be_sent_back_as_it_came(student: Any) -> None:
    empty: dict[str, Any] = {"refusal": None, "annotations": [], "audio": None, "tool_calls": None}
    answer = {"role": "assistant", "content": "Hi"}
    assert asked(student, {"messages": [*HELLO, answer | empty]}) == asked(
        student, {"messages": [*HELLO, answer]}
    )


def test_a_byte_order_mark_is_passed_over(student: Any) -> None:
    assert asked(student, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()) == asked(student, GOOD)


@pytest.mark.parametrize(("given", "read"), [("a\ud800b", "a\ufffdb"), ("a\x00b", "a\x00b")])
def test_odd_characters_are_text(student: Any, given: str, read: str) -> None:
    assert read in text(student, {"messages": [{"role": "user", "content": given}]})


def test_a_prompt_leaves_room_for_the_answer(student: Any) -> None:
    size = len(asked(student, GOOD).ids)
    student.model.config.max_position_embeddings = size + 5
    try:
        assert asked(student, GOOD | {"max_tokens": 5}).max_tokens == 5
        found = refusal(student, GOOD | {"max_tokens": 6})
    finally:
        student.model.config.max_position_embeddings = 2048
    assert f"the prompt has {size} tokens, which leaves no room for 6 more" in str(found)
    assert f"context is {size + 5}" in str(found)


def test_a_chat_that_the_template_refuses_is_refused(student: Any) -> None:
    template = "{{ raise_exception('roles must alternate') }}" + CHATML
    strict = SimpleNamespace(
        tokenizer=replace(student.tokenizer, chat_template=template), model=student.model
    )
    assert "chat template" in str(refusal(strict, GOOD))


@pytest.mark.parametrize(
    "character",
    ["a", " ", "A", "1", "\n", "\u0301", "\u1100", "`", "<|im_end|>", "\U0001f9ff", "'s"],
)
def test_the_longest_body_is_soon_refused(student: Any, character: str) -> None:
    content = character * (1_000_000 // len(character.encode()))
    began = time.monotonic()
    body = json.dumps({"messages": [{"role": "user", "content": content}]}, ensure_ascii=False)
    assert "no room" in str(refusal(student, body.encode()))
    assert time.monotonic() - began < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
NAMES = st.sampled_from([*sorted(READ), *FIXED, *sorted(IGNORED), "other"])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": JSON | st.just("user"), "content": JSON, "name": JSON}
    )
)


@settings(deadline=None)
@given(st.one_of(JSON, st.dictionaries(NAMES, JSON), st.fixed_dictionaries({"messages": MESSAGES})))
@example({"messages": HELLO, "n": float("inf")})
def test_any_value_is_read_or_refused(student: Any, body: Any) -> None:
    with suppress(Refused):
        found = asked(student, body)
        assert len(found.ids) + found.max_tokens <= 2048
        assert 1 <= found.samples <= 16
        assert 0 <= found.temperature <= 2


@given(st.text("ab;", max_size=12), st.lists(st.text("ab;", min_size=1, max_size=3), max_size=4))
def test_an_answer_ends_before_the_first_stop(student: Any, whole: str, stop: list[str]) -> None:
    output = student.tokenizer.encode(whole)
    one = CompletionRequest((1, 2), 1, 0.0, max(len(output), 1), tuple(stop))
    found = response(one, [output], student)
    (choice,) = found["choices"]
    expected = whole
    for at in range(len(whole)):
        if any(whole.startswith(end, at) for end in stop):
            expected = whole[:at]
            break
    assert choice["message"]["content"] == expected
    stopped = expected != whole or not output
    assert choice["finish_reason"] == ("stop" if stopped else "length")
    assert found["usage"]["completion_tokens"] == len(output)

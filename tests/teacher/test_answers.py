"""Answers of endpoints, above all malformed ones: none is an error, and none is lost."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.teacher.answers import MALFORMED, MOST_TOKENS, Answer, complaint, read, unpacked

SQL = "SELECT count(*) FROM singer"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


def body(choices: Any, usage: Any = None) -> bytes:
    return json.dumps({"choices": choices, "usage": usage}).encode()


def choice(content: Any, **more: Any) -> dict[str, Any]:
    return {"message": {"content": content, **more}, "finish_reason": "stop"}


def check(answer: Answer) -> None:
    """Check what holds for every answer: it can be stored, and its counts are valid."""
    assert bool(answer.choices) != bool(answer.problem)
    for text, finish in answer.choices:
        f"{text}{finish}".encode()
        assert "\x00" not in text
    for count in (answer.prompt_tokens, answer.completion_tokens):
        assert count is None or (type(count) is int and 0 <= count <= 2 * MOST_TOKENS)


@given(st.binary(max_size=60))
def test_any_bytes_can_be_read(content: bytes) -> None:
    check(read(content))


@given(JSON)
def test_any_json_can_be_read(value: Any) -> None:
    check(read(json.dumps(value).encode()))


@given(st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=3), JSON, max_size=3), JSON)
def test_any_choices_and_usage_can_be_read(choices: Any, usage: Any) -> None:
    check(read(body(choices, usage)))


@given(content=JSON, refusal=JSON, finish=JSON, message=JSON, usage=st.fixed_dictionaries(
    {"prompt_tokens": JSON, "completion_tokens": JSON, "total_tokens": JSON}))  # fmt: skip
def test_any_choice_can_be_read(
    content: Any, refusal: Any, finish: Any, message: Any, usage: Any
) -> None:
    choices = [
        {"message": {"content": content, "refusal": refusal}, "finish_reason": finish},
        {"message": message, "finish_reason": finish},
    ]
    answer = read(body(choices, usage))
    assert len(answer.choices) == 2
    check(answer)


@pytest.mark.parametrize(
    "content",
    [
        SQL,
        [{"type": "text", "text": SQL}],
        [{"type": "text", "text": SQL[:9]}, {"type": "text", "text": SQL[9:]}],
        [{"type": "output_text", "text": SQL, "annotations": []}],
        [{"type": "thinking", "thinking": "SELECT 2"}, {"type": "text", "text": SQL}],
        [{"text": SQL}],
        [SQL],
        {"type": "text", "text": SQL},
        [None, 5, {"type": "image_url"}, {"type": "text", "text": SQL}],
    ],
)
def test_text_is_read_from_parts(content: Any) -> None:
    assert read(body([choice(content)])).choices == ((SQL, "stop"),)


@pytest.mark.parametrize("content", [5, 1.5, True, [5], [{}], [{"type": "image_url"}], {"a": 1}])
def test_content_without_text_is_malformed(content: Any) -> None:
    assert read(body([choice(content)])).choices == (("", MALFORMED),)


@pytest.mark.parametrize(
    "found",
    [None, 5, "text", [], {}, {"message": None}, {"message": []}, {"message": "text"}, {"text": 1}],
)
def test_an_invalid_choice_counts_as_a_malformed_answer(found: Any) -> None:
    answer = read(body([found, choice(SQL)]))
    assert answer.choices == (("", MALFORMED), (SQL, "stop"))


def test_the_finish_reason_is_kept_without_a_message() -> None:
    found = {"message": None, "finish_reason": "content_filter"}
    assert read(body([found])).choices == (("", "content_filter"),)


def test_reasoning_outside_the_content_is_ignored() -> None:
    found = choice(None, reasoning_content=SQL, reasoning=SQL)
    assert read(body([found])).choices == (("", "stop"),)


@pytest.mark.parametrize("refusal", ["I cannot", True, ["no"], {"text": "no"}])
def test_a_refusal_of_any_type_is_a_refusal(refusal: Any) -> None:
    assert read(body([choice(None, refusal=refusal)])).choices == (("", "refusal"),)


@pytest.mark.parametrize("refusal", [None, "", False, [], {}, 0])
def test_an_empty_refusal_is_ignored(refusal: Any) -> None:
    assert read(body([choice(SQL, refusal=refusal)])).choices == ((SQL, "stop"),)


@pytest.mark.parametrize("finish", [None, 5, True, ["stop"], {"type": "stop"}])
def test_a_finish_reason_of_another_type_is_ignored(finish: Any) -> None:
    found = choice(SQL) | {"finish_reason": finish}
    assert read(body([found])).choices == ((SQL, ""),)


@pytest.mark.parametrize(
    "choices",
    [
        choice(SQL),
        {"0": choice(SQL)},
        [choice(SQL) | {"index": 7}],
        [choice(SQL) | {"index": "x"}],
    ],
)
def test_choices_outside_a_list_are_read(choices: Any) -> None:
    assert read(body(choices)).choices == ((SQL, "stop"),)


def test_choices_with_one_index_are_all_answers() -> None:
    choices = [choice("a") | {"index": 0}, choice("b") | {"index": 0}]
    assert read(body(choices)).choices == (("a", "stop"), ("b", "stop"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"null", "type NoneType, not an object"),
        (b'"text"', "type str, not an object"),
        (b"[]", "type list, not an object"),
        (b"{}", "without choices"),
        (b'{"choices": null, "error": {"message": "overloaded", "code": 502}}', "overloaded"),
        (b'{"choices": [], "error": "overloaded"}', "overloaded"),
        (b'{"choices": "a"}', "without choices"),
        (b"<html>no</html>", "cannot be read"),
        (b'{"choices": [{"mess', "cannot be read"),
        (b'{"choices": ' + b"[" * 100_000, "nested too deeply"),
        (b'data: {"choices": []}', "cannot be read"),
    ],
)
def test_the_problem_says_why_there_is_no_answer(content: bytes, problem: str) -> None:
    found = read(content)
    assert found.choices == ()
    assert problem in found.problem


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + body([choice(SQL)]),
        body([choice(SQL)]).decode().encode("utf-16"),
        body([choice(SQL)])[:-1] + b', "x": NaN, "y": 1e999, "z": ' + b"9" * 5000 + b"}",
        b" \n" + body([choice(SQL)]) + b"\n\n",
    ],
)
def test_malformed_fields_around_an_answer_are_ignored(content: bytes) -> None:
    assert read(content).choices == ((SQL, "stop"),)


def test_texts_that_cannot_be_stored_are_cleaned() -> None:
    content = b'{"choices": [{"message": {"content": "a\\ud83d b\\u0000 c\xff"}}]}'
    assert read(content).choices == (("a\ufffd b\ufffd c\ufffd", ""),)


@pytest.mark.parametrize(
    "value",
    [None, -1, -(10**30), 10**30, MOST_TOKENS + 1, 1e30, 10.0, True, "10", [], {}, "1e3", 0],
)
def test_an_impossible_count_is_none(value: Any) -> None:
    usage = {"prompt_tokens": value, "completion_tokens": 7}
    assert read(body([choice(SQL)], usage)).prompt_tokens is None
    assert read(body([choice(SQL)], usage)).completion_tokens == 7
    usage = {"prompt_tokens": 7, "completion_tokens": value}
    assert read(body([choice(SQL)], usage)).completion_tokens is None
    assert read(body([choice(SQL)], usage)).prompt_tokens == 7


@pytest.mark.parametrize(
    "usage", [None, 5, [], "x", {}, {"input_tokens": 5, "output_tokens": 5}, {"total_tokens": 10}]
)
def test_usage_that_is_missing_or_has_other_names_is_none(usage: Any) -> None:
    answer = read(body([choice(SQL)], usage))
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_tokens_only_in_the_total_are_counted() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    assert read(body([choice(SQL)], usage)).completion_tokens == 105
    usage["total_tokens"] = 3
    assert read(body([choice(SQL)], usage)).completion_tokens == 5


def test_an_empty_answer_may_have_no_tokens() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 0}
    assert read(body([choice(None)], usage)).completion_tokens == 0


@given(JSON)
def test_the_complaint_of_any_json_is_text(value: Any) -> None:
    assert isinstance(complaint(value), str)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"error": {"message": "no", "code": 5}}, "no"),
        ({"error": "no"}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ([{"error": {"message": "no"}}], "no"),
        ({"error": {"code": 5}}, "{'code': 5}"),
        ({"error": None}, ""),
        ({}, ""),
    ],
)
def test_complaints(value: Any, said: str) -> None:
    assert complaint(value) == said


def test_a_compressed_body_is_decompressed_up_to_a_size() -> None:
    packed = gzip.compress(b"a" * 10**7)
    assert unpacked(packed, "gzip", 1000) == b"a" * 1000
    assert unpacked(b"no", "gzip", 1000) == b""
    assert unpacked(b"as it is", "identity", 1000) == b"as it is"

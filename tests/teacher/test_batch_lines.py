from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from distill_sql.teacher.batch_lines import custom_id, read_line

KEY = bytes(range(32))
NAME = custom_id(KEY, (0, 2))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["error", "message", "choices", "usage", "body", "status_code", "x"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_line_can_be_read(line: bytes) -> None:
    found = read_line(line)
    assert found is None or (found.answer is None) == bool(found.problem)


@given(response=JSON, error=JSON, status=JSON, body=JSON)
@settings(deadline=None)
def test_any_record_can_be_read_and_keeps_its_request(
    response: object, error: object, status: object, body: object
) -> None:
    for found in (response, {"status_code": status, "body": body}):
        record = {"custom_id": NAME, "response": found, "error": error}
        line = read_line(json.dumps(record).encode())
        assert line is not None
        assert line.keys == (KEY,)
        assert (line.answer is None) == bool(line.problem)
        assert line.answer is None or not line.is_charged


@given(st.integers(0, 400))
@settings(deadline=None)
def test_a_truncated_line_keeps_its_request_if_its_id_is_there(end: int) -> None:
    body = {"choices": [{"message": {"content": "x" * 300}}]}
    whole = json.dumps({"id": "b", "custom_id": NAME, "response": {"body": body}})
    line = read_line(whole[:end].encode())
    if end == 0:
        assert line is None
    else:
        assert line is not None
        assert line.is_charged
        assert line.keys == ((KEY,) if KEY.hex() in whole[:end] else ())


def test_the_ids_of_two_merged_lines_are_both_read() -> None:
    other = custom_id(KEY[::-1], (1,))
    line = read_line(f'{{"custom_id": "{NAME}", "resp{{"custom_id":"{other}"}}'.encode())
    assert line is not None
    assert line.keys == (KEY, KEY[::-1])


def test_an_id_inside_an_answer_is_not_the_lines_id() -> None:
    text = f'"custom_id": "{KEY[::-1].hex()}:0"'
    body = {"choices": [{"message": {"content": text}}]}
    whole = json.dumps({"custom_id": NAME, "response": {"body": body}}).encode()
    for line in (read_line(whole), read_line(whole[:-1])):
        assert line is not None
        assert line.keys == (KEY,)

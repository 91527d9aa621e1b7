"""Reads one line of a batch's output or error file, also a damaged one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from distill_sql.files import parse_json
from distill_sql.teacher import answers

_KEY = re.compile(r"[0-9a-f]{64}")
_KEY_OF_RECORD = re.compile(r'"custom_id"\s*:\s*"([0-9a-f]{64})')


@dataclass(frozen=True)
class Line:
    """The content of a line. ``keys`` are its requests, empty if they cannot be read.

    The line has an ``answer``, or ``problem`` says why not; ``is_charged`` then says whether an
    answer may have been charged.
    """

    keys: tuple[bytes, ...]
    answer: answers.Answer | None = None
    problem: str = ""
    is_charged: bool = False


def custom_id(key: bytes, numbers: tuple[int, ...]) -> str:
    """The id of a request in a batch: its key, and the numbers of its samples."""
    return f"{key.hex()}:{','.join(map(str, numbers))}"


def read_line(line: bytes) -> Line | None:
    """The content of a line, which may be any bytes; None for an empty line."""
    text = line.decode("utf-8", errors="replace").strip("\ufeff \t\r\n")
    if not text:
        return None
    try:
        return _read_record(parse_json(text, nan=True))
    except (ValueError, RecursionError) as error:
        keys = tuple(map(bytes.fromhex, _KEY_OF_RECORD.findall(text)))
        return Line(keys, problem=f"a damaged line ({error})", is_charged=True)


def _read_record(record: Any) -> Line:
    if not isinstance(record, dict):
        return Line((), problem="a line that is not a JSON object", is_charged=True)
    key = _KEY.match(str(record.get("custom_id")))
    keys = (bytes.fromhex(key[0]),) if key else ()
    response = record.get("response")
    if response is None:
        return Line(keys, problem=answers.complaint(record) or "no answer, and no reason given")
    if not isinstance(response, dict):
        return Line(keys, problem="a response that is not a JSON object", is_charged=True)
    body = response.get("body")
    status = _status(response.get("status_code"))
    if status >= 300:
        said = answers.complaint(body) or answers.complaint(record)
        return Line(keys, problem=f"status {status}: {said}")
    answer = answers.read_value(body)
    if answer.problem:
        return Line(keys, problem=answer.problem, is_charged=True)
    return Line(keys, answer)


def _status(value: Any) -> int:
    """A status code; 200 if it is invalid, since there is a response."""
    found = re.fullmatch(r"([1-5]\d\d)(\.0)?", str(value))
    return int(found[1]) if found else 200

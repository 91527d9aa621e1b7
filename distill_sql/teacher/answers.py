"""Reads answers of an endpoint, also malformed ones.

An answer was paid for, so everything usable in it is used, and nothing in it raises an error. A
choice that cannot be read is an empty text with the finish reason ``malformed``.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from distill_sql.files import clean

#: The finish reason of a choice that cannot be read.
MALFORMED = "malformed"
#: More tokens than any model reads or writes in one request: a higher count is ignored.
MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class Answer:
    """The choices of an answer, each with text and finish reason, and its reported usage.

    A token count that is missing or impossible is None. If there are no choices, ``problem`` says
    why.
    """

    choices: tuple[tuple[str, str], ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    problem: str = ""


def read(content: bytes) -> Answer:
    """The answer in the body of a response with status 200; the body may be any bytes."""
    if not content.strip():
        return Answer(problem="an empty body")
    try:
        return read_value(_json(content))
    except ValueError as error:
        return Answer(problem=f"a body that cannot be read ({error})")


def read_value(body: Any) -> Answer:
    """The answer in a parsed chat completion; ``body`` may be any JSON value."""
    if not isinstance(body, dict):
        return Answer(problem=f"a body of type {type(body).__name__}, not an object")
    found = body.get("choices")
    if isinstance(found, dict):  # one choice outside a list, or choices by number
        found = [found] if "message" in found else list(found.values())
    if not isinstance(found, list) or not found:
        said = complaint(body)
        return Answer(problem="an answer without choices" + (f" ({said})" if said else ""))
    choices = tuple(map(_choice, found))
    prompt, completion = _usage(body.get("usage"), is_empty=not any(text for text, _ in choices))
    return Answer(choices, prompt, completion)


def _json(content: bytes) -> Any:
    """The value of a body; ValueError if there is none."""
    text = content.decode(json.detect_encoding(content), errors="replace")
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_int=_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(digits: str) -> int | float:
    """An integer; int() refuses thousands of digits, and such a number is not a count anyway."""
    return int(digits) if len(digits) < 100 else float(digits)


def _choice(choice: Any) -> tuple[str, str]:
    if not isinstance(choice, dict):
        return "", MALFORMED
    said = choice.get("finish_reason")
    finish = _tidy(said)[:40] if isinstance(said, str) else ""
    message = choice.get("message")
    text = _text(message.get("content")) if isinstance(message, dict) else None
    if isinstance(message, dict):
        refusal = message.get("refusal")
        if refusal and (isinstance(refusal, str) or not text):
            return text or "", "refusal"
    if text is None:  # the finish reason may be known, as with a content filter
        return "", MALFORMED if finish in ("", "stop") else finish
    return text, finish


def _text(content: Any) -> str | None:
    """The text of a message: a string, or a list of parts with text; None for anything else.

    Reasoning outside the content is not part of the answer.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return _tidy(content)
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        return None
    texts = [
        part if isinstance(part, str) else part["text"]
        for part in parts
        if isinstance(part, str)
        or (
            isinstance(part, dict)
            and part.get("type", "text") in ("text", "output_text")
            and isinstance(part.get("text"), str)
        )
    ]
    return _tidy("".join(texts)) if texts or not parts else None


def _tidy(text: str) -> str:
    """A text that can be stored in any file and database."""
    return clean(text).replace("\x00", "\ufffd")


def _usage(usage: Any, *, is_empty: bool) -> tuple[int | None, int | None]:
    """Prompt and completion tokens; a prompt, and an answer with text, have at least one."""
    if not isinstance(usage, dict):
        return None, None
    prompt = _count(usage.get("prompt_tokens"), least=1)
    completion = _count(usage.get("completion_tokens"), least=0 if is_empty else 1)
    total = _count(usage.get("total_tokens"), least=0)
    if prompt is not None and completion is not None and total is not None:
        # Some endpoints count reasoning tokens, which are paid for, only in the total.
        completion = max(completion, total - prompt)
    return prompt, completion


def _count(value: Any, *, least: int) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and least <= value <= MOST_TOKENS else None


def complaint(body: Any) -> str:
    """The error message in a body, empty if there is none."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(name):
            return complaint(body[name]) or str(body[name])
    return body if isinstance(body, str) else ""


def refusal(content: bytes) -> str:
    """The error message in the body of a refusal, or the body itself."""
    try:
        said = complaint(_json(content))
    except ValueError:
        said = ""
    return said or content.decode("utf-8", errors="replace")


def unpacked(content: bytes, encoding: str, most: int) -> bytes:
    """A body with its Content-Encoding undone, at most ``most`` bytes.

    We ask for no encoding, but some servers compress with gzip or deflate anyway. A body that
    cannot be decompressed gives empty bytes.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, most)
    except zlib.error:
        return b""

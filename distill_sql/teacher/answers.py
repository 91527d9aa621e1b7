"""Reading what an endpoint answers, however odd it is.

An answer was paid for, so as much of it as has a meaning is used, and nothing in it is an error: a
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
#: More tokens than any model reads or writes in one request: a higher count is none.
MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class Answer:
    """The choices of an answer, each with text and finish reason, and what it says it used.

    A count that is missing or makes no sense is None. Without choices, ``problem`` says why.
    """

    choices: tuple[tuple[str, str], ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    problem: str = ""


def read(content: bytes) -> Answer:
    """The answer in the body of a response with status 200, of any bytes whatever."""
    if not content.strip():
        return Answer(problem="an empty body")
    try:
        return read_value(_json(content))
    except ValueError as error:
        return Answer(problem=f"a body that cannot be read ({error})")


def read_value(body: Any) -> Answer:
    """The answer in a chat completion that was parsed already, of any JSON value whatever."""
    if not isinstance(body, dict):
        return Answer(problem=f"a body that is no object but {type(body).__name__}")
    found = body.get("choices")
    if isinstance(found, dict):  # one choice without its list, or choices by number
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
    """An integer; one of thousands of digits, which int() refuses, is no count anyway."""
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
    if text is None:  # what ended it is known at times, as with a content filter
        return "", MALFORMED if finish in ("", "stop") else finish
    return text, finish


def _text(content: Any) -> str | None:
    """The text of a message: a string, or parts of which some are text; None if it is neither.

    Reasoning apart from the content is no answer.
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
    """A text that any file and database can hold."""
    return clean(text).replace("\x00", "\ufffd")


def _usage(usage: Any, *, is_empty: bool) -> tuple[int | None, int | None]:
    """Prompt and completion tokens. A prompt has some; so has an answer that is not empty."""
    if not isinstance(usage, dict):
        return None, None
    prompt = _count(usage.get("prompt_tokens"), least=1)
    completion = _count(usage.get("completion_tokens"), least=0 if is_empty else 1)
    total = _count(usage.get("total_tokens"), least=0)
    if prompt is not None and completion is not None and total is not None:
        # Some endpoints count the tokens of reasoning, which are paid for, in the total alone.
        completion = max(completion, total - prompt)
    return prompt, completion


def _count(value: Any, *, least: int) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and least <= value <= MOST_TOKENS else None


def complaint(body: Any) -> str:
    """What a body says is wrong, empty if it says nothing."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(name):
            return complaint(body[name]) or str(body[name])
    return body if isinstance(body, str) else ""


def refusal(content: bytes) -> str:
    """What the body of a response with another status than 200 says, or the body itself."""
    try:
        said = complaint(_json(content))
    except ValueError:
        said = ""
    return said or content.decode("utf-8", errors="replace")


def unpacked(content: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before its Content-Encoding, ``most`` bytes of it at most.

    None is asked for; gzip and deflate are undone, since some servers pack their answers all the
    same. What cannot be unpacked is empty.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, most)
    except zlib.error:
        return b""

"""Chat completions of OpenAI's API: parsing of requests, and responses.

An unsupported field that would change the answer is refused by name, not ignored: ``stream``,
tools, log probabilities, formats other than text, penalties, ``top_p``, ``seed``. Its neutral
value, which some clients send, is accepted.
"""

from __future__ import annotations

import json
import reprlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill_sql.files import parse_json
from distill_sql.models.generation import ANSWER_TOKENS
from distill_sql.models.inference.engine import CompletionRequest
from distill_sql.prompting.tokenizer import Message

if TYPE_CHECKING:
    from distill_sql.models.inference.torch_student import TorchStudent

#: The limits of a request; those of temperature and stop sequences are OpenAI's.
MOST_SAMPLES, MOST_ANSWER_TOKENS, HOTTEST, MOST_STOPS = 16, 1024, 2.0, 4
ROLES = ("system", "user", "assistant")
#: Fields that do not change the answer.
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "parallel_tool_calls",
    }
)
#: Fields with one supported value; null counts as absent.
FIXED: dict[str, Any] = {
    "stream": False,
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
#: Fields that are parsed.
READ = frozenset(
    {"model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "stop"}
)


class Refused(Exception):
    """An HTTP error response: status, message for the client, extra headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    @property
    def answer(self) -> dict[str, Any]:
        """The error in the format of OpenAI's API."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind}}


def read_request(
    body: bytes, student: TorchStudent, *, names: Collection[str] = ()
) -> CompletionRequest:
    """Parse a chat completion request; :class:`Refused` is raised for an invalid one.

    ``names`` are the accepted model names; without names, every name is accepted.
    """
    asked = _object(body)
    for name, value in asked.items():
        if name in FIXED and value is not None and value != FIXED[name]:
            raise _wrong(name, value, f"{json.dumps(FIXED[name])}: nothing else is supported")
        if name not in FIXED and name not in IGNORED and name not in READ and value is not None:
            raise Refused(400, f"{reprlib.repr(name)} is not supported; omit it")
    model = asked.get("model")
    if model is not None and not isinstance(model, str):
        raise _wrong("model", model, "a name")
    if names and model is not None and model not in names:
        raise Refused(
            404, f"the model {reprlib.repr(model)} is not served here; expected {', '.join(names)}"
        )
    samples = _whole(asked, "n", 1, MOST_SAMPLES)
    most = _whole(asked, "max_tokens", ANSWER_TOKENS, MOST_ANSWER_TOKENS)
    if asked.get("max_completion_tokens") is not None:
        newer = _whole(asked, "max_completion_tokens", ANSWER_TOKENS, MOST_ANSWER_TOKENS)
        if asked.get("max_tokens") is not None and newer != most:
            raise Refused(400, "max_tokens and max_completion_tokens differ; give one of them")
        most = newer
    temperature = _temperature(asked.get("temperature"))
    stop = _stop(asked.get("stop"))
    ids = _prompt(_messages(asked.get("messages")), student)
    context = student.model.config.max_position_embeddings
    if len(ids) + most > context:
        raise Refused(
            400,
            f"the prompt has {len(ids)} tokens, which leaves no room for {most} more: the model's "
            f"context is {context}. Shorten the messages, or lower max_tokens",
        )
    return CompletionRequest(ids, samples, temperature, most, stop)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = parse_json(body)
        json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"expected a chat completion request as JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refused(400, "expected a chat completion request: a JSON object")
    return asked


def _once(pairs: Sequence[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice in an object")


def _wrong(name: str, value: Any, expected: str) -> Refused:
    return Refused(400, f"{name} is {reprlib.repr(value)}; expected {expected}")


def _whole(asked: Mapping[str, Any], name: str, otherwise: int, most: int) -> int:
    value = asked.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise _wrong(name, value, f"a whole number of 1 to {most}")
    return value


def _temperature(value: Any) -> float:
    if value is None:
        return 1.0
    # Comparisons with NaN are false.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= HOTTEST:
        raise _wrong("temperature", value, f"a number of 0 to {HOTTEST:g}")
    return float(value)


def _stop(value: Any) -> tuple[str, ...]:
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(texts, list)
        or len(texts) > MOST_STOPS
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise _wrong("stop", value, f"a string, or a list of up to {MOST_STOPS}, none empty")
    return tuple(texts)


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise _request("messages", value, "a list of at least one message")
    found: list[Message] = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _request(where, message, "an object with role and content")
        # Clients send answers back with their empty fields.
        for name in message:
            if name not in ("role", "content") and message[name]:
                raise Refused(400, f"{where} has {reprlib.repr(name)}, which is not supported")
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise _request(f"{where}.role", role, ", ".join(ROLES))
        found.append({"role": role, "content": _text(content, where)})
    return found


def _text(content: Any, where: str) -> str:
    """The text of a message: a string, or text parts, which are joined as lines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _request(f"{where}.content", content, "a string, or a list of parts of type text")
    for part in content:
        if (
            not isinstance(part, dict)
            or part.get("type") != "text"
            or not isinstance(part.get("text"), str)
        ):
            raise _request(f"a part of {where}.content", part, '{"type": "text", "text": TEXT}')
    return "\n".join(part["text"] for part in content)


def _request(name: str, value: Any, expected: str) -> Refused:
    wrong = _wrong(name, value, expected)
    return Refused(wrong.status, f"expected a chat completion request: {wrong}")


def _prompt(messages: Sequence[Message], student: TorchStudent) -> tuple[int, ...]:
    from jinja2 import TemplateError

    try:
        return tuple(student.tokenizer.encode(student.tokenizer.render(messages)))
    except TemplateError as error:
        raise Refused(
            400,
            f"the model's chat template refuses these messages ({type(error).__name__}); expected "
            "at most one system message, then user and assistant messages in turn",
        ) from None


def response(
    request: CompletionRequest, outputs: Sequence[Sequence[int]], student: TorchStudent
) -> dict[str, Any]:
    """The JSON of a chat completion; ``usage`` includes tokens after a stop sequence."""
    choices = []
    for number, output in enumerate(outputs):
        text = student.tokenizer.backend.decode(output)
        end = min((at for at in map(text.find, request.stop) if at >= 0), default=None)
        cut = end is None and len(output) >= request.max_tokens
        choices.append(
            {
                "index": number,
                "message": {"role": "assistant", "content": text[:end]},
                "finish_reason": "length" if cut else "stop",
            }
        )
    written = sum(map(len, outputs))
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": student.tokenizer.name,
        "choices": choices,
        "usage": {
            "prompt_tokens": len(request.ids),
            "completion_tokens": written,
            "total_tokens": len(request.ids) + written,
        },
    }

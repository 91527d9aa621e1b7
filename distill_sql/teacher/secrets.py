"""The key, and keeping it and every other secret out of what is shown or stored."""

from __future__ import annotations

import os
import re

from distill_sql.errors import TeacherError
from distill_sql.teacher.addresses import is_openai

#: The environment variable that has the key.
VARIABLE = "OPENAI_API_KEY"
#: What is sent as the key where none is set: servers of one's own want some.
NO_KEY = "none"

_HIDDEN = "[hidden]"
_PATTERNS = (
    # In an address, all up to the last @ may be a login; the host itself may go, too.
    (re.compile(r"://\S*@"), f"://{_HIDDEN}@"),
    (re.compile(r"[^\s/@:'\"(]+:(?!//)[^\s@]+@"), f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20)[^\s'\",;]+"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b(api[-_]?key|token|password|secret)=[^\s&'\"]+"), rf"\1={_HIDDEN}"),
    (re.compile(r"\bsk-[^\s'\",;)\]}<>]+"), f"sk-{_HIDDEN}"),
)  # fmt: skip


def api_key(base_url: str) -> str:
    """The key for an endpoint, from the environment; :data:`NO_KEY` if there is none.

    Raises :class:`TeacherError` if OpenAI is to be asked without one, or if what is set cannot be a
    key.
    """
    key = os.environ.get(VARIABLE, "").strip()
    if key:
        return checked_key(key, name=VARIABLE)
    if is_openai(base_url):
        raise TeacherError(
            f"No key: set {VARIABLE}, or give --base-url of an endpoint of your own."
        )
    return NO_KEY


def checked_key(key: str, *, name: str = "The key") -> str:
    """``key`` without white space around it.

    Raises :class:`TeacherError`, which does not show the key, if it cannot be sent in a header.
    """
    key = key.strip()
    wrong = next((c for c in key if not "!" <= c <= "~"), None)
    if key and wrong is None:
        return key
    if wrong is None:
        found = "it is empty"
    elif wrong.isspace():
        found = "it has white space or a line break inside"
    elif wrong.isascii():
        found = "it has a control character inside"
    else:
        found = "it has a character inside that is not ASCII"
    raise TeacherError(
        f"{name} cannot be used as a key: {found}. Expected printable ASCII characters without "
        "white space; copy the key again, alone and on one line."
    )


def redact(text: str, *secrets: str) -> str:
    """``text`` without ``secrets``, and without all that looks like a key or a login.

    >>> redact("Illegal header b'Bearer abc', key sk-12345 at http://me:pw@host/v1 (hunter22)",
    ...        "hunter22")
    "Illegal header b'Bearer [hidden]', key sk-[hidden] at http://[hidden]@host/v1 ([hidden])"
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if secret == NO_KEY:
            continue
        # A short one may be part of a word, and would then leave holes in it.
        edge = r"(?<!\w){}(?!\w)" if len(secret) < 8 else "{}"
        text = re.sub(edge.format(re.escape(secret)), _HIDDEN, text)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def one_line(text: str, *secrets: str, length: int = 300) -> str:
    """Text from outside for a message: one line that can be printed, redacted before it is cut."""
    shown = "".join(c if c.isprintable() else " " for c in redact(text, *secrets))
    return " ".join(shown.split())[:length]

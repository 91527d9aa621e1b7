"""The API key, and redaction of secrets in everything that is shown or stored."""

from __future__ import annotations

import os
import re

from distill_sql.errors import TeacherError
from distill_sql.teacher.addresses import is_openai

#: The environment variable with the key.
VARIABLE = "OPENAI_API_KEY"
#: Sent as the key if none is set: local servers expect some value.
NO_KEY = "none"

_HIDDEN = "[hidden]"
_PATTERNS = (
    # In an address, everything before the last @ may be a login.
    (re.compile(r"://\S*@"), f"://{_HIDDEN}@"),
    (re.compile(r"[^\s/@:'\"(]+:(?!//)[^\s@]+@"), f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20)[^\s'\",;]+"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b(api[-_]?key|token|password|secret)=[^\s&'\"]+"), rf"\1={_HIDDEN}"),
    (re.compile(r"\bsk-[^\s'\",;)\]}<>]+"), f"sk-{_HIDDEN}"),
)  # fmt: skip


def api_key(base_url: str) -> str:
    """The key for an endpoint, from the environment; :data:`NO_KEY` if there is none.

    Raises :class:`TeacherError` if the endpoint is OpenAI's and there is no key, or if the key is
    invalid.
    """
    key = os.environ.get(VARIABLE, "").strip()
    if key:
        return checked_key(key, name=VARIABLE)
    if is_openai(base_url):
        raise TeacherError(f"No key: set {VARIABLE}, or give the --base-url of your own endpoint.")
    return NO_KEY


def checked_key(key: str, *, name: str = "The key") -> str:
    """``key``, stripped of white space.

    Raises :class:`TeacherError`, which does not show the key, if it cannot be sent in a header.
    """
    key = key.strip()
    wrong = next((c for c in key if not "!" <= c <= "~"), None)
    if key and wrong is None:
        return key
    if wrong is None:
        found = "it is empty"
    elif wrong.isspace():
        found = "it contains white space or a line break"
    elif wrong.isascii():
        found = "it contains a control character"
    else:
        found = "it contains a character that is not ASCII"
    raise TeacherError(
        f"{name} cannot be used as a key: {found}. Expected printable ASCII characters without "
        "white space; copy the key again."
    )


def redact(text: str, *secrets: str) -> str:
    """``text`` without ``secrets`` and without anything that looks like a key or a login.

    >>> redact("Illegal header b'Bearer abc', key sk-12345 at http://me:pw@host/v1 (hunter22)",
    ...        "hunter22")
    "Illegal header b'Bearer [hidden]', key sk-[hidden] at http://[hidden]@host/v1 ([hidden])"
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if secret == NO_KEY:
            continue
        # A short secret may be part of other words, which must stay.
        edge = r"(?<!\w){}(?!\w)" if len(secret) < 8 else "{}"
        text = re.sub(edge.format(re.escape(secret)), _HIDDEN, text)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def one_line(text: str, *secrets: str, length: int = 300) -> str:
    """External text for a message: redacted, printable, on one line and at most ``length`` long."""
    shown = "".join(c if c.isprintable() else " " for c in redact(text, *secrets))
    return " ".join(shown.split())[:length]

"""Errors for requests without an answer: retry, give up the question, or end the run."""

from __future__ import annotations

from distill_sql.errors import TeacherError
from distill_sql.teacher.pace import PATIENCE, in_words, retry_after
from distill_sql.teacher.secrets import VARIABLE
from distill_sql.teacher.wire import Reply


class RetryError(Exception):
    """The attempt failed and may be retried.

    ``weight`` is its share of the allowed attempts. ``pause`` says whether to back off before the
    next attempt; False if the endpoint said how long to wait. ``unsent`` says that the request was
    not sent.
    """

    def __init__(
        self, why: str, *, weight: int = 1, pause: bool = True, unsent: bool = False
    ) -> None:
        super().__init__(why)
        self.weight, self.pause, self.unsent = weight, pause, unsent


class FailedError(Exception):
    """The question gets no answer in this run. ``kind`` groups failures with the same cause."""

    def __init__(self, why: str, *, kind: str = "") -> None:
        super().__init__(why)
        self.kind = kind


class StopError(Exception):
    """The run must end; pending requests may finish, and the same command continues later."""


def refused(reply: Reply, message: str, *, model: str, url: str, is_first: bool) -> Exception:
    """The error for a reply whose status is not 2xx.

    ``message`` is the message in its body; ``is_first`` says that nothing was answered before.
    """
    status = reply.status
    if status == 429:
        return _too_many(reply, message)
    weight = 1 if reply.is_unpaid else 2
    if status in (408, 409, 425) or status >= 500 or (status < 400 and not is_first):
        return RetryError(f"status {status}: {message}", weight=weight)
    hints = {
        401: f"Set {VARIABLE} to a key that is valid for this endpoint.",
        402: "Add credit to this account, or use another endpoint.",
        403: f"Set {VARIABLE} to a key that may use this model.",
        404: f"Check the model {model!r} and the address {url}.",
        407: "Check the proxy settings in the environment (HTTPS_PROXY, HTTP_PROXY).",
    }
    if status in hints or status in (405, 410) or status < 400:
        hint = hints.get(status, f"Check the address {url}.")
        return TeacherError(f"The endpoint refuses with status {status}: {message} {hint}")
    return FailedError(f"status {status}: {message}", kind=f"status {status}")


def _too_many(reply: Reply, message: str) -> Exception:
    if b"insufficient_quota" in reply.body:
        return StopError(f"the account has no credit left ({message})")
    wait = retry_after(reply.headers)
    if wait > PATIENCE:
        return StopError(f"the endpoint's limit resets in {in_words(wait)} ({message})")
    return RetryError(f"status 429: {message}", pause=not wait)

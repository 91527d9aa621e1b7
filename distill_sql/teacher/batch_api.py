"""The Batch API over HTTP: files and batches; every failure raises one of our errors."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.files import parse_json
from distill_sql.teacher import answers
from distill_sql.teacher.addresses import split_login
from distill_sql.teacher.secrets import checked_key, one_line

#: Read timeout of a request, in seconds.
TIMEOUT = 120.0


class RefusedError(TeacherError):
    """The endpoint certainly did not carry out the request.

    ``status`` is 0 if the endpoint was not reached.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class BatchApi:
    """The API calls for batches. All raise :class:`TeacherError`, which shows no key."""

    def __init__(self, url: str, *, api_key: str) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError(
                "Asking a teacher needs the package openai: pip install 'distill-sql[teacher]'."
            ) from error
        self._url, login = split_login(url)
        key = checked_key(api_key)
        self._secrets = (key, *(login or ())[1:])
        headers = {}
        if login:
            basic = base64.b64encode(":".join(login).encode()).decode()
            headers, self._secrets = {"Authorization": f"Basic {basic}"}, (*self._secrets, basic)
        with self._told("Opening a connection"):
            self._client = openai.OpenAI(
                base_url=self._url, api_key=key, default_headers=headers, timeout=TIMEOUT
            )
        # A retry might create a second batch of the same requests.
        self._once = self._client.with_options(max_retries=0)

    def upload(self, content: bytes) -> str:
        """Upload a file of requests; returns the endpoint's id of the file."""
        files = self._client.files.with_raw_response
        return self._name(
            "Uploading requests",
            lambda: files.create(file=("requests.jsonl", content), purpose="batch"),
        )

    def create(self, file: str) -> str:
        """Create a batch from an uploaded file; returns its id. After any error other than
        :class:`RefusedError`, the batch may exist."""
        batches = self._once.batches.with_raw_response
        return self._name(
            "Creating a batch",
            lambda: batches.create(
                input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        )

    def find(self, file: str) -> str | None:
        """The id of the batch that was created from a file, None if there is none."""
        batches, seen = self._client.batches.with_raw_response, set[str]()
        more: dict[str, Any] = {}
        while True:
            page = self._object("Listing batches", partial(batches.list, limit=100, **more))
            found = page.get("data")
            if not isinstance(found, list):
                raise TeacherError(
                    f"Listing batches at {self._url} returned no list. Try again later."
                )
            for made in found:
                if isinstance(made, dict) and made.get("input_file_id") == file:
                    return str(made.get("id"))
            last = str(page.get("last_id"))
            if not page.get("has_more") or last in seen:
                return None
            seen.add(last)
            more = {"after": last}

    def state(self, name: str) -> dict[str, Any]:
        """The endpoint's description of a batch."""
        batches = self._client.batches.with_raw_response
        return self._object(f"Polling batch {name}", lambda: batches.retrieve(name))

    def lines(self, file: str) -> Iterator[bytes]:
        r"""The lines of a file, split at ``\n`` only; the whole file is fetched first."""
        with tempfile.TemporaryFile() as copy:
            with (
                self._told(f"Fetching file {file}"),
                self._client.files.with_streaming_response.content(file) as response,
            ):
                for chunk in response.iter_bytes():
                    copy.write(chunk)
            copy.seek(0)
            yield from copy

    def line(self, text: str) -> str:
        """A text from the endpoint, on one line and without secrets."""
        return one_line(text, *self._secrets)

    def _name(self, what: str, call: Callable[[], Any]) -> str:
        name = self._object(what, call).get("id")
        if not isinstance(name, str) or not name:
            raise TeacherError(f"{what} at {self._url} returned no id. Try the same command later.")
        return name

    def _object(self, what: str, call: Callable[[], Any]) -> dict[str, Any]:
        with self._told(what):
            content = call().content
        try:
            found = parse_json(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TeacherError(
                f"{what} at {self._url} returned {self.line(repr(content[:60]))} and not a JSON "
                "object. Check that the endpoint has the Batch API."
            )
        return found

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            status = error.status_code
            said = answers.complaint(error.body) or str(error.body or error.message)
            message = f"{what} at {self._url}: status {status}: {self.line(said)}"
            if status < 500:
                raise RefusedError(f"{message}. {_hint(status)}", status) from None
            raise TeacherError(f"{message}. {_LATER}") from None
        except Exception as error:  # of openai, httpx, h11, ssl, the disk, ...
            cause = error.__cause__ or error
            said = self.line(f"{type(cause).__name__} {cause}")
            kind = RefusedError if type(cause).__name__ == "ConnectError" else TeacherError
            raise kind(f"{what} at {self._url} failed: {said}. {_LATER}") from None


_LATER = "Nothing is lost: run the same command later to continue."


def _hint(status: int) -> str:
    hints = {
        401: "Set OPENAI_API_KEY to a key that is valid for this endpoint.",
        403: "Set OPENAI_API_KEY to a key that may use this model.",
        404: "Give the key and the --base-url with which the batch was submitted, and check that "
        "the endpoint has the Batch API.",
        413: "Give a smaller --enqueued-tokens, so that batches are smaller.",
        429: "Wait, or give a smaller --enqueued-tokens, so that batches are smaller.",
    }
    return hints.get(status, _LATER)

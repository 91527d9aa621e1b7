from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from distill_sql.errors import TeacherError
from distill_sql.teacher.batch_api import BatchApi, RefusedError

KEY = "sk-test-1234567890"


@contextmanager
def answering(
    answer: Callable[[str, str], tuple[int, bytes]], *, cut: bool = False
) -> Iterator[str]:
    """An endpoint that answers a method and path; ``cut`` bodies are shorter than announced."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, body = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body) + 99 * cut))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_calls_that_batches_need() -> None:
    asked = []

    def answer(method: str, path: str) -> tuple[int, bytes]:
        asked.append((method, path))
        if path.endswith("/content"):
            return 200, "a\u2028b\x85\n\n\x0bc\r\nd".encode()
        if method == "GET" and "batches?" in path:
            number = 1 if "after=x" in path else 0
            found = [{"id": f"batch-{number}", "input_file_id": f"file-{number}"}]
            return 200, json.dumps({"data": found, "has_more": True, "last_id": "x"}).encode()
        return 200, json.dumps({"id": "name", "status": "completed", "odd": [1]}).encode()

    with answering(answer) as url:
        api = BatchApi(url, api_key=KEY)
        assert api.upload(b"{}") == "name"
        assert api.create("file-1") == "name"
        assert api.state("batch-1")["odd"] == [1]
        assert list(api.lines("file-1")) == ["a\u2028b\x85\n".encode(), b"\n", b"\x0bc\r\n", b"d"]
        assert [api.find(f"file-{number}") for number in range(3)] == ["batch-0", "batch-1", None]
    assert asked[:4] == [
        ("POST", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/batches/batch-1"),
        ("GET", "/v1/files/file-1/content"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[1]", b"null", b"{", b"\xff", b"[" * 9000, b'{"id": 7}', b'{"id": ""}'],
)
def test_an_invalid_response_is_an_error(body: bytes) -> None:
    with answering(lambda *_: (200, body)) as url:
        api = BatchApi(url, api_key=KEY)
        calls: list[Callable[[], object]] = [
            lambda: api.upload(b"{}"), lambda: api.create("f"), lambda: api.find("f"),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(TeacherError) as error:
                call()
            assert not isinstance(error.value, RefusedError)  # it may have been done


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_a_refusal_is_reported_with_its_reason_and_without_the_key(status: int) -> None:
    said = json.dumps({"error": {"message": f"Bad\nkey {KEY}, by http://me:pw@host"}}).encode()
    with answering(lambda *_: (status, said)) as url:
        api = BatchApi(url, api_key=KEY)
        calls: list[Callable[[], object]] = [
            lambda: api.create("f"), lambda: list(api.lines("f")),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(RefusedError, match=f"status {status}: Bad key") as error:
                call()
            assert error.value.status == status
            assert KEY not in str(error.value)
            assert "pw" not in str(error.value)


def test_a_failed_creation_is_not_a_refusal_and_is_not_retried() -> None:
    calls = []

    def answer(*call: str) -> tuple[int, bytes]:
        calls.append(call)
        return 502, b"bad gateway"

    with (
        answering(answer) as url,
        pytest.raises(TeacherError, match="502: bad gateway") as error,
    ):
        BatchApi(url, api_key=KEY).create("f")
    assert not isinstance(error.value, RefusedError)
    assert len(calls) == 1


def test_a_truncated_download_gives_no_lines() -> None:
    with answering(lambda *_: (200, b"first\nsecond\n"), cut=True) as url:
        lines = BatchApi(url, api_key=KEY).lines("f")
        with pytest.raises(TeacherError, match=r"Fetching file f at .* failed"):
            next(lines)


def test_an_invalid_key_is_not_sent() -> None:
    with pytest.raises(TeacherError, match="cannot be used as a key") as error:
        BatchApi("http://127.0.0.1:9/v1", api_key=f"{KEY}\nx")
    assert KEY not in str(error.value)

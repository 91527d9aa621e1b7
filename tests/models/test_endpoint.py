"""The endpoint over a small model: responses, refused requests, the command line."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.models.inference.engine import Engine
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.teacher import embedded

pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.models import endpoint, torch_backend  # noqa: E402
from distill_sql.models.web import Server  # noqa: E402
from tests.models.wire import connect, read, request, running, send  # noqa: E402


@pytest.fixture(scope="module")
def student(tiny: Path) -> torch_backend.TorchStudent:
    return torch_backend.load(tiny, Recipe("tiny", str(tiny), trained=False, precision="float32"))


@pytest.fixture(scope="module")
def url(student: torch_backend.TorchStudent) -> Iterator[str]:
    with running(endpoint.server(student, 0, names=("tiny", "x"))) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def chats(pocket_train: Dataset) -> list[Any]:
    return [prompt_messages(pocket_train, e, style="compact") for e in pocket_train.limit(12)]


def post(url: str, body: Any, path: str = "/v1/chat/completions") -> dict[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def test_greedy_is_what_the_student_says(
    url: str, student: torch_backend.TorchStudent, chats: list[Any]
) -> None:
    answer = post(url, {"model": "x", "messages": chats[0], "temperature": 0, "max_tokens": 9})
    ids = student.tokenizer.encode(student.tokenizer.render(chats[0]))
    (output,) = student.complete((), [ids], max_tokens=9, finished=lambda _: False)
    assert texts(answer) == [student.tokenizer.backend.decode(output)]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["usage"]["completion_tokens"] == len(output)


def test_samples_depend_on_their_question_alone(url: str, chats: list[Any]) -> None:
    bodies = [{"messages": chat, "n": 3, "temperature": 1.0, "max_tokens": 8} for chat in chats]
    alone = [texts(post(url, body)) for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = [texts(answer) for answer in pool.map(lambda body: post(url, body), bodies)]
    assert alone == together
    assert all(len(set(samples)) > 1 for samples in alone)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "expected a chat completion request"),
        ({"messages": "no"}, "expected a chat completion request"),
        ({"messages": [], "n": 99}, "n is 99"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, "no room for 256 more"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(url: str, body: Any, says: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        post(url, body)
    with error.value as answer:
        assert answer.code == 400
        assert says in json.load(answer)["error"]["message"]


def test_another_address_is_not_found(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        post(url, {}, "/v1/embeddings")
    with error.value as answer:
        assert answer.code == 404


def test_what_is_served_can_be_asked_for(url: str) -> None:
    with urllib.request.urlopen(url + "/v1/models", timeout=60) as answer:
        (model,) = json.load(answer)["data"]
    assert model["id"] == "tiny"
    with urllib.request.urlopen(url + "/health", timeout=60) as answer:
        assert json.load(answer) == {"status": "ok"}


def test_openais_client_gets_along(url: str, chats: list[Any]) -> None:
    openai = pytest.importorskip("openai", reason="the extra teacher is not installed")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        found = client.chat.completions.create(
            model="tiny", messages=chats[0], n=2, temperature=0.5, max_tokens=8, stop=["zzz"],
            user="me", stream=False,
        )  # fmt: skip
        assert len(found.choices) == 2
        assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
        again = client.chat.completions.create(
            model="tiny", messages=[*chats[0], found.choices[0].message, *chats[0]], max_tokens=8
        )
        assert again.choices[0].message.role == "assistant"
        with pytest.raises(openai.NotFoundError, match="the model 'gpt-4o' is not served here"):
            client.chat.completions.create(model="gpt-4o", messages=chats[0])
        with pytest.raises(openai.BadRequestError, match="stream is True"):
            client.chat.completions.create(model="tiny", messages=chats[0], stream=True)


def test_a_name_that_leads_here_is_not_served(url: str, chats: list[Any]) -> None:
    port = int(url.rpartition(":")[2])
    body = json.dumps({"messages": chats[0], "max_tokens": 2}).encode()
    for header, status in (("Host: evil.example", 403), ("Origin: http://evil.example", 403),
                           ("Content-Type: text/plain", 415), ("X: y", 200)):  # fmt: skip
        with connect(port) as connection:
            connection.sendall(request(port, header, path="/v1/chat/completions", body=body))
            found = read(connection)
        assert found is not None
        assert found.status == status


class Slow:
    """A student that generates one token per step until it is stopped."""

    def __init__(self, student: torch_backend.TorchStudent) -> None:
        self.tokenizer, self.model = student.tokenizer, student.model
        self.steps = 0
        self.error: Exception | None = None

    def complete(
        self, prefix: Any, suffixes: Any, *, max_tokens: int, choose: Any, **options: Any
    ) -> Any:
        import torch

        if self.error:
            raise self.error
        (end,) = self.tokenizer.encode("<|im_end|>")
        for _ in range(max_tokens):
            time.sleep(0.01)
            self.steps += 1
            if (choose(torch.zeros(len(suffixes), end + 1), [*range(len(suffixes))]) == end).all():
                break
        return [[5] for _ in suffixes]


@pytest.fixture
def slow(student: torch_backend.TorchStudent) -> Slow:
    return Slow(student)


def chat(port: int, tokens: int) -> bytes:
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": tokens, "temperature": 0}
    return request(port, path="/v1/chat/completions", body=json.dumps(body).encode())


@pytest.mark.parametrize("half", [False, True])
def test_an_abandoned_request_stops(slow: Slow, half: bool) -> None:
    with running(endpoint.server(slow, 0)) as port:  # type: ignore[arg-type]
        with connect(port) as gone:
            gone.sendall(chat(port, 1000))
            while not slow.steps:
                time.sleep(0.01)
            if half:
                gone.shutdown(socket.SHUT_WR)
                assert read(gone) is None
        with connect(port) as next_one:
            next_one.sendall(chat(port, 1))
            found = read(next_one)
        assert found is not None
        assert found.status == 200
    assert slow.steps < 100


def test_closing_the_server_stops_what_it_answers(slow: Slow) -> None:
    with running(endpoint.server(slow, 0)) as port:  # type: ignore[arg-type]
        waiting = connect(port)
        waiting.sendall(chat(port, 1000))
        while not slow.steps:
            time.sleep(0.01)
    with waiting:
        told = read(waiting)
    assert told is not None
    assert (told.status, told.message) == (503, "the server is closing")
    assert slow.steps < 100


def test_a_long_text_holds_up_no_other_request(
    student: torch_backend.TorchStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_it = Event()

    def slowly(*_: Any, **__: Any) -> Any:
        assert read_it.wait(10)
        raise ValueError

    monkeypatch.setattr(endpoint, "read_request", slowly)
    with running(endpoint.server(student, 0)) as port, connect(port) as long:
        long.sendall(chat(port, 1))
        health = send(port, request(port, method="GET", path="/health"))
        assert health is not None
        assert health.status == 200
        read_it.set()
        found = read(long)
    assert found is not None
    assert found.status == 500


def test_an_error_of_the_model_is_an_answer(slow: Slow) -> None:
    with running(endpoint.server(slow, 0)) as port:  # type: ignore[arg-type]
        for error, status in ((RuntimeError("/a/path"), 500), (TimeoutError(), 500), (None, 200)):
            slow.error = error
            with connect(port) as connection:
                connection.sendall(chat(port, 1))
                found = read(connection)
            assert found is not None
            assert found.status == status
            assert "path" not in json.dumps(found.body)


def test_too_many_waiting_requests_are_told_so(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "Engine", lambda student: Engine(student, waiting=1))
    with running(endpoint.server(slow, 0)) as port, connect(port) as first:  # type: ignore[arg-type]
        first.sendall(chat(port, 1000))
        while not slow.steps:
            time.sleep(0.01)
        with connect(port) as second:
            second.sendall(chat(port, 1))
            found = read(second)
    assert found is not None
    assert (found.status, found.headers["Retry-After"]) == (503, "1")


# --- The command line ---------------------------------------------------------------------------


def test_the_embedded_teacher_is_served_under_the_name_it_is_asked_by(tiny: Path) -> None:
    assert endpoint.served_names(tiny) == (tiny.name, embedded.name(tiny))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error message for a mistake on the command line."""
    try:
        status = endpoint.main(arguments)
    except SystemExit as error:
        status = int(error.code or 0)
    assert status == 2
    found = capsys.readouterr().err
    assert "Traceback" not in found
    return found


def test_a_folder_that_is_no_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"No model in {tmp_path}" in said(capsys, str(tmp_path), "--port=0")
    (tmp_path / "config.json").write_text("{")
    assert f"No tokenizer in {tmp_path}" in said(capsys, str(tmp_path), "--port=0")


def test_weights_that_cannot_be_loaded_are_named(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:2000])
    (tmp_path / "tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())
    assert f"The model in {tmp_path} cannot be loaded" in said(capsys, str(tmp_path), "--port=0")


@pytest.mark.parametrize("port", ["-1", "65536", "http", "1e3", "", "9" * 5000])
def test_a_port_is_a_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a port" in said(capsys, "model", f"--port={port}")


@pytest.mark.parametrize("option", ["--host", "--allow-host"])
def test_a_host_is_a_host(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a host name" in said(capsys, "model", "--port=0", f"{option}=http://a/")


@pytest.mark.parametrize("value", [None, "", " \n", "k\u00e9y", "a\nb"])
def test_a_key_is_there_or_nothing_is_served(
    value: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENDPOINT_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ENDPOINT_KEY", value)
    found = said(capsys, "model", "--port=0", "--api-key-env=ENDPOINT_KEY")
    assert "The environment variable ENDPOINT_KEY has no key" in found
    assert not value or value.strip() not in found or not value.strip()


def test_an_address_that_is_taken_is_named(
    tiny: Path, student: torch_backend.TorchStudent, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoint, "_load", lambda *_: student)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in said(capsys, str(tiny), f"--port={port}")
    for host in ("203.0.113.1", "no-such-host.invalid", "a" * 300):
        assert "Cannot listen at" in said(capsys, str(tiny), "--port=0", f"--host={host}")


def test_the_command_serves_with_its_key(
    tiny: Path, student: torch_backend.TorchStudent, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No message has the key, and an interrupt ends the server without a traceback."""
    statuses = []

    def serve(server: Server) -> None:
        monkeypatch.undo()
        with running(server) as port:
            for key in ("Bearer other", "Bearer s3cret"):
                found = send(
                    port,
                    request(port, f"Authorization: {key}", method="GET", path="/health"),
                )
                assert found is not None
                statuses.append(found.status)
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint, "_load", lambda *_: student)
    monkeypatch.setattr(Server, "serve", serve)
    monkeypatch.setenv("ENDPOINT_KEY", "s3cret\n")
    assert endpoint.main([str(tiny), "--port=0", "--api-key-env=ENDPOINT_KEY"]) == 130
    assert statuses == [401, 200]
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith(f"serving {tiny} at http://127.0.0.1:")
    assert "s3cret" not in found.err


def test_one_name_and_a_precision_can_be_given(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts the server knows the name to ask for, and weights need not be hashed."""
    found: dict[str, Any] = {}

    def served(student: torch_backend.TorchStudent, *_: Any, **options: Any) -> Server:
        found.update(options, dtype=str(student.model.dtype))
        raise OSError("stop here")

    monkeypatch.setattr(endpoint, "server", served)
    said(capsys, str(tiny), "--port=0", "--name=m@torch-1", "--precision=bfloat16")
    assert (found["names"], found["dtype"]) == (("m@torch-1",), "torch.bfloat16")
    said(capsys, str(tiny), "--port=0")
    assert (found["names"], found["dtype"]) == (endpoint.served_names(tiny), "torch.float32")
    assert "invalid choice: 'half'" in said(capsys, str(tiny), "--port=0", "--precision=half")

"""The endpoint over a small model: what it answers, how it draws, what it refuses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from distill_sql.datasets import Dataset
from distill_sql.prompts import prompt_messages
from distill_sql.recipes import Recipe

pytest.importorskip("torch", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from distill_sql.students import endpoint, torch_backend  # noqa: E402
from distill_sql.students.endpoint import Asked, groups, sampler  # noqa: E402


@pytest.fixture(scope="module")
def student(tiny: Path) -> torch_backend.TorchStudent:
    return torch_backend.load(tiny, Recipe("tiny", str(tiny), trained=False, precision="float32"))


@pytest.fixture(scope="module")
def url(student: torch_backend.TorchStudent) -> Iterator[str]:
    server = endpoint.server(student, 0)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chats(pocket_train: Dataset) -> list[Any]:
    return [prompt_messages(pocket_train, e, style="compact") for e in pocket_train.limit(12)]


def post(url: str, body: Any, path: str = "/v1/chat/completions") -> dict[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=60) as answer:
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


def test_draws_follow_the_softmax() -> None:
    import torch

    logits = torch.tensor([[2.0, 1.0, 0.0]])
    choose = sampler([7], 0.5)
    assert choose is not None
    drawn = torch.cat([choose(logits, [0]) for _ in range(4000)])
    found = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(found, (logits[0] / 0.5).softmax(0), atol=0.025, rtol=0)
    assert sampler([7], 0.0) is None


def test_requests_that_begin_alike_are_answered_together() -> None:
    def asked(*ids: int, temperature: float = 0.3, samples: int = 3) -> Asked:
        return Asked(ids, samples, temperature, 64)

    first, second = asked(1, 2, 3, 4), asked(1, 2, 3, 5)
    other, hotter = asked(7, 8, 9, 9), asked(1, 2, 3, 4, temperature=1.0)
    assert groups([first, other, hotter, second]) == [[first, second], [other], [hotter]]


def test_requests_of_like_length_are_answered_together() -> None:
    lengths = [9, 4, 8, 5, 7, 6, 5, 9, 4, 6]
    many = [Asked((1,) * 9 + (n,) * n, 16, 0.3, 64) for n in lengths]
    found = [[len(asked.ids) - 9 for asked in group] for group in groups(many)]
    assert found == [[4, 4, 5, 5, 6], [6, 7, 8, 9, 9]]
    sevens = groups([Asked((1, 2, n), 7, 0.3, 64) for n in range(27)])
    assert [len(group) for group in sevens] == [9, 9, 9]  # two of them would hold 98 rows


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

"""llama.cpp's server on a tiny GGUF file: its answers, and files that it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill_sql.errors import MissingDependencyError
from distill_sql.models import llama_server
from distill_sql.models.gguf_file import converted
from distill_sql.prompting.tokenizer import Message, load_tokenizer
from distill_sql.teacher.local import started

pytest.importorskip("torch", reason="the extra train is not installed")
pytest.importorskip("gguf", reason="the extra train is not installed")
pytest.importorskip("xllamacpp", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

from tests.models.test_gguf_file import write_gguf  # noqa: E402

OFFICIAL = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
CHAT: list[Message] = [{"role": "user", "content": "How many farms are there?"}]


@pytest.fixture(scope="module")
def file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tiny, tmp_path_factory.mktemp("file") / "tiny.gguf")


@pytest.fixture(scope="module")
def url(file: Path) -> Iterator[str]:
    module = "distill_sql.models.llama_server"
    with started(module, [str(file), "--name=tiny-1"], what="tiny") as served:
        yield served.url


def post(url: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps({"messages": CHAT} | body).encode(),
        {"Content-Type": "application/json"} | (headers or {}),
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def test_one_request_gives_all_samples(url: str) -> None:
    answer = post(url, n=3, temperature=1.0, max_tokens=12)
    assert answer["model"] == "tiny-1"
    assert len(set(texts(answer))) == 3
    assert answer["usage"]["completion_tokens"] <= 12  # of the first sample, as the page says
    assert {choice["finish_reason"] for choice in answer["choices"]} <= {"length", "stop"}


def test_greedy_answers_are_the_same_again(url: str) -> None:
    one, same = (texts(post(url, temperature=0, max_tokens=12)) for _ in range(2))
    assert one == same


def difference(url: str, file: Path) -> tuple[float, bool]:
    """The largest difference of the log-probabilities that llama.cpp and the converted model give
    the likeliest first tokens, and whether the likeliest is the same."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = converted(file)
    answer = post(url, temperature=0, max_tokens=1, logprobs=True, top_logprobs=10)
    likely = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(tokenizer.render(CHAT))
    assert answer["usage"]["prompt_tokens"] == len(ids)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        ours = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert len(likely) == 10
    worst = max(abs(float(ours[one["id"]]) - one["logprob"]) for one in likely)
    return worst, int(ours.argmax()) == likely[0]["id"]


def test_the_converted_model_is_that_of_llama_cpp(
    url: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path))
    worst, same = difference(url, file)
    assert same
    assert worst < 0.01


@pytest.mark.slow
def test_the_official_file_is_converted_to_the_model_of_llama_cpp() -> None:
    """llama.cpp computes with rounded activations, which the converted model does not."""
    official = Path(os.environ.get("MODELS_DIR", "none")) / OFFICIAL
    if not official.is_file():
        pytest.skip(f"no {OFFICIAL} in MODELS_DIR")
    module = "distill_sql.models.llama_server"
    with started(module, [str(official)], what="the 0.5B") as served:
        worst, same = difference(served.url, official)
    assert same
    assert worst < 0.2


def test_samples_come_from_all_tokens(url: str) -> None:
    """A random model likes all of its 600 tokens; llama.cpp's own default keeps 40."""
    found = {
        text
        for _ in range(12)
        for text in texts(post(url, n=llama_server.SEQUENCES, temperature=2.0, max_tokens=1))
    }
    assert len(found) > 45


def test_a_page_of_another_origin_may_not_read_answers(url: str) -> None:
    request = urllib.request.Request(f"{url}/models", headers={"Origin": "http://evil.example"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", "http://evil.example")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert llama_server.main([*arguments, "--port=1"]) == 2
    return capsys.readouterr().err


def test_a_file_that_cannot_be_served_is_named(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "cannot be read" in said(capsys, str(tmp_path / "none.gguf"))
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    assert "is no GGUF file" in said(capsys, str(tmp_path / "page.gguf"))
    assert "expected abc" in said(capsys, str(file), "--sha256=abc")


def test_a_damaged_file_is_named(file: Path, tmp_path: Path) -> None:
    """In a process of its own: llama.cpp may end it."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:20_000])
    done = subprocess.run(
        [sys.executable, "-m", "distill_sql.models.llama_server", str(cut), "--port=0"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"llama.cpp cannot serve {cut}" in done.stderr
    assert "Traceback" not in done.stderr


def test_too_little_memory_names_the_need(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_server, "of_machine", lambda: 2**29)
    assert "takes 2.0 GiB of memory, and 0.5 GiB are available" in said(capsys, str(file))


def test_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_server, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="needs xllamacpp"):
        llama_server.check(file)

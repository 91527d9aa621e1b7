from __future__ import annotations

import io
import json
import math
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.teacher import Store
from distill_sql.teacher.open_model import OpenModel, open_model
from distill_sql.teacher.prices import dollars
from tests.teacher.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, books, serving
from tests.teacher.test_sampling import Named

GOLD = "```sql\nSELECT count(*) FROM customer\n```"
PRICE = ["--price", "0.15", "0.6"]


@pytest.fixture
def trained(toy_dataset: Path, tmp_path: Path) -> Path:
    """The toy dataset, with a training split."""
    root = Path(shutil.copytree(toy_dataset, tmp_path / "trained"))
    shutil.copy(root / "dev.json", root / "train.json")
    return root


def command(verb: str, root: Path, url: str, *more: str) -> list[str]:
    cache = root.parent / "cache.sqlite"
    base = ["--dataset", str(root), "--base-url", url, "--cache", str(cache)]
    return ["teacher", verb, *base, *more]


def test_from_question_to_trace(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"How many customers": [GOLD, "no idea", GOLD]}
    out = tmp_path / "traces.jsonl"
    with serving(tmp_path, answers=answers) as url:
        assert main(command("sample", trained, url, *PRICE, "--budget", "1", "--yes")) == 0
        printed = capsys.readouterr().out
        assert "2 requests for 6 samples will be sent to gpt-4o-mini" in printed
        assert "about $0.00" in printed
        assert "2 requests answered with 6 samples" in printed
        assert main(command("traces", trained, url, str(out), "--neighbours", "2")) == 0
        assert books(url)["requests"] == 2
        printed = capsys.readouterr().out
        assert "2 of 2 questions have all their samples; 1 of them" in printed
        assert "1 samples dropped: no SQL" in printed
        assert main(command("sample", trained, url)) == 0  # nothing is missing: nothing to pay
    (line,) = out.read_text().splitlines()
    trace = json.loads(line)
    assert trace["sql"] == "SELECT count(*) FROM customer"
    assert trace["n_passed"] == 2
    assert [message["role"] for message in trace["messages"]] == ["system", "user"]


def test_the_cache_can_be_read(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", str(tmp_path / "cache.sqlite")]
    assert main(["teacher", "cache", "stats", *cache]) == 2
    assert "No cache of answers at" in capsys.readouterr().err
    with serving(tmp_path) as url:
        main(command("sample", trained, url))
    capsys.readouterr()
    assert main(["teacher", "cache", "stats", *cache]) == 0
    assert "gpt-4o-mini: 6 samples of 2 requests" in capsys.readouterr().out
    assert main(["teacher", "cache", "export", *cache]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 6
    assert "sk-" not in json.dumps(records)
    assert main(["teacher", "cache", "prune", *cache]) == 2
    assert main(["teacher", "cache", "prune", *cache, "--model", "gpt-4o-mini"]) == 0
    assert "6 samples deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "set a limit with --budget"),
        (["--budget", "0"], "The budget of $0.00 leaves nothing"),
        (["--budget", "1"], "no terminal to ask for confirmation: give --yes"),
    ],
)
def test_nothing_is_spent_without_confirmation(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with serving(tmp_path) as url:
        assert main(command("sample", trained, url, *PRICE, *more)) == 2
        assert books(url).get("requests", 0) == 0
    assert message in capsys.readouterr().err


def test_no_key_for_openai(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(command("sample", trained, "https://api.openai.com/v1", "--budget", "1")) == 2
    assert "No key: set OPENAI_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secret\r\n", " sk-secret"])
def test_a_key_with_a_line_end_works(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key.replace("secret", "test"))
    with serving(tmp_path) as url:
        assert main(command("sample", trained, url)) == 0
        assert books(url)["with_key"] == 2


@pytest.mark.parametrize("verb", ["sample", "batch"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--concurrency", "0"], "The concurrency is 0; expected 1 to 1000"),
        (["--concurrency", "-3"], "The concurrency is -3"),
        (["--concurrency", "100000000"], "The concurrency is 100000000"),
        (["--limit", "0"], "--limit is 0; expected 1 or more"),
        (["--limit", "-1"], "--limit is -1; expected 1 or more"),
        (["--samples", "0"], "samples is 0; expected 1 to 128"),
        (["--max-tokens", "-5"], "max_tokens is -5; expected"),
        (["--temperature", "nan"], "temperature is nan; expected"),
        (["--temperature", "inf"], "temperature is inf; expected"),
        (["--price", "nan", "1"], "--price is nan; expected dollars from 0"),
        (["--price", "-0.1", "1"], "--price is -0.1; expected"),
        (["--price", "1", "inf"], "--price is inf; expected"),
        (["--budget", "-1"], "--budget is -1.0; expected dollars from 0"),
        (["--budget", "nan"], "--budget is nan; expected"),
        (["--budget", "1e12"], "--budget is 1000000000000.0; expected"),
        (["--base-url", "ftp://host/v1"], "does not begin with http"),
        (["--base-url", "localhost:8000"], "does not begin with http"),
        (["--base-url", "http://"], "it has no host"),
        (["--base-url", "http://a b/v1"], "it has white space"),
        (["--base-url", "https://openrouter.ai/api/v1"], "it may cost money. Give one with"),
        (["--base-url", "https://openrouter.ai/api/v1", "--budget", "1"], "Give one with --price"),
        (["--base-url", "https://me:hunter2@box/v1", "--budget", "1"], "Give one with --price"),
        (["--model", "gpt-99", "--base-url", "https://EU.api.openai.com/v1"], "No price for"),
    ],
)
def test_invalid_options_are_errors_before_any_work(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str,
    more: list[str], message: str,
) -> None:  # fmt: skip
    if verb == "batch" and "--concurrency" in more:
        pytest.skip("a batch has no concurrency")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr("distill_sql.cli.teacher.Store", None)  # no cache is opened
    assert main([*command(verb, trained, "http://127.0.0.1:9/v1"), "--yes", *more]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "secret" not in printed
    assert "hunter2" not in printed


@pytest.mark.parametrize("verb", ["sample", "batch"])
@pytest.mark.parametrize("key", ["sk-secret\nsk-secret", "Bearer sk-secret", "sk-secret\u2019"])
def test_an_invalid_key_is_an_error_and_not_shown(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str,
    key: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert main(command(verb, trained, "http://127.0.0.1:9/v1")) == 2
    printed = capsys.readouterr().err
    assert "OPENAI_API_KEY cannot be used as a key" in printed
    assert "secret" not in printed


def test_a_price_below_a_nano_dollar_is_paid(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as url:
        tiny = ["--price", "0.0004", "0.0004"]
        assert main(command("sample", trained, url, *tiny, "--yes")) == 2
        assert "set a limit with --budget" in capsys.readouterr().err
        assert main(command("sample", trained, url, *tiny, "--budget", "1", "--yes")) == 0
    cost = 2 * math.ceil(0.4 * (PROMPT_TOKENS + 3 * COMPLETION_TOKENS))
    assert f"{dollars(cost)} spent or booked" in capsys.readouterr().out


def test_a_free_endpoint_is_reported_as_free(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as url:
        assert main(command("sample", trained, url, "--limit", "1", "--budget", "1")) == 0
        assert "free at an address in this network" in capsys.readouterr().out
        assert main(command("sample", trained, url, "--price", "0", "0")) == 0
        assert "free as --price says" in capsys.readouterr().out


def test_a_login_in_the_address_is_neither_shown_nor_stored(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "traces.jsonl"
    with serving(tmp_path) as url:
        with_login = url.replace("://", "://me:hunter2@")
        assert main(command("sample", trained, with_login)) == 0
        assert main(command("traces", trained, with_login, str(out), "--neighbours", "0")) == 0
    assert "hunter2" not in "".join(capfd.readouterr())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_without_a_terminal_the_answer_is_no(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for answer in ("", "n\n", "what\n"):
        stdin = io.StringIO(answer)
        stdin.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", stdin)
        with serving(tmp_path) as url:
            assert main(command("sample", trained, url, *PRICE, "--budget", "1")) == 2
            assert books(url).get("requests", 0) == 0
        assert "Nothing was sent" in capsys.readouterr().err


def test_the_amount_that_stays_booked_is_printed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    with serving(tmp_path, status=504) as url:
        assert main(command("sample", trained, url, *PRICE, "--budget", "1", "--yes")) == 1
    printed = capsys.readouterr().err
    assert "stays booked for requests of this run that got no answer" in printed


MODES = {
    "parts": ("SELECT count(*) FROM singer", 6),
    "surr": ("SELECT count(*) FROM singer", 6),
    "u2028": ("SELECT count(*) FROM singer", 6),
    "null": ("", 6),
    "reasoning": ("", 6),
    "msgnull": ("", 6),
    "choicesnull": ("", 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_malformed_answers_do_not_end_a_run(
    cases: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    folder = cases / "06_teacher_answers"
    cache, out = tmp_path / "cache.sqlite", tmp_path / "traces.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = [sys.executable, str(folder / "fake_endpoint.py"), str(port), mode]
    with subprocess.Popen(script) as endpoint:
        try:
            while True:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.05)
            common = ["--dataset", str(folder / "dataset"), "--cache", str(cache)]
            url = ["--base-url", f"http://127.0.0.1:{port}/v1"]
            status = main(["teacher", "sample", *common, *url])
        finally:
            endpoint.kill()
    sql, count = MODES[mode]
    assert status == (0 if count else 1)
    with Store(cache) as store:
        texts = [record["text"] for record in store.export()]
    assert len(texts) == count
    assert all(sql in text for text in texts)
    if count:
        assert main(["teacher", "traces", *common, *url, str(out), "--neighbours", "0"]) == 0
        assert len(out.read_text(encoding="utf-8").split("\n")[:-1]) == (2 if sql else 0)


def test_the_key_is_neither_shown_nor_stored(
    trained: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
    with serving(tmp_path) as url:
        assert main(command("sample", trained, url)) == 0
        assert books(url)["with_key"] == 2
    with serving(tmp_path, status=401, error={"message": "bad key"}) as url:
        assert main(command("sample", trained, url)) == 2
    shown = "".join(capfd.readouterr())
    assert "secret" not in shown
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"sk-test-secret" not in path.read_bytes(), path


def test_a_stopped_run_says_how_to_continue(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, status=429, refused={"retry-after": "7200"}) as url:
        assert main(command("sample", trained, url)) == 1
    assert "the same command continues" in capsys.readouterr().err


def test_an_open_teacher_on_the_command_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Without an address, a key or a budget; the traces come from its answers alone."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    out, model = tmp_path / "traces.jsonl", ["--model", "coder-1.5b"]
    cache = ["--dataset", str(trained), "--cache", str(tmp_path / "cache.sqlite")]

    @contextmanager
    def stand_in(_: OpenModel) -> Iterator[Named]:
        with serving(tmp_path, default=GOLD) as url:
            yield Named(url)

    monkeypatch.setattr(OpenModel, "serving", stand_in)
    assert main(["teacher", "sample", *cache, *model]) == 0
    name = open_model("coder-1.5b").name
    assert f"6 samples will be sent to {name} on this machine, free" in capsys.readouterr().out
    other = "coder-0.5b"
    assert main(["teacher", "traces", *cache, "--model", other, str(out)]) == 2
    capsys.readouterr()
    assert main(["teacher", "traces", *cache, *model, str(out), "--neighbours", "0"]) == 0
    assert json.loads(out.read_text().splitlines()[0])["model"] == name
    capsys.readouterr()
    assert main(["teacher", "batch", *cache, *model]) == 2
    assert "has no Batch API" in capsys.readouterr().err
    assert main(["teacher", "sample", *cache, "--model", "coder-1.5b@vllm"]) == 2
    assert "No server 'vllm'" in capsys.readouterr().err


def test_a_batch_on_the_command_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as url:
        assert main(command("batch", trained, url, *PRICE, "--budget", "1", "--yes")) == 0
        assert "1 batches are pending" in capsys.readouterr().out
        assert main(command("batch", trained, url, *PRICE)) == 0
        assert main(command("batch", trained, url)) == 0
        assert "Nothing is missing" in capsys.readouterr().out


def test_prompts_with_another_schema_budget_are_other_questions(
    trained: Path, tmp_path: Path, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TOKENIZER_DIR", str(qwen_dir))
    out = tmp_path / "traces.jsonl"
    cut = ["--schema-tokens", "100"]
    with serving(tmp_path, answers={"How many customers": [GOLD] * 3}) as url:
        assert main(command("sample", trained, url, *PRICE, "--budget", "1", "--yes", *cut)) == 0
        capsys.readouterr()
        for other in ([], ["--schema-tokens", "60"]):
            assert main(command("traces", trained, url, str(out), "--neighbours", "0", *other)) == 2
            told = capsys.readouterr().err
            assert "None of 2 questions has its 3 samples" in told
            assert "--schema-tokens" in told
            assert not out.exists()
        assert main(command("traces", trained, url, str(out), "--neighbours", "0", *cut)) == 0
        assert books(url)["requests"] == 2
    (line,) = out.read_text().splitlines()
    trace = json.loads(line)
    assert trace["schema_tokens"] == 100
    assert "order_item" not in trace["messages"][1]["content"]


@pytest.mark.parametrize("verb", ["sample", "batch", "traces"])
def test_a_schema_budget_is_checked_before_anything_is_asked(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    more = [str(tmp_path / "t.jsonl")] if verb == "traces" else []
    assert (
        main(command(verb, trained, "http://127.0.0.1:9/v1", "--schema-tokens", "-5", *more)) == 2
    )
    assert "--schema-tokens (schema_tokens in Python) is -5" in capsys.readouterr().err

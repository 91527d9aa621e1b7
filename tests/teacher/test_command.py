from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill_sql.cli import main
from tests.teacher.endpoint import books, serving

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
        assert "2 requests for 6 samples are to be sent to gpt-4o-mini" in printed
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


def test_the_cache_can_be_looked_at(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", str(tmp_path / "cache.sqlite")]
    assert main(["teacher", "cache", "stats", *cache]) == 2
    assert "No answers at" in capsys.readouterr().err
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
        ([], "say how much it may be with --budget"),
        (["--budget", "0"], "The budget of $0.00 leaves nothing"),
        (["--budget", "1"], "Nobody is there to be asked: give --yes"),
    ],
)
def test_nothing_is_spent_without_a_word(
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


def test_the_key_is_nowhere(
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


def test_a_stopped_run_says_how_to_go_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, status=429, refused={"retry-after": "7200"}) as url:
        assert main(command("sample", trained, url)) == 1
    assert "the same command goes on" in capsys.readouterr().err


def test_a_batch_by_the_verb(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as url:
        assert main(command("batch", trained, url, *PRICE, "--budget", "1", "--yes")) == 0
        assert "1 under way" in capsys.readouterr().out
        assert main(command("batch", trained, url, *PRICE)) == 0
        assert main(command("batch", trained, url)) == 0
        assert "Nothing is missing" in capsys.readouterr().out

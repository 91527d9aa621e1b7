"""``distill-sql generate --model``: an endpoint's answers to a split, as ordinary predictions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import load_dataset
from distill_sql.scoring import read_predictions, score
from distill_sql.teacher import Store
from tests.teacher.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, books, serving

GOLD = "```sql\nSELECT count(*) FROM customer;\n```"
PRICE = ["--price", "0.15", "0.6", "--yes"]
#: What the two questions of the toy dataset cost, in nano-dollars.
COST = 2 * (PROMPT_TOKENS * 150 + COMPLETION_TOKENS * 600)


def command(root: Path, url: str, out: Path, *more: str) -> list[str]:
    cache = out.parent / "cache.sqlite"
    return ["generate", "--model", "gpt-4o-mini", "--base-url", url, "--dataset", str(root),
            "--cache", str(cache), "--out", str(out), *more]  # fmt: skip


def test_from_questions_to_a_score(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    answers = {"How many customers": [GOLD], "ordered a lamp": ["I would rather not."]}
    with serving(tmp_path, answers=answers) as url:
        paid = [*PRICE, "--budget", "1"]
        assert main(command(toy_dataset, url, out, *paid)) == 0
        first, before = capsys.readouterr().out, out.read_bytes()
        assert main(command(toy_dataset, url, out, *paid)) == 0  # nothing is paid for twice
        assert books(url)["requests"] == 2
    assert "2 requests for 2 samples will be sent to gpt-4o-mini" in first
    told = f"{out}: 2 predictions; now: distill-sql score {out} --dataset {toy_dataset}\n"
    assert first.endswith(told)
    assert "0 requests answered with 0 samples for $0.00" in capsys.readouterr().out
    assert out.read_bytes() == before
    assert [json.loads(line) for line in before.splitlines()] == [
        {"question_id": 0, "db_id": "shop", "pred_sql": "SELECT count(*) FROM customer",
         "raw_text": GOLD, "n_prompt_tokens": PROMPT_TOKENS, "n_output_tokens": COMPLETION_TOKENS},
        {"question_id": 1, "db_id": "shop", "pred_sql": "", "raw_text": "I would rather not.",
         "n_prompt_tokens": PROMPT_TOKENS, "n_output_tokens": COMPLETION_TOKENS},
    ]  # fmt: skip
    dataset = load_dataset(toy_dataset)
    accuracy = score(read_predictions(out, dataset), dataset).accuracy()
    assert (accuracy.correct, accuracy.n) == (1, 2)
    record = json.loads((tmp_path / "p.jsonl.manifest.json").read_text())
    assert (record["model"], record["host"]) == ("gpt-4o-mini", "127.0.0.1")
    assert record["dataset"]["fingerprint"] == dataset.fingerprint
    assert record["settings"] == {
        "mode": "direct", "style": "full", "schema_tokens": 0, "temperature": 0.0,
        "max_tokens": 512,
    }  # fmt: skip
    assert record["usage"] == {
        "prompt_tokens": 2 * PROMPT_TOKENS, "completion_tokens": 2 * COMPLETION_TOKENS,
        "cost_dollars": COST / 1e9,
    }  # fmt: skip
    assert url not in json.dumps(record)


def test_the_chosen_prompt_is_asked(
    toy_dataset: Path, tmp_path: Path, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZER_DIR", str(qwen_dir))
    out, sent = tmp_path / "p.jsonl", []
    choices: list[list[str]] = [
        [],
        ["--mode", "reasoning"],
        ["--style", "compact"],
        ["--schema-tokens", "60"],
        ["--temperature", "0.7"],
        ["--max-tokens", "99"],
        ["--limit", "1"],
    ]
    with serving(tmp_path) as url:
        for more in choices:
            assert main(command(toy_dataset, url, out, *more)) == 0
            assert len(out.read_text().splitlines()) == (1 if more[:1] == ["--limit"] else 2)
        assert books(url)["requests"] == 2 * (len(choices) - 1)  # the limit asks nothing new
    with Store(tmp_path / "cache.sqlite") as store:
        sent = [record["request"] for record in store.export()]
    assert {body["temperature"] for body in sent} == {0.0, 0.7}
    assert {body["max_tokens"] for body in sent} == {99, 512}
    texts = [body["messages"][-1]["content"] for body in sent]
    assert sum("First reason briefly" in text for text in texts) == 2
    assert sum("CREATE TABLE" not in text for text in texts) == 2
    cut = [text for text in texts if "CREATE TABLE" in text and "order_item" not in text]
    assert 1 <= len(cut) <= 2


def test_a_higher_budget_continues_the_run(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    with serving(tmp_path) as url:
        small = [*PRICE, "--budget", "0.0005", "--concurrency", "1"]  # for one request
        assert main(command(toy_dataset, url, out, *small)) == 1
        printed = capsys.readouterr().err
        assert "1 of 2 questions have no answer yet (stopped: the budget of $0.0005" in printed
        assert f"so {out} is not written" in printed
        assert "run the same command again to continue" in printed
        assert not out.exists()
        assert books(url)["cost"] <= 500_000
        assert main(command(toy_dataset, url, out, *PRICE, "--budget", "1")) == 0
        assert books(url)["requests"] == 2
    assert len(out.read_text().splitlines()) == 2


def test_an_earlier_file_stays_until_all_have_an_answer(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    out.write_text("earlier\n")
    odd = {"ordered a lamp": {"status": 400, "body": '{"error": {"message": "no"}}'}}
    with serving(tmp_path, odd=odd) as url:
        assert main(command(toy_dataset, url, out)) == 1
    printed = capsys.readouterr().err
    assert "question 1 failed: status 400: no" in printed
    assert "1 of 2 questions have no answer yet, so" in printed
    assert out.read_text() == "earlier\n"
    assert not (tmp_path / "p.jsonl.manifest.json").exists()


def test_two_processes_ask_nothing_twice(toy_dataset: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with serving(tmp_path, latency=0.3) as url:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "distill_sql.cli", *command(toy_dataset, url, out)],
                stdout=subprocess.DEVNULL,
            )
            for out in outs
        ]
        assert [process.wait(60) for process in started] == [0, 0]
        assert books(url)["requests"] == 2
    assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--base-url", "https://openrouter.ai/api/v1"], "it may cost money. Give one with"),
        (["--base-url", "ftp://host/v1"], "does not begin with http"),
        (["--base-url", "embedded"], "has no address of its own"),
        (["--price", "1", "1"], "set a limit with --budget"),
        (["--price", "1", "1", "--budget", "1"], "no terminal to ask for confirmation: give --yes"),
        (["--price", "-1", "1"], "--price is -1.0; expected dollars from 0"),
        (["--concurrency", "0"], "The concurrency is 0; expected 1 to 1000"),
        (["--temperature", "nan"], "temperature is nan; expected"),
        (["--max-tokens", "100001"], "max_tokens is 100001; expected"),
        (["--model", ""], "The model is ''; expected the name of a model"),
        (["--split", "test"], "test.json does not exist"),
    ],
)
def test_invalid_options_are_errors_and_nothing_is_sent(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, more: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    out = tmp_path / "p.jsonl"
    assert main(command(toy_dataset, "http://127.0.0.1:9/v1", out, *more)) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_output_must_not_be_the_cache(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache.sqlite"
    Store(cache).close()
    assert main(command(toy_dataset, "http://127.0.0.1:9/v1", cache)) == 2
    assert "is the cache of answers, which would be lost" in capsys.readouterr().err


def test_a_missing_database_is_an_error_before_asking(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "data"))
    schema = {"db_id": "shop", "table_names_original": ["customer"], "column_names_original":
              [[-1, "*"], [0, "id"]], "column_types": ["text", "number"], "primary_keys": [1],
              "foreign_keys": [], "table_names": ["customer"],
              "column_names": [[-1, "*"], [0, "id"]]}  # fmt: skip
    (root / "tables.json").write_text(json.dumps([schema]))
    (root / "database" / "shop" / "shop.sqlite").unlink()
    with serving(tmp_path) as url:
        assert main(command(root, url, tmp_path / "p.jsonl")) == 2
        assert books(url).get("requests", 0) == 0
    assert "'shop' of data is missing" in capsys.readouterr().err

"""``distill-sql generate``: a student or an endpoint, and the prompts of a student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import load_dataset
from distill_sql.models.recipes import Recipe
from distill_sql.runs.recording.adapter import weights_digest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> list[dict[str, Any]]:
    """The settings with which ``generate`` was called; no student is loaded."""
    calls: list[dict[str, Any]] = []

    class Nobody:
        framework = "torch"

    def generate(student: object, dataset: object, out: Path, **settings: Any) -> Path:
        calls.append(settings)
        out.write_text("")
        return out

    monkeypatch.setattr("distill_sql.models.students.open_student", lambda *_, **__: Nobody())
    monkeypatch.setattr("distill_sql.models.generation.generate", generate)
    return calls


def trained(folder: Path, **overridden: Any) -> Path:
    """An adapter with the record of a training run."""
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    record = {"recipe": "pocket-s", "model": "pocket-s", "overridden": overridden}
    (folder / "manifest.json").write_text(json.dumps(record))
    return adapter


def test_after_the_test_split_the_next_command_is_pocket_test(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    assert main(["generate", "pocket-s-base", "--split", "test", "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"now: distill-sql pocket test {out}\n")


def test_a_student_gets_the_prompts_of_its_training(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = trained(tmp_path / "run", schema_tokens=150, style="full")
    out = tmp_path / "p.jsonl"
    base = ["generate", "pocket-s", "--adapter", str(adapter), "--out", str(out)]
    assert main(base) == 0
    assert (asked[-1]["schema_tokens"], asked[-1]["style"]) == (150, "full")
    printed = capsys.readouterr()
    assert "using schema_tokens = 150, as in training" in printed.err
    assert printed.out == f"{out}: 510 predictions; now: distill-sql score {out}\n"
    record = json.loads((tmp_path / "p.jsonl.manifest.json").read_text())
    assert record["settings"] == {
        "mode": "direct", "style": "full", "schema_tokens": 150, "max_tokens": 256,
        "grammar": False,
    }  # fmt: skip
    assert record["dataset"]["fingerprint"] == load_dataset("pocket").fingerprint
    assert (record["recipe"], record["framework"]) == ("pocket-s", "torch")
    assert record["adapter"] == weights_digest(adapter)[:12]
    assert record["overridden"] == {"schema_tokens": 150, "style": "full"}


def test_other_questions_are_answered_recorded_and_named_for_scoring(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    questions, out = tmp_path / "other.json", tmp_path / "p.jsonl"
    first = load_dataset("pocket").examples[0]
    record = {"db_id": first.db_id, "question": "In other words?", "query": first.query}
    questions.write_text(json.dumps([record]))
    command = ["generate", "pocket-s", "--out", str(out), "--questions", str(questions)]
    assert main(command) == 0
    scoring = f"distill-sql score {out} --questions {questions}"
    assert capsys.readouterr().out == f"{out}: 1 predictions; now: {scoring}\n"
    about = json.loads((tmp_path / "p.jsonl.manifest.json").read_text())["dataset"]
    assert (about["name"], about["examples"]) == (f"pocket+{tmp_path.name}/other", 1)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        (["--schema-tokens", "500"], (500, "compact")),
        (["--schema-tokens", "0"], (0, "compact")),
        (["--set", "schema_tokens=0"], (0, "compact")),  # the recipe's own value, given explicitly
        (["--style", "full"], (150, "full")),
        (["--set", "style=full"], (150, "full")),
    ],
)
def test_other_prompts_need_an_option_and_are_printed(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str],
    more: list[str], wanted: tuple[int, str],
) -> None:  # fmt: skip
    adapter = trained(tmp_path / "run", schema_tokens=150)
    out = ["--out", str(tmp_path / "p.jsonl")]
    assert main(["generate", "pocket-s", "--adapter", str(adapter), *more, *out]) == 0
    assert (asked[-1]["schema_tokens"], asked[-1]["style"]) == wanted
    assert f"{adapter} was trained with " in capsys.readouterr().err


def test_without_a_record_the_recipe_decides(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = trained(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    out = ["--out", str(tmp_path / "p.jsonl")]
    for more in ([], ["--adapter", str(adapter)]):
        assert main(["generate", "pocket-s", *more, *out]) == 0
        assert (asked[-1]["schema_tokens"], asked[-1]["style"]) == (0, "compact")
        assert "trained" not in capsys.readouterr().err
    assert main(["generate", "pocket-s", *out, "--max-tokens", "7", "--style", "full"]) == 0
    assert (asked[-1]["max_tokens"], asked[-1]["style"]) == (7, "full")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Neither a recipe nor an endpoint was given"),
        (["pocket-s", "--model", "gpt-4o-mini"], "A recipe (pocket-s) and an endpoint"),
        (["pocket-s", "--base-url", "http://localhost/v1"], "A recipe (pocket-s) and an endpoint"),
        (["--base-url", "http://localhost/v1"], "give its name with --model"),
        (
            ["pocket-s", "--budget", "0"],
            "--budget is an option of an endpoint, but a recipe answers here",
        ),
        (["pocket-s", "--yes"], "--yes is an option of an endpoint"),
        (["pocket-s", "--price", "0", "0"], "--price is an option of an endpoint"),
        (["--model", "m", "--grammar"], "--grammar is an option of a recipe, but an endpoint"),
        (["--model", "m", "--set", "seed=1"], "--set is an option of a recipe"),
        (["--model", "m", "--adapter", "a"], "--adapter is an option of a recipe"),
        (["pocket-s", "--schema-tokens", "-1"], "--schema-tokens -1: expected 0 or more"),
        (["pocket-s", "--max-tokens", "0"], "--max-tokens 0: expected 1 or more"),
    ],
)
def test_exactly_one_of_recipe_and_endpoint_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments, "--out", "o"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_next_command_scores_the_same_dataset(
    tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str],
    toy_dataset: Path,
) -> None:  # fmt: skip
    out = tmp_path / "p.jsonl"
    data = ["--dataset", str(toy_dataset), "--limit", "1"]
    assert main(["generate", "pocket-s", *data, "--out", str(out)]) == 0
    expected = f"{out}: 1 predictions; now: distill-sql score {out} {' '.join(data)}\n"
    assert capsys.readouterr().out == expected

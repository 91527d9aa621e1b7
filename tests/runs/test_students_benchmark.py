"""The benchmark of students: what it measures, and that it is recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import ParameterError
from distill_sql.files import write_json_lines
from distill_sql.models import torch_backend
from distill_sql.models.recipes import recipe_for
from distill_sql.runs import generating, measured
from distill_sql.runs import students_benchmark as benchmark
from distill_sql.teacher.traces import Trace


def test_a_student_is_trained_in_both_ways_and_scored(traces: list[Trace], tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    write_json_lines(path, map(asdict, traces[:16]))
    dev = load_dataset("pocket").limit(4)
    found = benchmark.accuracy_by_precision(recipe_for("pocket-s"), path, dev)
    assert found["mixed_is_bfloat16"] == torch_backend.multiplies_bfloat16()
    assert {found[name] * 4 % 1 for name in ("mixed", "float32")} == {0}


def test_what_was_measured_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "measure", lambda options: {"mixed": 0.75, "rows": 3})
    words = ["benchmark", "precision", "--recipe", "pocket-s", "--traces", "/far/t.jsonl"]
    monkeypatch.setattr("sys.argv", words)
    benchmark.main()
    assert "mixed" in capsys.readouterr().out
    assert not measured.folder().exists()
    monkeypatch.setattr("sys.argv", [*words, "--record"])
    benchmark.main()
    found = measured.read_measurements(measured.folder() / "measurements.jsonl")
    assert {name: one.value for name, one in found.items()} == {
        "precision.pocket-s.mixed": 0.75,
        "precision.pocket-s.rows": 3.0,
    }
    assert found["precision.pocket-s.mixed"].command.endswith(
        "distill_sql.runs.students_benchmark precision --recipe pocket-s --traces t.jsonl"
    )


def test_what_a_measurement_needs_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, needs in (("precision", "--traces"), ("train", "--config and --tokenizer")):
        monkeypatch.setattr("sys.argv", ["benchmark", what])
        with pytest.raises(SystemExit):
            benchmark.main()
        assert f"{what} needs {needs}" in capsys.readouterr().err


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, float]:
    """The figures of one command, which are recorded under their names."""
    recorded: dict[str, float] = {}
    monkeypatch.setattr(
        measured,
        "record",
        lambda found, command: recorded.update({name: one[0] for name, one in found.items()}),
    )
    monkeypatch.setattr("sys.argv", ["benchmark", *words, "--record"])
    benchmark.main()
    return recorded


def test_generation_is_compared_with_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--recipe", "pocket-s-base", "--dataset", "pocket", "--questions", "20")
    found = run(monkeypatch, "generate", *words, "--max-tokens", "24", "--precision", "float32")
    kind = "generate.pocket-s-base"
    assert {name.rpartition(".")[0] for name in found} == {kind}
    figures = {name.removeprefix(f"{kind}."): value for name, value in found.items()}
    assert figures["questions"] == figures["same"] == 20
    assert figures["tokens"] == figures["plain_tokens"]
    for of in ("", "plain_"):
        seconds = figures[f"{of}seconds"]
        assert figures[f"{of}seconds_per_question"] == pytest.approx(seconds / 20)
        assert figures[f"{of}tokens_per_second"] == pytest.approx(figures[f"{of}tokens"] / seconds)
    assert figures["times_faster"] == pytest.approx(figures["plain_seconds"] / figures["seconds"])


def test_generation_by_the_grammar_is_compared_with_free(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llguidance", reason="the extra train is not installed")
    words = ("--recipe", "pocket-s-base", "--dataset", "pocket", "--questions", "10", "--grammar")
    found = run(monkeypatch, "generate", *words, "--max-tokens", "40")
    figures = {name.removeprefix("grammar.pocket-s-base."): value for name, value in found.items()}
    assert 0 < figures["same"] < figures["questions"] == 10  # an untrained base writes wrong names
    assert figures["more_seconds"] == pytest.approx(
        figures["seconds"] / figures["free_seconds"] - 1
    )
    assert figures["more_seconds_per_token"] == pytest.approx(
        figures["free_tokens_per_second"] / figures["tokens_per_second"] - 1
    )


def test_questions_are_spread_over_databases_of_all_sizes() -> None:
    train = load_dataset("pocket", split="train")
    counts: Counter[str] = Counter()
    largest = {db_id: 9 + number for number, db_id in enumerate(sorted(train.schemas))}
    kept = []
    for example in train:
        counts[example.db_id] += 1
        if counts[example.db_id] <= largest[example.db_id]:
            kept.append(example)
    train = train.with_examples(kept)
    sizes = Counter(example.db_id for example in train)
    some = generating.spread(train, 25)
    asked = Counter(example.db_id for example in some)
    assert sorted(asked.values()) == [5, 10, 10]
    assert len({example.question_id for example in some}) == 25
    taken = sorted(sizes[db_id] for db_id in asked)
    # The smallest database has 9 questions, too few.
    assert taken[0] == min(sizes.values()) + 1 == generating.EACH
    assert taken[0] < taken[1] < taken[2]
    with pytest.raises(ParameterError, match=r"10 on each of the \d+ databases"):
        generating.spread(train, 100_000)

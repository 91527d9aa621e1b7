from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import load_dataset

LINES = [
    {"question_id": 0, "db_id": "shop", "pred_sql": "SELECT count(*) FROM customer"},
    {"question_id": 1, "db_id": "shop", "pred_sql": "SELECT 1"},
]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return path


def test_table_and_json(
    toy_dataset: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = ["score", str(predictions), "--dataset", str(toy_dataset), "--json", str(out)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:4] == ["execution", "accuracy", "50.0", "100.0"]
    found = json.loads(out.read_text())
    assert found["summary"]["exec"]["correct"] == 1
    assert [example["exec"] for example in found["examples"]] == [True, False]
    assert found["examples"][1]["failure_mode"] == "wrong-result"
    assert found["examples"][1]["cause"] == "missing join"


def test_a_limit_scores_what_was_made_with_it(
    toy_dataset: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write_text(json.dumps(LINES[0]) + "\n")
    command = ["score", str(predictions), "--dataset", str(toy_dataset)]
    assert main(command) == 2
    assert "score with the same limit" in capsys.readouterr().err
    assert main([*command, "--limit", "1"]) == 0
    assert "100.0" in capsys.readouterr().out
    assert main([*command, "--limit", "0"]) == 2


def test_other_questions_are_scored_on_the_datasets_databases(
    toy_dataset: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both answers are right for questions whose gold queries they are."""
    questions = tmp_path / "other.json"
    questions.write_text(
        json.dumps(
            [{"db_id": "shop", "question": "?", "query": line["pred_sql"]} for line in LINES]
        )
    )
    command = ["score", str(predictions), "--dataset", str(toy_dataset)]
    assert main([*command, "--questions", str(questions)]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[2] == "100.0"


def test_a_broken_file_is_a_message_and_no_traceback(
    toy_dataset: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions.write_text(json.dumps(LINES[1]) + "\n")
    assert main(["score", str(predictions), "--dataset", str(toy_dataset)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "line 1: found question_id 1" in error


def test_an_unwritable_json_is_an_error_before_the_work(
    toy_dataset: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path, predictions / "below", tmp_path / "\0"):
        command = ["score", str(predictions), "--dataset", str(toy_dataset), "--json", str(out)]
        assert main(command) == 2
        told = capsys.readouterr()
        assert f"error: {out} cannot be written: " in told.err
        assert told.out == ""
    before = predictions.read_bytes()
    command = ["score", str(predictions), "--dataset", str(toy_dataset), "--json"]
    assert main([*command, str(predictions)]) == 2
    assert "would replace the predictions" in capsys.readouterr().err
    assert predictions.read_bytes() == before


def test_scoring_twice_gives_the_same_and_changes_nothing(
    toy_dataset: Path, predictions: Path, tmp_path: Path
) -> None:
    before = predictions.read_bytes()
    outs = [tmp_path / "a.json", tmp_path / "b.json"]
    for out in outs:
        main(["score", str(predictions), "--dataset", str(toy_dataset), "--json", str(out)])
    assert outs[0].read_text() == outs[1].read_text()
    assert predictions.read_bytes() == before


def test_two_files_are_compared(
    toy_dataset: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.sql"
    other.write_text("SELECT 9\nSELECT 1\n")
    command = ["score", "--dataset", str(toy_dataset), "--compare", str(predictions), str(other)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "execution accuracy, B - A: -50.0 points" in out
    assert "only A right 1, only B right 0" in out


def test_metrics_and_components_are_chosen(
    toy_dataset: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = ["score", str(predictions), "--dataset", str(toy_dataset), "--json", str(out)]
    assert main([*command, "--etype", "match", "--components"]) == 0
    printed = capsys.readouterr().out
    assert "execution accuracy" not in printed
    assert "exact set match" in printed
    assert "select(no AGG)" in printed
    example = json.loads(out.read_text())["examples"][0]
    assert (example["exec"], example["exact"], example["failure_mode"]) == (None, True, None)
    assert main([*command, "--etype", "exec", "--components"]) == 2
    assert "--components belongs to exact set match" in capsys.readouterr().err
    assert main(["score", "--dataset", str(toy_dataset)]) == 2
    assert "Nothing to score" in capsys.readouterr().err


@pytest.fixture
def odd_dataset(toy_dataset: Path, tmp_path: Path) -> Path:
    """Questions of the toy dataset, one that cannot be parsed, and one that fails."""
    root = Path(shutil.copytree(toy_dataset, tmp_path / "odd"))
    queries = [
        "SELECT count(*) FROM customer",
        "SELECT CAST(id AS UNSIGNED BIG INT) FROM customer",
        "SELECT nowhere FROM customer",
        "",
    ]
    examples = [{"db_id": "shop", "question": "?", "query": query} for query in queries]
    (root / "dev.json").write_text(json.dumps(examples))
    (root / "p.jsonl").write_text(
        "".join(
            json.dumps({"question_id": number, "pred_sql": query}) + "\n"
            for number, query in enumerate(queries)
        )
    )
    return root


def test_failing_gold_queries_are_an_error_or_skipped(
    odd_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = str(odd_dataset / "p.jsonl"), tmp_path / "out.json"
    command = ["score", file, "--dataset", str(odd_dataset), "--json", str(out)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: The gold query of question 2 (db_id 'shop'")
    assert "no such column: nowhere" in error
    other = odd_dataset / "other.sql"
    other.write_text("SELECT 1\n" * 4)
    more = ["--skip-failing-gold", "--neighbours", "1", "--bird", "--compare", file, str(other)]
    assert main([*command, *more]) == 0
    printed = capsys.readouterr().out
    assert (
        "2 of 4 questions are skipped, since their gold queries fail (question_id 2, 3)" in printed
    )
    assert "1 of 4 questions have no level of hardness" in printed
    assert "BIRD: EX 100.0" in printed
    assert "2 questions are skipped, since their gold queries fail\n" in printed
    assert "only A right 2, only B right 0" in printed
    first, second = json.loads(out.read_text())
    assert first["summary"]["exec"] | {"by_hardness": None, "interval": None} == {
        "n": 2, "correct": 2, "accuracy": 1.0, "by_hardness": None, "interval": None,
        "databases": 1, "clustered_interval": None,
    }  # fmt: skip
    assert first["summary"]["skipped"] == second["summary"]["skipped"] == [2, 3]
    assert first["summary"]["rules"]["skip_failing_gold"]
    assert [example["exec"] for example in first["examples"]] == [True, True, None, None]
    assert [bool(example["note"]) for example in first["examples"]] == [False, True, True, True]


@pytest.mark.parametrize(
    "option",
    [["--jobs", "0"], ["--jobs", "-1"], ["--deadline", "0"], ["--deadline", "nan"],
     ["--deadline", "inf"], ["--deadline", "-1"], ["--neighbours", "-1"]],
)  # fmt: skip
def test_impossible_numbers_are_errors(
    toy_dataset: Path, predictions: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["score", str(predictions), "--dataset", str(toy_dataset), *option]) == 2
    assert capsys.readouterr().err.startswith(f"error: {option[0]} ")


@pytest.fixture
def pocket_answers(tmp_path: Path) -> Path:
    """Gold answers to half of pocket's dev questions; the others show one column more."""
    path = tmp_path / "pocket.jsonl"
    lines = [
        {
            "question_id": e.question_id,
            "pred_sql": e.query
            if e.question_id % 2
            else e.query.replace("SELECT ", "SELECT 12345, ", 1),
        }
        for e in load_dataset("pocket")
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_accuracies_by_group_are_shown_and_written(
    pocket_answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = ["score", str(pocket_answers), "--etype", "exec", "--json", str(out)]
    assert main([*command, "--by", "source", "--by", "database"]) == 0
    printed = capsys.readouterr().out
    assert 'The intervals "over databases" let the 6 databases vary' in printed
    head = next(line for line in printed.splitlines() if line.startswith("by source"))
    assert head.split("  ")[0] == "by source"
    assert head.endswith("over databases  further columns forgiven")
    summary = json.loads(out.read_text())["summary"]
    every, *groups = summary["by"]["source"]
    assert [(one["group"], one["n"]) for one in (every, *groups)] == [
        ("all", 510), ("handwritten", 138), ("generated", 372),
    ]  # fmt: skip
    for one in (every, *groups):
        low, high = one["clustered_interval"]
        assert low < one["accuracy"] < high
        assert one["further columns forgiven"] > one["accuracy"] + 0.3
    assert sum(one["correct"] for one in groups) == every["correct"] == summary["exec"]["correct"]
    databases = summary["by"]["database"][1:]
    assert [one["n"] for one in databases] == [85] * 6
    assert {one["clustered_interval"] for one in databases} == {None}


def test_with_neighbours_both_accuracies_stand_side_by_side(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of customers is right on the one database, and not on its variants."""
    answers = tmp_path / "lucky.sql"
    answers.write_text("SELECT 3\nSELECT 1\n")
    command = ["score", str(answers), "--dataset", str(toy_dataset), "--neighbours", "--by"]
    assert main([*command, "database"]) == 0
    *_, head, every, shop, _ = capsys.readouterr().out.splitlines()
    assert "neighbours too" in head
    assert head.endswith("one database  further columns forgiven")
    assert every.split()[:3] == ["all", "2", "0.0"]
    assert every.split()[-2:] == ["50.0", "0.0"]
    assert shop.split()[0] == "shop"


def test_groups_that_a_dataset_lacks_are_an_error_before_the_work(
    toy_dataset: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", str(predictions), "--dataset", str(toy_dataset), "--by"]
    assert main([*command, "source"]) == 2
    told = capsys.readouterr()
    assert 'one has no "source"' in told.err
    assert told.out == ""
    assert main([*command, "skeleton"]) == 2
    assert "train.json" in capsys.readouterr().err


def test_a_comparison_is_written_with_its_test_over_databases(
    pocket_answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold, out = tmp_path / "gold.sql", tmp_path / "out.json"
    gold.write_text("".join(f"{e.query}\n" for e in load_dataset("pocket")))
    command = ["score", "--compare", str(pocket_answers), str(gold), "--etype", "exec"]
    assert main([*command, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "over 6 databases: 95 % interval" in printed
    assert "exact p = 0.031 if A and B are exchanged on whole databases" in printed
    first, second = (record["summary"] for record in json.loads(out.read_text()))
    assert "compared" not in first
    assert second["compared"]["with"] == str(pocket_answers)
    assert second["compared"]["exec"]["clustered_p_value"] == 2 / 64
    low, high = second["compared"]["exec"]["clustered_interval"]
    assert low < second["compared"]["exec"]["difference"] < high

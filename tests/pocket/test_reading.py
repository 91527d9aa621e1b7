"""The test split is read once per version, and each reading is logged.

The predictions here are gold queries and wrong queries; no model runs.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import distill_sql
from distill_sql.cli import main
from distill_sql.cli import pocket as command
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import DatasetError, DistillSqlError, PredictionError
from distill_sql.pocket import materialized, reading, sealed
from distill_sql.pocket.reading import read_test_split, table
from distill_sql.provenance import manifest
from distill_sql.scoring import read_predictions, score

CLEAN = {"commit": "a" * 40, "dirty": False}
#: The number of questions per database in the small split of these tests.
KEPT = 4


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Replace the split by the first questions on two databases: judging all takes minutes."""
    whole = sealed.with_gold()
    names = whole.db_ids[:2]
    kept = [e for name in names for e in [e for e in whole if e.db_id == name][:KEPT]]
    dataset = whole.with_examples(replace(e, question_id=n) for n, e in enumerate(kept))
    monkeypatch.setattr(sealed, "with_gold", lambda: dataset)
    monkeypatch.setattr(reading, "build_neighbours", lambda *_, **__: {})
    return dataset


Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def committed_log() -> Iterator[None]:
    """Check that no test writes to the committed log."""
    before = reading.LOG.read_bytes()
    yield
    assert reading.LOG.read_bytes() == before


@pytest.fixture
def write(small: Dataset, tmp_path: Path) -> Write:
    """Writes predictions with a manifest; all are right except the first ``wrong``."""

    def written(name: str, *, wrong: int, about: Dataset | None = None) -> Path:
        file = tmp_path / f"{name}.jsonl"
        queries = ["SELECT 'nothing'" if n < wrong else e.query for n, e in enumerate(small)]
        file.write_text(
            "".join(
                json.dumps({"question_id": e.question_id, "pred_sql": sql}) + "\n"
                for e, sql in zip(small, queries, strict=True)
            )
        )
        record = manifest(
            recipe="pocket-s", model="base", dataset=(about or small).description(), adapter="f00"
        )
        file.with_name(f"{file.name}.manifest.json").write_text(json.dumps(record))
        return file

    return written


def test_a_reading_is_logged_and_a_second_one_is_an_error(write: Write, tmp_path: Path) -> None:
    log = tmp_path / "results" / "log.jsonl"
    files = [write("base", wrong=6), write("student", wrong=3)]
    read = read_test_split(files, log=log, version="9.0", state=CLEAN)
    (line,) = log.read_text().splitlines()
    assert json.loads(line) == read
    assert (read["version"], read["commit"]) == ("9.0", CLEAN["commit"])
    assert read["split_sha256"] == sealed.SHA256
    with pytest.raises(DistillSqlError, match=r"9\.0 has read .* next release"):
        read_test_split(files, log=log, version="9.0", state=CLEAN)
    assert log.read_text().splitlines() == [line]
    read_test_split(files, log=log, version="9.1", state=CLEAN)
    assert log.read_text().splitlines()[0] == line
    assert len(log.read_text().splitlines()) == 2


def test_the_figures_are_those_of_the_scorer(write: Write, small: Dataset, tmp_path: Path) -> None:
    files = [write("base", wrong=6), write("student", wrong=3)]
    read = read_test_split(files, log=tmp_path / "log.jsonl", version="9.0", state=CLEAN)
    for found, file, right in zip(read["predictions"], files, (2, 5), strict=True):
        report = score(read_predictions(file, small), small)
        assert found["accuracy"]["as on dev"] == report.accuracy().summary()
        assert report.accuracy().correct == right
        assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (found["recipe"], found["adapter"]) == ("pocket-s", "f00")
        for parts in ("by_hardness", "by_database", "by_skeleton"):
            assert sum(part["n"] for part in found[parts].values()) == len(small)
            assert sum(part["correct"] for part in found[parts].values()) == right
    assert set(read["predictions"][0]["by_database"]) == set(small.db_ids)
    (pair,) = read["compared"]
    assert (pair["a"], pair["b"], pair["only_b"]) == ("base.jsonl", "student.jsonl", 3)
    shown = table(read)
    assert "25.0" in shown
    assert "62.5" in shown
    assert "over databases" in shown
    # Nothing says which questions were right.
    assert not any(e.query in json.dumps(read) for e in small)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"commit": "b" * 40, "dirty": True}, "has uncommitted edits"),
        ({"commit": "b" * 40, "dirty": None}, "has uncommitted edits"),
        ({"commit": None, "dirty": None}, "git checkout"),
    ],
)
def test_a_reading_needs_a_checkout_without_edits(
    write: Write, tmp_path: Path, state: dict[str, Any], message: str
) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(DistillSqlError, match=message):
        read_test_split([write("base", wrong=1)], log=log, version="9.0", state=state)
    assert not log.exists()


def test_a_changed_split_is_an_error(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "SHA256", "0" * 64)
    with pytest.raises(DatasetError, match="test split has changed"):
        read_test_split(
            [write("base", wrong=1)], log=tmp_path / "log.jsonl", version="9.0", state=CLEAN
        )


def test_predictions_without_a_manifest_of_the_split_are_an_error(
    write: Write, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    file = write("base", wrong=1)
    file.with_name("base.jsonl.manifest.json").unlink()
    with pytest.raises(PredictionError, match=r"no manifest \(base\.jsonl\.manifest\.json\)"):
        read_test_split([file], log=log, version="9.0", state=CLEAN)
    other = write("other", wrong=1, about=load_dataset("pocket").limit(4))
    with pytest.raises(PredictionError, match="is for pocket dev; expected pocket test"):
        read_test_split([other], log=log, version="9.0", state=CLEAN)
    assert not log.exists()


def test_a_failure_while_scoring_logs_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DistillSqlError("no")

    monkeypatch.setattr(reading, "forgiven", broken)
    log = tmp_path / "log.jsonl"
    with pytest.raises(DistillSqlError, match="no"):
        read_test_split([write("base", wrong=1)], log=log, version="9.0", state=CLEAN)
    assert not log.exists()


def test_the_command_logs_and_prints(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "log.jsonl"
    files = [str(write("base", wrong=2))]
    monkeypatch.setattr(reading, "LOG", log)
    monkeypatch.setattr(reading, "git_state", lambda: CLEAN)
    assert main(["pocket", "test", *files]) == 0
    out = capsys.readouterr().out
    assert "75.0" in out
    assert json.loads(log.read_text())["version"] == distill_sql.__version__
    assert main(["pocket", "test", *files]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "has read pocket's test split already" in told.err
    assert main(["pocket", "test"]) == 2
    assert "give the prediction FILES" in capsys.readouterr().err
    assert main(["pocket", "elsewhere", *files]) == 2
    assert "takes one FOLDER" in capsys.readouterr().err


def test_score_rejects_the_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.sql"
    file.write_text("SELECT 1\n" * len(load_dataset("pocket", split="test")))
    assert main(["score", str(file), "--dataset", "pocket", "--split", "test"]) == 2
    assert "distill-sql pocket test" in capsys.readouterr().err


def test_its_questions_cannot_be_scored_by_mistake(tmp_path: Path) -> None:
    asked = load_dataset("pocket", split="test").limit(3)
    file = tmp_path / "p.sql"
    file.write_text("SELECT 1\n" * 3)
    with pytest.raises(DistillSqlError):
        score(read_predictions(file, asked), asked)


def test_a_copy_of_the_benchmark_does_not_contain_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {path.name for path in materialized().iterdir()}
    assert names == {"train.json", "validation.json", "dev.json", "tables.json", "database"}
    databases = {path.name for path in (materialized() / "database").iterdir()}
    assert len(databases) == 26
    assert not databases & set(sealed.db_ids())
    # A folder may have the name test.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "build", lambda target, *, progress: target)
    assert main(["pocket", "./test"]) == 0
    assert capsys.readouterr().out == "test\n"


def test_the_committed_log_has_one_reading_per_version() -> None:
    entries = [json.loads(line) for line in reading.LOG.read_text().splitlines()]
    versions = [entry["version"] for entry in entries]
    assert len(set(versions)) == len(versions)
    assert all(len(set(entry["commit"])) > 1 for entry in entries)
    assert all(
        found["accuracy"]["as on dev"]["n"] >= 200
        for entry in entries
        for found in entry["predictions"]
    )


def test_the_version_is_the_packages_own() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == distill_sql.__version__

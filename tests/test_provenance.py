from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from distill_sql import provenance
from distill_sql.book.footer import footer_html
from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.schema import Schema


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    examples = tuple(Example(i, f"db{i % 2}", "How many?", "SELECT 1") for i in range(5))
    return Dataset(
        name="toy",
        split="dev",
        root=tmp_path,
        examples=examples,
        schemas={name: Schema(name, (), ()) for name in ("db0", "db1")},
        database_dir=tmp_path / "database",
    )


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def test_git_state_has_commit_and_edits(tmp_path: Path) -> None:
    nothing = {"commit": None, "dirty": None}
    assert provenance.git_state(tmp_path) == nothing
    git(tmp_path, "init", "-q")
    assert provenance.git_state(tmp_path) == nothing
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    state = provenance.git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert provenance.git_state(tmp_path) == state | {"dirty": True}


def test_a_copy_without_its_history_can_name_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMIT", "abc")
    assert provenance.git_state(tmp_path) == {"commit": "abc", "dirty": None}
    assert provenance.git_state()["commit"] != "abc"  # a checkout knows better


def test_a_manifest_is_json_with_what_was_run(dataset: Dataset) -> None:
    record = provenance.manifest(
        dataset=dataset.description(), recipe="lora", seed=3, wall_time_s=1.234, measured_by="me",
        budget=1500,
    )  # fmt: skip
    assert json.loads(json.dumps(record)) == record
    assert record["dataset"] | {"fingerprint": ""} == {
        "name": "toy",
        "split": "dev",
        "examples": 5,
        "databases": 2,
        "fingerprint": "",
    }
    assert (record["recipe"], record["seed"], record["budget"]) == ("lora", 3, 1500)
    assert record["wall_time_s"] == 1.23
    assert record["packages"]["python"]
    assert record["hardware"]["cores"] >= 1
    assert str(dataset.root) not in json.dumps(record)
    with pytest.raises(ValueError, match="already has date"):
        provenance.manifest(date="today")


def test_a_footer_shows_parameters_and_data_and_escapes_them(dataset: Dataset) -> None:
    page = footer_html({"size": "<0.5b>"}, dataset, extra={"Teacher": "none"})
    assert "size = &#x27;&lt;0.5b&gt;&#x27;" in page
    assert "toy dev: 5 examples, 2 databases, sha256" in page
    assert "<dt>Teacher</dt><dd>none</dd>" in page
    for row in ("Machine", "Versions", "Commit", "Wall time", "Executed"):
        assert f"<dt>{row}</dt>" in page
    assert str(dataset.root) not in page

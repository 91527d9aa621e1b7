"""Listing, fetching and removing base models; a tiny GGUF file stands in for the official one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.models import folders
from distill_sql.models.shelf import base_of
from tests.models.test_gguf_file import REAL, write_gguf

pytest.importorskip("gguf", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def models(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``MODELS_DIR`` with a file of the official name, whose hash is that of the tiny model."""
    folder = tmp_path / "models"
    folder.mkdir()
    file = write_gguf(tiny, folder / REAL)
    monkeypatch.setenv("MODELS_DIR", str(folder))
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(folders, "SHA256", {REAL: digest})
    return folder


def test_a_base_is_converted_listed_and_removed(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    before = capsys.readouterr().out
    assert f"in MODELS_DIR: 0.00 GiB, {models / REAL}" in before
    assert "recipes: coder-0.5b, coder-0.5b-direct, coder-0.5b-base" in before
    assert "converted to float32" not in before
    assert "Qwen/Qwen2.5-7B-Instruct\n  recipes: 7b, 7b-base\n  not here" in before
    assert main(["models", "get", "coder-0.5b"]) == 0
    place = Path(capsys.readouterr().out.strip())
    assert (place / "config.json").is_file()
    assert main(["models"]) == 0
    assert f"converted to float32: 0.00 GiB, {place}" in capsys.readouterr().out
    assert main(["models", "rm", "coder-0.5b"]) == 0
    assert capsys.readouterr().out == f"freed 0.00 GiB; {models / REAL} is yours and stays\n"
    assert not place.exists()
    assert (models / REAL).is_file()


def test_downloads_are_counted_and_removed(models: Path, tmp_path: Path) -> None:
    blob = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B-Instruct" / "blobs" / "abc"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 1000)
    snapshot = blob.parents[1] / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    (blob.parents[1] / "refs").mkdir()
    (blob.parents[1] / "refs" / "main").write_text("0" * 40)
    [copy] = base_of("7b").copies
    assert (copy.kind, copy.size) == ("hub", 1000)
    assert main(["models", "rm", "7b"]) == 0
    assert base_of("7b-base").copies == ()


def test_what_is_no_base_is_refused(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("pocket-s", "nothing"):
        assert main(["models", "get", name]) == 2
        told = capsys.readouterr().err
        assert f"No base model to fetch for '{name}'; expected a recipe, one of 0.5b" in told

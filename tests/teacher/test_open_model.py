"""An open teacher: its name, its two servers on tiny weights, and a server that ends."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import MissingDependencyError, TeacherError, TrainingError
from distill_sql.models.folders import random_model
from distill_sql.models.gguf_file import SHA256, converted, weights_record
from distill_sql.models.recipes import RECIPES
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.teacher import Settings, Store, open_model, requests_for
from distill_sql.teacher.prices import Price
from distill_sql.teacher.sampling import ask_started
from distill_sql.teacher.settings import settings_for

FILE = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
FREE = Price(0, 0)


def test_a_recipes_name_is_asked_as_openai_would_be() -> None:
    found = settings_for("spider", model="coder-1.5b")
    assert found == Settings(model=found.model, base_url="local")
    assert found.model.startswith("coder-1.5b@")
    assert found.model.endswith("-cc324af0")  # the official file's SHA-256


def test_a_recipes_name_at_an_address_is_a_model_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert settings_for("spider", model="coder-1.5b").base_url == "local"
    there = settings_for("spider", model="coder-1.5b", base_url="http://localhost:2/v1")
    assert (there.model, there.base_url) == ("coder-1.5b", "http://localhost:2/v1")
    with pytest.raises(TeacherError, match="'m' is no recipe"):
        settings_for("spider", model="m", base_url="local")


def test_a_name_says_which_weights_and_which_server_answer() -> None:
    names = [
        open_model.open_model(name).name
        for name in ("coder-0.5b@torch", "coder-0.5b-direct@torch", "coder-0.5b@llama.cpp",
                     "coder-1.5b@torch")
    ]  # fmt: skip
    assert names[0] == names[1] == "coder-0.5b@torch-1d961463"
    assert names[2] == "coder-0.5b@llama.cpp-1d961463"
    assert len(set(names)) == 3
    assert open_model.open_model(names[2]).name == names[2]
    with pytest.raises(TeacherError, match="names weights with the digest 00000000"):
        open_model.open_model("coder-0.5b@torch-00000000")
    with pytest.raises(TeacherError, match=r"No server 'vllm' for coder-0.5b; .* or torch"):
        open_model.open_model("coder-0.5b@vllm")
    with pytest.raises(TeacherError, match="expected torch"):
        open_model.open_model("0.5b@llama.cpp")
    for other in ("gpt-4o-mini", "pocket-m"):
        with pytest.raises(TeacherError, match="is no recipe with weights"):
            open_model.open_model(other)


def test_llama_cpp_serves_files_where_torch_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_model, "find_spec", lambda name: name == "xllamacpp" or None)
    assert open_model.open_model("coder-0.5b").server == "llama.cpp"
    assert open_model.open_model("coder-0.5b@torch").server == "torch"
    assert open_model.default_server(RECIPES["0.5b"]) == "torch"
    monkeypatch.setattr(open_model, "find_spec", lambda name: "installed")
    assert open_model.open_model("coder-0.5b").server == "torch"
    assert open_model.open_model("coder-0.5b@llama.cpp").server == "llama.cpp"


def test_other_weights_of_a_folder_have_another_name(
    pocket_train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    names = []
    for place, seed in (("a", 1), ("b", 2)):
        folder = tmp_path / place / "Qwen2.5-0.5B-Instruct"
        random_model(folder, tokenizer_for(pocket_train), seed=seed)
        monkeypatch.setenv("MODELS_DIR", str(folder.parent))
        names.append(open_model.open_model("0.5b").name)
    assert names[0] != names[1]
    assert {name.rpartition("-")[0] for name in names} == {"0.5b@torch"}


def test_weights_that_cannot_be_had_are_named(
    pocket_train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: str) -> None:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    for server in ("torch", "llama.cpp"):
        settings = settings_for("spider", model=f"coder-0.5b@{server}")
        requests = list(requests_for(pocket_train.limit(1), settings))
        with (
            Store(tmp_path / "s.sqlite") as store,
            pytest.raises(TrainingError, match=rf"{FILE} is not on this machine.*Set MODELS_DIR"),
        ):
            ask_started(settings, store, requests, price=FREE)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_model, "find_spec", lambda name: None)
    with (
        pytest.raises(MissingDependencyError, match=r"llama.cpp needs xllamacpp"),
        open_model.open_model("coder-0.5b@llama.cpp").serving(),
    ):
        pass


# --- Served for real, with tiny weights -----------------------------------------------------------


@pytest.fixture(scope="module")
def questions() -> Dataset:
    return load_dataset("pocket", split="train").limit(40)


@pytest.fixture
def tiny_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, questions: Dataset
) -> Iterator[Path]:
    """Random weights in a file that stands where the official file would."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("gguf", reason="the extra train is not installed")
    from tests.models.test_gguf_file import write_gguf

    model = random_model(tmp_path / "model", tokenizer_for(questions), width=32, inner=64)
    (tmp_path / "models").mkdir()
    file = write_gguf(model, tmp_path / "models" / FILE)
    monkeypatch.setenv("MODELS_DIR", str(file.parent))
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(SHA256, FILE, hashlib.sha256(file.read_bytes()).hexdigest())
    yield file
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def settings_of(server: str) -> Settings:
    return settings_for(
        "spider", model=f"coder-0.5b@{server}", style="compact", max_tokens=24, temperature=1.0
    )


def stored(store: Store) -> int:
    return sum(row["samples"] for row in store.stats())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("server", ["torch", "llama.cpp"])
def test_a_server_that_is_killed_ends_the_run_and_loses_no_answer(
    server: str, tiny_file: Path, questions: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second run asks for what is missing, and a third starts no server."""
    if server == "llama.cpp":
        pytest.importorskip("xllamacpp", reason="the extra train is not installed")
    running: list[Any] = []
    real = open_model.started

    @contextmanager
    def noted(*arguments: Any, **options: Any) -> Iterator[Any]:
        with real(*arguments, **options) as served:
            running.append(served)
            yield served

    class Deadly(Store):
        def settle(self, *arguments: Any, **options: Any) -> None:
            super().settle(*arguments, **options)
            running[-1].process.kill()

    monkeypatch.setattr(open_model, "started", noted)
    monkeypatch.setattr(open_model.OpenModel, "at_once", 4)
    settings = settings_of(server)
    requests = list(requests_for(questions, settings))
    with Deadly(tmp_path / "s.sqlite") as store:
        began = time.monotonic()
        outcome = ask_started(settings, store, requests, price=FREE)
        assert time.monotonic() - began < 60
        kept = stored(store)
    assert f"endpoint of {settings.model} ended while it was asked" in outcome.stopped
    assert "killed by SIGKILL, as when memory runs out" in outcome.stopped
    assert 3 <= kept == outcome.samples < 3 * len(questions)
    with Store(tmp_path / "s.sqlite") as store:
        again = ask_started(settings, store, requests, price=FREE)
        assert (again.stopped, again.failed) == ("", {})
        assert (again.samples, stored(store)) == (3 * len(questions) - kept, 3 * len(questions))
        (row,) = store.stats()
        assert row["model"] == settings.model
        monkeypatch.delattr(open_model, "started")
        assert ask_started(settings, store, requests, price=FREE).samples == 0


@pytest.mark.filterwarnings("default")
def test_a_server_that_is_killed_before_any_answer_says_so(
    tiny_file: Path, questions: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open_model.started

    @contextmanager
    def dying(*arguments: Any, **options: Any) -> Iterator[Any]:
        with real(*arguments, **options) as served:
            served.process.kill()
            served.process.wait()
            yield served

    monkeypatch.setattr(open_model, "started", dying)
    settings = settings_of("torch")
    began = time.monotonic()
    with Store(tmp_path / "s.sqlite") as store:
        requests = list(requests_for(questions.limit(4), settings))
        try:
            said = ask_started(settings, store, requests, price=FREE).stopped
        except TeacherError as error:
            said = str(error)
    assert "ended while it was asked (killed by SIGKILL" in said
    assert time.monotonic() - began < 60


def test_a_changed_file_is_not_asked(
    tiny_file: Path, questions: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are stored under the digest of the official file, so no other file may answer."""
    monkeypatch.setitem(SHA256, FILE, "0" * 64)
    servers = ["torch", "llama.cpp"]
    if not open_model.find_spec("xllamacpp"):
        servers.remove("llama.cpp")
    for server in servers:
        settings = settings_of(server)
        requests = list(requests_for(questions.limit(1), settings))
        with (
            Store(tmp_path / "s.sqlite") as store,
            pytest.raises((TeacherError, TrainingError), match=r"SHA-256 .* expected 0000"),
        ):
            ask_started(settings, store, requests, price=FREE)


@pytest.mark.slow
@pytest.mark.parametrize("name", open_model.BITS)
def test_the_bits_of_an_official_file_are_those_that_converting_it_counts(name: str) -> None:
    file = Path(os.environ.get("MODELS_DIR", "none")) / name
    if not file.is_file():
        pytest.skip(f"no {name} in MODELS_DIR")
    record = weights_record(converted(file))
    assert record is not None
    assert round(record["bits_per_weight"], 1) == open_model.BITS[name]

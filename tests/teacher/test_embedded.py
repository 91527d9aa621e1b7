"""The embedded teacher: a real model behind a real endpoint, on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from unittest.mock import ANY

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.models.folders import random_model
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.teacher import Price, Settings, Store, embedded, requests_for
from distill_sql.teacher.client import Teacher
from distill_sql.teacher.traces import Sieve
from tests.sql.test_processes import ends

pytest.importorskip("torch", reason="the extra train is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_from_question_to_verdict(pocket_train: Dataset, tmp_path: Path) -> None:
    """A random model answers over HTTP; no answer is right, and all are dropped."""
    some = pocket_train.limit(2)
    model = random_model(tmp_path / "model", tokenizer_for(pocket_train))
    settings = Settings(embedded.name(model), embedded.BASE_URL, samples=2, max_tokens=16)
    with embedded.serving(model) as url, Store(tmp_path / "s.sqlite") as store:
        teacher = Teacher(settings, store, api_key="none", price=Price(0, 0), url=url)
        outcome = teacher.run(requests_for(some, settings))
        assert (outcome.samples, outcome.failed) == (4, {})
        with Sieve(some, settings) as sieve:
            judged = [one for _, one in sieve.judge_all(store)]
    assert all(one.completion_tokens > 0 for one in judged)
    assert {reason for one in judged for reason in one.reasons} <= {"cut short", "no SQL", "parse"}
    assert not any(one.kept for one in judged)


@pytest.mark.filterwarnings("default")
def test_the_same_seed_gives_the_same_weights(pocket_train: Dataset, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = random_model(tmp_path / name, tokenizer_for(pocket_train), seed=seed)
        weights = (folder / "model.safetensors").read_bytes()
        digests.append(hashlib.sha256(weights).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_other_weights_have_another_name(pocket_train: Dataset, tmp_path: Path) -> None:
    """Answers are stored under the name, so those of an older teacher must not match."""
    one, same, other = (
        embedded.name(random_model(tmp_path / folder / "m", tokenizer_for(pocket_train), seed=seed))
        for folder, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same != other
    assert embedded.name().startswith("pocket-teacher-")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="No model in"), embedded.serving(tmp_path):
        pass


def test_the_name_is_known_without_torch() -> None:
    """Settings have the name, also on machines that only ask remote teachers."""
    code = "import sys; from distill_sql.teacher.embedded import name; name(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "hashlib" in loaded.split()
    assert not {"torch", "transformers", "tornado"} & set(loaded.split())


PARENT = """
import subprocess, sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from distill_sql.teacher import embedded

class Told(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print(self.pid, flush=True)

subprocess.Popen = Told
held = ExitStack()
starter = Thread(target=lambda: print(
    held.enter_context(embedded.serving(Path(sys.argv[1]))), flush=True
))
starter.start()
starter.join()
Event().wait()
"""


def test_the_endpoint_ends_with_the_process_that_started_it(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    """It ends after a kill, too, but not with the thread that started it."""
    model = random_model(tmp_path / "model", tokenizer_for(pocket_train))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = int(parent.stdout.readline()), parent.stdout.readline().strip()
        assert not ends(pid, within=0.5)
        with urllib.request.urlopen(f"{url}/models", timeout=10) as answer:
            assert answer.status == 200
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        gone = ends(pid)
        if not gone:
            os.kill(pid, signal.SIGKILL)
        assert gone
        with pytest.raises(OSError, match=r"refused|reset"):
            urllib.request.urlopen(f"{url}/models", timeout=10)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_model_behind_an_endpoint_predicts_what_it_predicts_as_a_student(tmp_path: Path) -> None:
    """The same questions, asked of pocket-teacher in both ways of ``distill-sql generate``."""
    out = {who: str(tmp_path / f"{who}.jsonl") for who in ("endpoint", "student")}
    same = ["generate", "--limit", "12", "--max-tokens", "80"]
    with embedded.serving(embedded.FOLDER) as url:
        asked = ["--base-url", url, "--model", "pocket-teacher", "--style", "compact"]
        cache = ["--cache", str(tmp_path / "cache.sqlite")]
        assert main([*same, *asked, *cache, "--out", out["endpoint"]]) == 0
    assert main([*same, "pocket-teacher", "--out", out["student"]]) == 0
    one, other = (
        [json.loads(line) for line in Path(path).read_text().splitlines()] for path in out.values()
    )
    for found in other:
        del found["latency_s"]
        found["n_output_tokens"] = ANY  # an endpoint counts the end mark, too
    assert one == other

"""The page on the library is true: its examples run, its steps happen, it has every public name."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import distill_sql
from distill_sql.data.datasets import load_dataset
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.controls.sets import gold_traces
from distill_sql.scoring import read_predictions, score
from distill_sql.teacher import Price, Settings, Store, requests_for
from distill_sql.teacher.client import Teacher
from distill_sql.teacher.traces import Sieve, read_traces, write_traces
from distill_sql.training.splits import training_set
from distill_sql.training.student import train_student
from tests.teacher.endpoint import serving

pytest.importorskip("trl", reason="the extra train is not installed")
pytestmark = pytest.mark.filterwarnings("default")

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "library.md").read_text()
PACKAGE = ROOT / "distill_sql"


def steps(title: str) -> list[tuple[Path, str]]:
    """The files and functions of a numbered list on the page."""
    section = PAGE.split(f"### {title}\n")[1].split("\n#")[0]
    found = re.findall(r"^\d\. `([^`]+)`: `([^`]+)`", section, re.MULTILINE)
    assert len(found) == 4
    return [(PACKAGE / file, name) for file, name in found]


@contextmanager
def calls(seen: list[tuple[Path, str]]) -> Iterator[None]:
    """Note down the package's functions as they are called, in this thread and in new ones."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and "distill_sql" in code.co_filename:
            seen.append((Path(code.co_filename), code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def happen_in_order(title: str, work: Callable[[], Any]) -> None:
    seen: list[tuple[Path, str]] = []
    with calls(seen):
        work()
    places = [seen.index(step) for step in steps(title)]
    assert places == sorted(places)


def test_a_prediction_is_scored_where_the_page_says(tmp_path: Path) -> None:
    dev = load_dataset("pocket").limit(2)
    file = tmp_path / "gold.txt"
    file.write_text("".join(f"{example.query}\n" for example in dev))
    happen_in_order("Where a prediction is scored", lambda: score(read_predictions(file, dev), dev))


def test_a_trace_is_kept_where_the_page_says(toy_dataset: Path, tmp_path: Path) -> None:
    shop = load_dataset(toy_dataset).limit(1)
    answers = {"answers": {}, "default": f"```sql\n{shop.examples[0].query}\n```"}

    def work() -> None:
        with serving(tmp_path, **answers) as url, Store(tmp_path / "cache.sqlite") as store:
            settings = Settings("gpt-4o-mini", url, samples=1)
            requests = list(requests_for(shop, settings))
            Teacher(settings, store, api_key="none", price=Price(0, 0)).run(requests)
            with Sieve(shop, settings) as sieve:
                write_traces(sieve, store, tmp_path / "traces.jsonl")

    happen_in_order("Where a trace is kept", work)
    assert len(read_traces(tmp_path / "traces.jsonl")) == 1


def test_a_student_is_trained_where_the_page_says(tmp_path: Path) -> None:
    recipe = recipe_for("pocket-s", batch=2, warm_up=0)
    train = load_dataset("pocket", split="train").limit(4)
    traces = gold_traces(train, train, style=recipe.style)

    def work() -> None:
        tokenizer = load_tokenizer(base_folder(recipe))
        prepared = training_set(traces, tokenizer, max_tokens=recipe.length)
        train_student(recipe, prepared.train, tmp_path / "run", framework="torch", progress=False)

    happen_in_order("Where a student is trained", work)


@pytest.mark.slow
def test_the_examples_run_and_show_every_public_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "library.md", "exec"), names)
        assert capsys.readouterr().out or "generate" in example
    for name in distill_sql.__all__:
        assert name in names or name in ("Dataset", "Example", "Schema", "__version__"), name
        assert f"`{name}`" in PAGE, name
    assert names["gold"].accuracy().share == 1
    assert names["reply"].result.ok


def test_the_rooms_are_those_of_the_package() -> None:
    table = PAGE.split("## How it is built")[1].split("###")[0]
    named = set(re.findall(r"`(\w+)(?:/|\.py)`", table))
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert named == there - {"__init__", "__pycache__", "py"}

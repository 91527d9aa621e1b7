"""The real chapters on other datasets than pocket: a part of BIRD, and a tiny folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill_sql.book import Book
from distill_sql.book.build import run
from distill_sql.book.chapters import Chapter

from .conftest import ROOT, isolate, write_book

CHAPTERS = Book(ROOT).chapter_names


def shown(root: Path, name: str, **parameters: object) -> str:
    """The text of a chapter's page, executed in a temporary book."""
    book = write_book(root, **{name: ("",)})
    shutil.copy(ROOT / "notebooks" / f"{name}.md", book.notebooks)
    run(book, parameters=parameters)
    notebook: dict[str, Any] = json.loads((book.chapters / f"{name}.ipynb").read_text())
    return json.dumps([cell.get("outputs") for cell in notebook["cells"]], ensure_ascii=False)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_on_a_dataset_takes_bird_and_folders(name: str, toy_dataset: Path) -> None:
    chapter = Chapter.load(Book(ROOT), name)
    if "dataset" in chapter.parameters:
        for dataset in ("pocket", "spider", "bird", str(toy_dataset)):
            chapter.resolve({"dataset": dataset}, root=ROOT)


@pytest.mark.slow
def test_one_question_on_one_database_without_a_network(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch)
    monkeypatch.delenv("TOKENIZER_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    folder = Path(shutil.copytree(toy_dataset, tmp_path / "some" / "mine"))
    (question, _) = json.loads((folder / "dev.json").read_text())
    (folder / "dev.json").write_text(json.dumps([question]))
    (tmp_path / "book").mkdir()
    page = shown(tmp_path / "book", "01_data", dataset=str(folder))
    assert "There are no training questions of mine here" in page
    assert "Of 1 gold queries of dev, **1 run**" in page
    assert "pocket-l, in place of Qwen2.5's" in page
    assert "about twice as many as Qwen2.5's" in page


@pytest.mark.slow
def test_the_part_of_bird_that_is_there(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch)
    monkeypatch.setenv("BIRD_DIR", str(data_dir / "bird"))
    page = shown(tmp_path, "01_data", dataset="bird")
    assert "10 of the 11 databases of bird's dev split are not in this copy" in page
    assert "1,405 of its 1,534 questions are left out" in page
    assert "-- the full name of the superhero" in page
    assert "Of 129 gold queries of dev, **129 run**" in page


@pytest.mark.slow
def test_the_prompt_of_pockets_models_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill_sql.data.datasets import load_dataset
    from distill_sql.prompting.prompts import prompt_messages, tokenizer_for

    isolate(monkeypatch)
    page = shown(tmp_path, "01_data", dataset="pocket")
    dev = load_dataset("pocket")
    counter = tokenizer_for(dev)
    prompts = [counter.render(prompt_messages(dev, e, style="compact")) for e in dev]
    assert json.dumps(prompts[0], ensure_ascii=False)[1:-1] in page.replace('\\n", "', "\\n")
    mean = sum(map(counter.count, prompts)) / len(prompts)
    assert f"**{mean:,.0f} tokens on average**" in page

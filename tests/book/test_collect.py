"""Figures of chapters: noted by the run, collected after it, recorded with the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_sql.book import figures
from distill_sql.book.build import run
from distill_sql.book.collect import collect, made_by
from distill_sql.cli import main
from distill_sql.errors import ChapterError
from distill_sql.runs import measured

from .conftest import MakeBook, chapter_text


def test_figures_are_collected_recorded_and_shown_nowhere(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noting = "from distill_sql.book import figures\nfigures.note('right', 0.755)\nprint('the page')"
    book = make_book(
        **{
            "01_data": ('dataset = "pocket"', "1 + 1"),
            "04_training": ('dataset = "pocket"', noting),
        }
    )
    with pytest.raises(ChapterError, match="chapter 01_data was never executed"):
        collect(book)
    run(book)
    page: dict[str, Any] = json.loads((book.chapters / "04_training.ipynb").read_text())
    shown = json.dumps([cell.get("outputs") for cell in page["cells"]])
    assert "the page" in shown
    assert figures.OUTPUT not in shown
    found = collect(book)
    assert found["pocket.training.right"] == (0.755, "")
    times = [found[f"pocket.{chapter}.seconds"][0] for chapter in ("data", "training")]
    assert found["pocket.book.seconds"] == (sum(times), "s")

    monkeypatch.chdir(book.root)
    assert main(["book", "figures"]) == 0
    assert "none" in capsys.readouterr().out
    assert not measured.folder().exists()
    assert main(["book", "figures", "--record"]) == 0
    recorded = measured.read_measurements(measured.folder() / "measurements.jsonl")
    assert recorded["pocket.training.right"].value == 0.755
    assert recorded["pocket.training.right"].command == "make book"
    capsys.readouterr()
    assert main(["book", "figures"]) == 0  # recording made no chapter stale
    assert "recorded       0.7550" in capsys.readouterr().out


def test_only_the_default_parameters_give_figures_of_the_book(make_book: MakeBook) -> None:
    book = make_book(**{"01_data": ('dataset = "pocket"\nlimit = 0', "limit")})
    run(book, parameters={"limit": 5})
    with pytest.raises(ChapterError, match=r"ran with limit set.*--chapter 01_data --force"):
        collect(book)
    run(book, parameters={"limit": 0}, force=True)
    with pytest.raises(ChapterError, match="ran with limit"):
        collect(book)
    run(book, force=True)
    (book.notebooks / "01_data.md").write_text(chapter_text('dataset = "pocket"\nlimit = 0', "2"))
    with pytest.raises(ChapterError, match="chapter 01_data is stale: source changed"):
        collect(book)


def test_chapters_on_two_datasets_are_not_collected(make_book: MakeBook, toy_dataset: Path) -> None:
    cell = 'dataset = "pocket"'
    book = make_book(**{"01_data": (cell, "1"), "02_teacher": (cell, "1"), "05_x": ("a = 1", "1")})
    run(book)
    assert {name.split(".")[0] for name in collect(book)} == {"pocket", "book"}
    run(book, names=["01_data"], parameters={"dataset": str(toy_dataset)})
    with pytest.raises(ChapterError, match="chapters were executed on "):
        collect(book)


def test_the_command_names_the_dataset_and_no_folder() -> None:
    assert made_by(["pocket.data.seconds"]) == "make book"
    assert made_by(["spider.data.seconds"]) == (
        "make book DATASET=spider SPIDER_DIR=/path/to/spider"
    )

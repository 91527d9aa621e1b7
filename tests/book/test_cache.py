from __future__ import annotations

import json
import os

import pytest

from distill_sql.book import Book, cache

from .conftest import MakeBook


@pytest.fixture
def book(make_book: MakeBook) -> Book:
    book = make_book(**{"01_a": ("x = 1",)})
    (book.root / "book" / "results").mkdir()
    (book.root / "book" / "results" / "run.json").write_text("{}")
    (book.root / "data").mkdir()
    (book.root / "data" / "dev.json").write_text("[]")
    return book


def inputs(book: Book, **parameters: object) -> str:
    return cache.inputs_digest(book, parameters=parameters, inputs=["book/results"])


def test_each_part_depends_on_its_own_thing(book: Book) -> None:
    def parts(source: str = "text", **parameters: object) -> dict[str, str]:
        return cache.parts(book, source=source, parameters=parameters, inputs=())

    base = parts(size="a")
    assert parts(size="a") == base
    assert {k for k, v in parts("other", size="a").items() if v != base[k]} == {"source"}
    assert "parameters" in {k for k, v in parts(size="b").items() if v != base[k]}


def test_declared_inputs_and_path_parameters_count(book: Book) -> None:
    before = inputs(book, dataset="data")
    assert inputs(book, dataset="data") == before
    (book.root / "data" / "dev.json").write_text("[1]")
    after = inputs(book, dataset="data")
    assert after != before
    (book.root / "book" / "results" / "run.json").write_text('{"a": 1}')
    assert inputs(book, dataset="data") != after


def test_a_changed_time_alone_counts(book: Book) -> None:
    before = inputs(book, dataset="data")
    os.utime(book.root / "data" / "dev.json", ns=(1, 1))
    assert inputs(book, dataset="data") != before


def test_a_new_and_a_missing_file_count(book: Book) -> None:
    before = inputs(book, files=["data/dev.json"])
    (book.root / "data" / "more.json").write_text("[]")
    assert inputs(book, files=["data/dev.json"]) == before
    (book.root / "data" / "dev.json").unlink()
    assert inputs(book, files=["data/dev.json"]) != before


def test_the_order_of_parameters_does_not_count(book: Book) -> None:
    assert inputs(book, a="data", b="x") == inputs(book, b="x", a="data")


def test_the_folder_of_a_named_dataset_counts(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIDER_DIR", str(book.root / "data"))
    named, other = inputs(book, dataset="spider"), inputs(book, dataset="pocket")
    (book.root / "data" / "dev.json").write_text("[1, 2]")
    assert inputs(book, dataset="spider") != named
    assert inputs(book, dataset="pocket") == other


@pytest.mark.parametrize("dataset", ["spider", "data"])
def test_folders_beside_a_dataset_count(
    book: Book, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    for variable in cache.BESIDE:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SPIDER_DIR", str(book.root / "data"))
    seen = [inputs(book, dataset=dataset)]
    pocket = inputs(book, dataset="pocket")
    for variable, name in cache.BESIDE.items():
        for folder in (book.root / name, book.root / "elsewhere" / name):
            folder.mkdir(parents=True)
            (folder / "file.json").write_text("{}")
            if "elsewhere" in folder.parts:
                monkeypatch.setenv(variable, str(folder))
            seen.append(inputs(book, dataset=dataset))
    assert len(set(seen)) == 5
    assert inputs(book, dataset="pocket") == pocket


def test_a_lock_file_is_part_of_the_environment(book: Book) -> None:
    before = cache.environment_digest(book.root)
    (book.root / "requirements.lock").write_text("x==1\n")
    cache.environment_digest.cache_clear()
    assert cache.environment_digest(book.root) != before


def test_a_notebook_without_a_readable_record_counts_as_never_executed(book: Book) -> None:
    path = book.root / "x.ipynb"
    assert cache.Record.read(path) is None
    for text in ("", "{", "{}", '{"metadata": {"distill_sql_run": {"parts": {}}}}'):
        path.write_text(text)
        assert cache.Record.read(path) is None


def test_a_record_survives_the_notebook(book: Book) -> None:
    record = cache.Record({"a": "1"}, {"a": 1}, ("x",), {"source": "y"}, "2026-01-01", 1.5)
    path = book.root / "x.ipynb"
    path.write_text(json.dumps({"metadata": {cache.METADATA: record.to_json()}}))
    assert cache.Record.read(path) == record

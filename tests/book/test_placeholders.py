"""Books with chapters that were never executed: they have pages, too, and all links work."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from distill_sql.book import Book, browser
from distill_sql.book import build as building
from distill_sql.book.build import build, plan, run
from distill_sql.book.placeholders import adding, never_executed, placeholders
from distill_sql.cli import main
from distill_sql.errors import ChapterError, ParameterError

from .conftest import ROOT, MakeBook, chapter_text, copy_site_sources


@pytest.fixture
def book(make_book: MakeBook) -> Book:
    """Two chapters, of which the first was executed."""
    book = make_book(**{"01_a": ("x = 1", "x"), "02_b": ("y = 1", "y")})
    run(book, names=["01_a"])
    return book


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The content of the chapters' folder at each build of the pages; nothing is built."""
    seen: list[dict[str, str]] = []

    def build_site(book: Book, *, force: bool = False) -> bool:
        seen.append({path.stem: path.read_text() for path in book.chapters.glob("*.ipynb")})
        return True

    monkeypatch.setattr(building, "build_site", build_site)
    return seen


def test_a_chapter_never_executed_has_a_page_during_the_build(book: Book) -> None:
    assert never_executed(book) == ["02_b"]
    executed = (book.chapters / "01_a.ipynb").read_bytes()
    with placeholders(book):
        page = nbformat.read(book.chapters / "02_b.ipynb", as_version=4)
        nbformat.validate(page)
        assert page.cells[0].source.startswith("# A chapter\n")
        assert adding("02_b") in page.cells[0].source
        # A build killed here leaves the page behind, but the chapter was still never executed.
        assert never_executed(book) == ["02_b"]
        assert [step.reason for step in plan(book)] == ["", "never executed"]
    assert [path.name for path in book.chapters.iterdir()] == ["01_a.ipynb"]
    assert (book.chapters / "01_a.ipynb").read_bytes() == executed


def test_pages_are_built_from_the_executed_chapters(
    book: Book, built: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    build(book, names=["01_a"])
    assert [sorted(chapters) for chapters in built] == [["01_a", "02_b"]]
    assert "not executed for this build" in built[0]["02_b"]
    said = capsys.readouterr().err
    assert f"02_b was never executed; its page says so. To add it: {adding('02_b')}" in said
    assert adding("02_b") == "distill-sql book build --chapter 02_b"
    build(book, names=["02_b"])
    assert "not executed" not in built[1]["02_b"]
    assert "never executed; its page" not in capsys.readouterr().err


def test_a_failed_chapter_is_reported_after_the_pages_were_built(
    book: Book, built: list[dict[str, str]]
) -> None:
    (book.notebooks / "02_b.md").write_text(chapter_text("y = 1", "y / 0"))
    with pytest.raises(ChapterError, match=r"(?s)02_b failed.*ZeroDivisionError"):
        build(book)
    assert "not executed for this build" in built[0]["02_b"]
    with pytest.raises(ParameterError):
        build(book, parameters={"z": "1"})
    assert len(built) == 1


def test_a_run_ends_on_the_command_that_shows_it_in_the_book(
    book: Book,
    built: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my bird").mkdir()
    monkeypatch.chdir(book.root)
    for name in ("01_a", "02_b"):
        text = chapter_text('dataset = "pocket"  # pocket | bird', "dataset")
        (book.notebooks / f"{name}.md").write_text(text)
    command = ["book", "run", "1", "2", "-p", "dataset", "bird", "--bird-dir", "my bird"]
    assert main(command) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "next, to see it in the book: distill-sql book build --chapter 01_a --chapter 02_b "
        "-p dataset bird --bird-dir 'my bird'"
    )
    executed = (book.chapters / "01_a.ipynb").stat().st_mtime_ns
    words = ["book", "build", "--chapter", "01_a", "-p", "dataset", "bird", "--bird-dir", "my bird"]
    (book.chapters / "02_b.ipynb").unlink()
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "--chapter 02_b -p dataset bird --bird-dir 'my bird'\n" in said
    assert (book.chapters / "01_a.ipynb").stat().st_mtime_ns == executed
    assert len(built) == 1


@pytest.mark.slow
def test_links_to_a_chapter_never_executed_lead_to_its_page(book: Book) -> None:
    if not browser.vendor_is_current(Book(ROOT)):
        pytest.skip("the browser packages are not installed: run `make book` once")
    copy_site_sources(book)
    (book.root / "book" / "preface.md").write_text("# Preface\n\n[b](chapters/02_b.ipynb)\n")
    source = book.notebooks / "01_a.md"
    source.write_text(source.read_text() + "\nSee {doc}`02_b`.\n")
    build(book, names=["01_a"])
    chapters = book.site / "book" / "chapters"
    assert 'href="02_b.html"' in (chapters / "01_a.html").read_text()
    assert "was not executed for this build" in (chapters / "02_b.html").read_text()
    assert 'href="chapters/02_b.html"' in (book.site / "book" / "preface.html").read_text()

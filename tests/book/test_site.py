from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_sql.book import Book, browser
from distill_sql.book.build import build
from distill_sql.book.layout import find_book
from distill_sql.book.site import build_site, check_site
from distill_sql.errors import ChapterError

from .conftest import ROOT, MakeBook, chapter_text, copy_site_sources, isolate, write_book

CHART = """\
import altair as alt
from distill_sql.book.footer import footer
from distill_sql.book import charts, tables
rows = [{"size": "0.5b", "share": 0.5}, {"size": "3b", "share": 0.75}]
bars = alt.Chart(alt.Data(values=rows)).mark_bar().encode(x="size:N", y="share:Q")
charts.show(bars, caption="Shares </script><b>", alt="Two bars.")
tables.show_table(rows * 9, caption="Rows", filters=["size"], search=True, page=5)
footer({"x": x})"""


def write(folder: Path, body: str) -> Path:
    (folder / "local.js").write_text("")
    (folder / "page.html").write_text(f"<html><head></head><body>{body}</body></html>")
    return folder


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script src="//cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img srcset="local.js 1x, https://img.example/a.png 2x">',
        "<style>@import 'https://fonts.example/a.css';</style>",
        "<style>p { background: url(http://img.example/a.png) }</style>",
        '<p style="background: url(https://img.example/a.png)">',
        '<iframe src="http://page.example"></iframe>',
    ],
)
def test_what_a_browser_would_fetch_is_found(tmp_path: Path, body: str) -> None:
    (problem,) = check_site(write(tmp_path, body))
    assert re.fullmatch(r"page\.html fetches (https?:)?//\w+\.example\S*", problem)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="https://example.org">a link waits for a click</a>',
        '<link rel="canonical" href="https://example.org/page">',
        '<script src="local.js?v=1"></script>',
        '<img src="data:image/png;base64,AAAA">',
        '<svg><use href="#icon"/></svg>',
        "<script>const url = 'https://example.org/not-fetched-by-itself';</script>",
    ],
)
def test_what_stays_local_is_fine(tmp_path: Path, body: str) -> None:
    assert check_site(write(tmp_path, body)) == []


def test_a_missing_local_file_and_a_remote_style_are_found(tmp_path: Path) -> None:
    write(tmp_path, '<script src="gone.js"></script>')
    (tmp_path / "a.css").write_text("p { background: url('https://x.example/a.png') }")
    assert check_site(tmp_path) == [
        "page.html needs gone.js, which is missing",
        "a.css fetches https://x.example/a.png",
    ]


def test_browser_packages_are_installed_once(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = make_book()
    copy_site_sources(book)
    shutil.rmtree(book.static / "vendor", ignore_errors=True)
    calls = []

    def npm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        calls.append(arguments[0])
        for name in browser.FILES:
            path = cwd / "node_modules" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("code")
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(browser, "npm", npm)
    vendor = browser.install_vendor(book)
    assert {path.name for path in vendor.iterdir()} == {*browser.FILES.values(), "stamp.txt"}
    browser.install_vendor(book)
    assert calls == ["ci"]
    (vendor / "vega.min.js").unlink()
    browser.install_vendor(book)
    lock = book.root / "third_party" / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    browser.install_vendor(book)
    assert calls == ["ci"] * 3


def test_the_error_of_a_failed_npm_says_what_to_do(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = make_book()
    copy_site_sources(book)
    shutil.rmtree(book.static / "vendor", ignore_errors=True)
    failed = subprocess.CompletedProcess([], 1, "", "npm error network\n")
    monkeypatch.setattr(browser, "npm", lambda *_, cwd: failed)
    with pytest.raises(ChapterError, match=r"(?s)npm error network.*check the network"):
        browser.install_vendor(book)


def test_the_lock_file_names_no_registry() -> None:
    text = (ROOT / "third_party" / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert '"integrity"' in text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """A built book of one chapter, with a chart, a table and a formula."""
    if not browser.vendor_is_current(Book(ROOT)):
        pytest.skip("the browser packages are not installed: run `make book` once")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch)
        book = write_book(tmp_path_factory.mktemp("site"), **{"01_a": ("x = 1", CHART)})
        copy_site_sources(book)
        source = book.notebooks / "01_a.md"
        source.write_text(source.read_text() + "\nA formula, $\\hat q_i \\le x^2$.\n")
        build(book)
        yield book


@pytest.mark.slow
def test_charts_draw_and_tables_sort_from_a_file(site: Book, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium to open the page with")
    page = site.site / "book" / "chapters" / "01_a.html"
    # After the page is drawn, use it as a reader does; the result is read from the final document.
    script = """<script>addEventListener("load", () => setTimeout(() => {
      const dark = document.querySelector(".ds-chart svg").outerHTML;
      document.documentElement.dataset.theme = "dark";
      document.querySelectorAll(".ds-table th button")[1].click();
      document.querySelectorAll(".ds-table th button")[1].click();
      const field = document.querySelector(".ds-controls input");
      field.value = "3B 0.75"; field.dispatchEvent(new Event("input"));
      setTimeout(() => document.body.append(Object.assign(document.createElement("pre"), {
        id: "probe", textContent: [
          document.querySelectorAll(".ds-chart svg").length,
          document.querySelector(".ds-chart svg").outerHTML !== dark,
          document.querySelectorAll(".ds-static, .ds-failed").length,
          document.querySelector(".ds-table output").textContent,
          [...document.querySelectorAll(".ds-table tbody tr")].filter(r => !r.hidden)
            .map(r => r.textContent).join("|"),
        ].join(";")})), 1500);
    }, 1500));</script>"""
    probe = page.with_name("probe.html")
    probe.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout)
    assert found, done.stdout[-2000:]
    assert found[1] == "1;true;0;9 of 18 rows;" + "|".join(["3b0.75"] * 5)


@pytest.mark.slow
def test_a_book_is_built_once_and_stands_alone(
    site: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (site.site / "book" / "chapters" / "01_a.html").read_text()
    assert 'class="ds-figure ds-chart"' in page
    assert "<math" in page
    assert "mathjax" not in page.lower().replace("mathjax_ignore", "")
    assert "thebe" not in page
    assert not [u for u in re.findall(r'(?:src|href)="(https?:[^"]*)', page) if "schema" not in u]
    assert (site.site / "_static" / "vendor" / "vega.min.js").is_file()

    started = time.monotonic()
    build(site)
    assert time.monotonic() - started < 5
    assert "pages are up to date" in capsys.readouterr().err

    # A change of style alone arrives in the pages.
    (site.static / "book.css").write_text("p { color: teal }\n")
    assert build_site(site)
    assert "teal" in (site.site / "_static" / "book.css").read_text()

    # A warning of Sphinx is an error that names the place.
    preface = site.root / "book" / "preface.md"
    preface.write_text("# Preface\n\n[nowhere](gone.md)\n")
    with pytest.raises(ChapterError, match=r"book/preface.md:3: WARNING: .*gone"):
        build_site(site)


def test_the_real_book_is_declared_in_full() -> None:
    book = find_book(ROOT / "notebooks")
    assert book.root == ROOT
    assert book.toc[0] == "book/preface"
    for page in ("book/how_to_rerun", "book/glossary", "book/references"):
        assert page in book.toc
        assert (ROOT / f"{page}.md").is_file()


def test_text_of_a_chapter_is_what_papermill_reads_by_hand(tmp_path: Path) -> None:
    import nbformat
    from papermill.iorw import PapermillIO

    from distill_sql.book.papermill_io import TextNotebooks

    source = tmp_path / "01_a.md"
    source.write_text(chapter_text("size = 1", "size"))
    reader = PapermillIO()
    reader.register(str(tmp_path), TextNotebooks)
    with pytest.warns(UserWarning, match="does not end in"):
        notebook = nbformat.reads(reader.read(str(source)), as_version=4)
    assert [c.source for c in notebook.cells if c.cell_type == "code"] == ["size = 1", "size"]
    reader.write("{}", str(tmp_path / "out.ipynb"))
    assert reader.read(str(tmp_path / "out.ipynb")) == "{}"

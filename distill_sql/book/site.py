"""Builds the pages from executed chapters and prose, and checks that they need no network."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from distill_sql import files
from distill_sql.book import cache
from distill_sql.book.browser import install_vendor
from distill_sql.book.layout import Book, missing_book_extra
from distill_sql.errors import ChapterError

# Attributes whose value a browser fetches by itself, unlike links (<a href>).
_FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
_FETCHED_LINKS = frozenset(
    (
        "stylesheet",
        "icon",
        "apple-touch-icon",
        "manifest",
        "preload",
        "prefetch",
        "modulepreload",
        "preconnect",
        "dns-prefetch",
    )
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CSS_URL = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


def build_site(book: Book, *, force: bool = False) -> bool:
    """Build ``_build/html``; False when nothing it is made from has changed since the last build.

    Every warning of Sphinx is an error. The whole output is in ``_build/build.log``, and the
    ChapterError has the relevant messages. A page that refers to the network or to a missing local
    file is an error, too.
    """
    install_vendor(book)
    stamp = book.site / "stamp.txt"
    wanted = _digest(book)
    if not force and stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == wanted:
        return False
    stamp.unlink(missing_ok=True)
    log = book.root / "_build" / "build.log"
    log.parent.mkdir(exist_ok=True)
    # --all: otherwise edits to _static would not be copied.
    arguments = ["build", ".", "-W", "-n", "--keep-going", "--all"]
    start = "from jupyter_book.cli.main import main; main()"
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=book.root,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        text = _ANSI.sub("", log.read_text(encoding="utf-8"))
        if "No module named 'jupyter_book'" in text:
            raise missing_book_extra("jupyter-book")
        problems = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Error:", line)]
        shown = problems[:20] or text.splitlines()[-20:]
        raise ChapterError(
            "the pages could not be built:\n"
            + "\n".join(f"  {line.replace(str(book.root) + '/', '')}" for line in shown)
            + f"\nThe whole output is in {log.relative_to(book.root)}"
        )
    if problems := check_site(book.site):
        raise ChapterError(
            "the built pages are not self-contained:\n"
            + "\n".join(f"  {problem}" for problem in problems[:20])
        )
    files.write_text(stamp, wanted + "\n")
    return True


def check_site(folder: Path) -> list[str]:
    """The references of the pages in ``folder`` to the network or to missing files.

    Checks elements, inline styles and style sheets. Scripts are not executed, so what they would
    fetch is not checked.
    """
    problems = []
    # The theme has templates in _static.
    pages = (page for page in folder.rglob("*.html") if "_static" not in page.parts)
    for page in sorted(pages):
        scanner = _Scanner()
        scanner.feed(page.read_text(encoding="utf-8"))
        problems += _problems(folder, page, scanner.references)
    for sheet in sorted(folder.rglob("*.css")):
        problems += _problems(folder, sheet, _css_references(sheet.read_text(encoding="utf-8")))
    return problems


def _problems(folder: Path, page: Path, references: Iterator[str] | list[str]) -> list[str]:
    problems = []
    name = page.relative_to(folder)
    for reference in dict.fromkeys(references):
        parts = urlsplit(reference)
        if parts.scheme in {"data", "blob", "about"} or not (parts.netloc or parts.path):
            continue
        if parts.scheme or parts.netloc:
            problems.append(f"{name} fetches {reference}")
        elif not (page.parent / unquote(parts.path)).is_file():
            problems.append(f"{name} needs {reference}, which is missing")
    return problems


class _Scanner(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        self.references += _css_references(values.get("style", ""))
        if tag == "link" and _FETCHED_LINKS & set(values.get("rel", "").lower().split()):
            self.references.append(values.get("href", ""))
        for name in _FETCHED.get(tag, ()):
            if name == "srcset":
                entries = values.get(name, "").split(",")
                self.references += [entry.split()[0] for entry in entries if entry.strip()]
            elif values.get(name):
                self.references.append(values[name])

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.references += _css_references(data)


def _css_references(text: str) -> list[str]:
    return [match[1] or match[2] for match in _CSS_URL.finditer(text)]


def _digest(book: Book) -> str:
    """The digest of everything that the pages are made from."""
    prose = (p for p in (book.root / "book").rglob("*") if book.work not in p.parents)
    files = [book.root / "_config.yml", book.root / "_toc.yml", *prose]
    digest = hashlib.sha256(cache.environment_digest(book.root).encode())
    for path in sorted(path for path in files if path.is_file()):
        digest.update(str(path.relative_to(book.root)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for module in ("site.py", "mathml.py"):
        digest.update(Path(__file__).with_name(module).read_bytes())
    return digest.hexdigest()

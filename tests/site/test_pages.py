"""The built pages in a real browser, from ``file://``: charts are drawn, nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
PAGES = sorted((HTML / "book").rglob("*.html"))
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --virtual-time-budget=8000
""".split()  # noqa: SIM905

pytestmark = pytest.mark.site


def look(page: Path, scratch: Path, *options: str) -> tuple[str, list[str]]:
    """The page's DOM after its scripts ran, and the addresses it asked for."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    log = scratch / "net.json"
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}",
         *options, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    text = log.read_text().rstrip().removesuffix(",")
    events = json.loads(text if text.endswith("}") else text + "]}")["events"]
    # The browser's own requests have no origin; those of a page name the page's.
    asked = {
        event["params"]["url"]
        for event in events
        if event.get("params", {}).get("initiator", "not an origin") != "not an origin"
        and event["params"].get("url", "").startswith("http")
    }
    return done.stdout, sorted(asked)


def test_the_book_is_built() -> None:
    names = {page.stem for page in PAGES}
    assert {"preface", "how_to_rerun", "glossary", "references", "01_data", "03_linking",
            "07_failure_analysis"} <= names, "run make book first"  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_charts_are_drawn_and_nothing_is_fetched(page: Path, tmp_path: Path) -> None:
    dom, asked = look(page, tmp_path)
    assert asked == []
    specifications = dom.count('class="ds-spec"')
    assert specifications == page.read_text().count('class="ds-spec"')
    drawn = re.findall(r'<div class="ds-view[^"]*"[^>]*>(?:(?!</figure>).)*?<svg', dom, re.DOTALL)
    assert len(drawn) == specifications
    assert 'class="marks" width="0"' not in dom, "a chart has no room"


def test_a_narrow_page_does_not_scroll_sideways(tmp_path: Path) -> None:
    """Measured in the page: at 390 pixels no page is wider than its window."""
    page = HTML / "book" / "chapters" / "01_data.html"
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" src="{page.as_uri()}" style="width:390px;height:900px"></iframe>'
        "<script>f.onload = () => setTimeout(() => { const d = f.contentDocument.documentElement;"
        "document.title = `width ${d.scrollWidth}`; }, 3000)</script>"
    )
    dom, _ = look(frame, tmp_path, "--allow-file-access-from-files")
    found = re.search(r"<title>width (\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= 390


def test_a_request_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/picture.png">')
    assert look(page, tmp_path)[1] == ["http://127.0.0.1:9/picture.png"]

"""What the README and the prose pages say is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from distill_sql.cli import main
from distill_sql.runs import measured

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_two_commands_come_first() -> None:
    assert [line.split("#")[0].strip() for line in blocks(README, "shell")[0].splitlines()] == [
        "make book",
        "make test",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_make_target_and_verb_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page.read_text(), "shell"):
        for line in block.splitlines():
            words = line.split("#")[0].split()
            if words[:1] == ["make"]:
                done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True)
                assert done.returncode == 0, line
            elif words[:1] == ["distill-sql"]:
                verb = words[1:3] if words[1] in ("book", "teacher") else words[1:2]
                with pytest.raises(SystemExit) as stop:
                    main([*verb, "--help"])
                assert stop.value.code == 0, line
                text = capsys.readouterr().out
                assert all(word in text for word in words if word.startswith("--")), line


def test_the_table_of_figures_is_what_was_recorded() -> None:
    folder = ROOT / "book" / "measured"
    rows = measured.read_rows(folder / "rows.toml")
    found = measured.read_measurements(folder / "measurements.jsonl")
    assert measured.written(README, measured.table(rows, found)) == README, (
        "run: python -m distill_sql.runs.measured README.md"
    )
    assert len({row.name or row.what for row in rows}) == len(rows)
    for row in rows:
        assert bool(row.name) != bool(row.checked), row
        assert not row.checked or (ROOT / row.checked).is_file(), row
    for one in found.values():
        assert {"cpu", "cores", "memory_gib", "bfloat16"} <= one.machine.keys(), one.name
        assert one.commit, one.name


def test_a_figure_that_was_not_recorded_yet_is_noted_by_its_chapter() -> None:
    folder = ROOT / "book" / "measured"
    rows = measured.read_rows(folder / "rows.toml")
    found = measured.read_measurements(folder / "measurements.jsonl")
    chapters = {path.stem.partition("_")[2]: path for path in (ROOT / "notebooks").glob("*.md")}
    for name in measured.missing(rows, found):
        _, chapter, *rest = name.split(".")
        if chapter in chapters and rest != ["seconds"]:
            assert "figures.note(" in chapters[chapter].read_text(), name


def test_the_python_example_runs() -> None:
    (example,) = blocks(README, "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "execution accuracy" in done.stdout


def test_every_entry_of_the_contents_has_its_source() -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [contents["root"]] + [
        chapter["file"] for part in contents["parts"] for chapter in part["chapters"]
    ]
    for file in files:
        source = ROOT / (file.replace("book/chapters", "notebooks") + ".md")
        assert source.is_file(), file


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.md")), ids=lambda p: p.stem)
def test_a_chapter_has_its_parts(path: Path) -> None:
    text = path.read_text()
    assert text.count(":tags: [parameters]") == 1
    for part in ("**The question.**", "**What it needs.**", "To repeat it:"):
        assert part in text.split(":tags: [parameters]")[0], part
    last = text.split("```{code-cell}")[-1]
    assert "footer(" in last
    code = re.findall(r"```\{code-cell\} ipython3\n(.*?)```\n", text, flags=re.DOTALL)
    assert not any(re.search(r"^\s*(def|class) ", cell, flags=re.MULTILINE) for cell in code)
    assert text.count("charts.show(") == text.count('alt=f"') + text.count('alt="')


def test_papermill_reads_a_chapter_by_hand(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "notebooks/05_quantization.md",
         str(tmp_path / "out.ipynb"), "-p", "bits", "8", "--no-progress-bar"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"bits = 8' in (tmp_path / "out.ipynb").read_text()

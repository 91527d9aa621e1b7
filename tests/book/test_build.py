"""Executing chapters: which are executed, which are kept, and what a user sees on errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill_sql.book import Book, cache
from distill_sql.book.build import clean, plan, run
from distill_sql.book.execute import rerun_command
from distill_sql.errors import ChapterError, OutputError, ParameterError

from .conftest import MakeBook, chapter_text


def outputs(book: Book, name: str) -> str:
    """Everything a chapter's page shows below its cells."""
    notebook: dict[str, Any] = json.loads((book.chapters / f"{name}.ipynb").read_text())
    return json.dumps([cell.get("outputs") for cell in notebook["cells"]])


def reasons(book: Book, **parameters: object) -> list[str]:
    return [step.reason for step in plan(book, parameters=parameters)]


def test_a_chapter_runs_once_and_again_when_something_changes(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = make_book(
        **{
            "01_a": ('size = "0.5b"  # 0.5b | 1.5b | 0.5', 'f"size is {size!r}"'),
            "02_b": ("seed = 0", "seed + 1"),
        }
    )
    assert reasons(book) == ["never executed", "never executed"]
    run(book)
    assert "size is '0.5b'" in outputs(book, "01_a")
    assert reasons(book) == ["", ""]

    executed = (book.chapters / "01_a.ipynb").stat().st_mtime_ns
    run(book)
    assert (book.chapters / "01_a.ipynb").stat().st_mtime_ns == executed

    # Each chapter takes the parameters it knows; a size stays text.
    assert reasons(book, size="0.5") == ["parameters and inputs changed", ""]
    run(book, parameters={"size": "0.5"})
    assert "size is '0.5'" in outputs(book, "01_a")
    assert reasons(book, size="0.5") == ["", ""]

    (book.notebooks / "02_b.md").write_text(chapter_text("seed = 0", "seed + 2"))
    assert reasons(book, size="0.5") == ["", "source changed"]
    monkeypatch.setattr(cache, "library_digest", lambda: "edited")
    assert reasons(book, size="0.5") == ["library changed", "source and library changed"]


def test_a_chapter_runs_again_when_an_earlier_one_leaves_it_something_new(
    make_book: MakeBook,
) -> None:
    write = "from pathlib import Path; Path('book/results').mkdir(exist_ok=True); "
    book = make_book(
        **{
            "01_a": ("seed = 0", f"{write}Path('book/results/x').write_text(str(seed))"),
            "02_b": ("other = 0", "print('found', open('book/results/x').read())"),
        }
    )
    run(book)
    assert "found 0" in outputs(book, "02_b")
    run(book, parameters={"seed": 7})
    assert "found 7" in outputs(book, "02_b")
    assert reasons(book, seed=7) == ["inputs changed", ""]  # what it writes is its input, too


def test_bad_parameters_are_errors_before_anything_runs(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ('size = "a"  # a | b', "size"), "02_b": ("seed = 0", "seed")})
    with pytest.raises(ParameterError, match="for any chapter: it knows size, seed"):
        run(book, parameters={"sise": "a"})
    with pytest.raises(ParameterError, match=r"chapter 01_a: size = 'c' is not allowed"):
        run(book, parameters={"size": "c"})
    with pytest.raises(ParameterError, match="for chapter 02_b: it knows seed"):
        run(book, names=["02_b"], parameters={"size": "a"})
    assert not book.chapters.exists()


def test_an_unwritable_path_is_an_error_before_anything_runs(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ("x = 1", "open('ran', 'w').close()")})
    book.chapters.parent.mkdir(parents=True, exist_ok=True)
    book.chapters.write_text("")
    with pytest.raises(OutputError, match=r"book/chapters cannot be written"):
        run(book)
    assert not (book.root / "ran").exists()


def test_a_failing_chapter_keeps_the_good_one_and_the_others_go_on(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ("x = 1", "x + 41"), "02_b": ("y = 1", "y")})
    run(book)
    good = (book.chapters / "01_a.ipynb").read_bytes()
    (book.notebooks / "01_a.md").write_text(chapter_text("x = 1", "rows = [x]", "rows[5]"))
    (book.notebooks / "02_b.md").write_text(chapter_text("y = 1", "y + 100"))
    with pytest.raises(ChapterError) as caught:
        run(book, parameters={"x": "2"})
    message = str(caught.value)
    assert "chapter 01_a failed in this cell (notebooks/01_a.md, line 14)" in message
    assert "    rows[5]" in message
    assert "IndexError: list index out of range" in message
    assert "previous good version stays in place: book/chapters/01_a.ipynb" in message
    assert message.endswith("distill-sql book run 01_a -p x 2")
    assert "Traceback" not in message
    assert (book.chapters / "01_a.ipynb").read_bytes() == good
    assert "101" in outputs(book, "02_b")
    assert "IndexError" in (book.work / "01_a.failed.txt").read_text()
    assert (book.work / "01_a.failed.ipynb").is_file()

    (book.notebooks / "01_a.md").write_text(chapter_text("x = 1", "x + 1"))
    run(book)
    assert not (book.work / "01_a.failed.ipynb").exists()


def test_the_rerun_command_names_the_folder_of_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIDER_DIR", str(tmp_path / "my spider"))
    monkeypatch.chdir(tmp_path)
    assert rerun_command("03_linking", {"dataset": "spider", "sizes": ["a", "b"]}) == (
        "distill-sql book run 03_linking -p dataset spider --spider-dir 'my spider' "
        """-p sizes '["a", "b"]'"""
    )
    assert rerun_command("01_data", {"dataset": "pocket"}) == (
        "distill-sql book run 01_data -p dataset pocket"
    )


def test_a_kernel_that_dies_is_a_chapter_error(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ("x = 1", "import os; os._exit(3)")})
    with pytest.raises(ChapterError, match=r"chapter 01_a: its kernel failed"):
        run(book)
    assert not (book.chapters / "01_a.ipynb").exists()


def test_pages_hold_no_stderr_no_progress_bar_and_no_path_of_this_machine(
    make_book: MakeBook, capsys: pytest.CaptureFixture[str]
) -> None:
    book = make_book(
        **{
            "01_a": (
                "x = 1",
                "import sys; print('shown'); print('hidden', file=sys.stderr)",
                "import tqdm; all(tqdm.tqdm(range(9)))",
            )
        }
    )
    run(book)
    text = (book.chapters / "01_a.ipynb").read_text()
    assert "shown" in outputs(book, "01_a")
    assert "hidden" not in outputs(book, "01_a")
    assert "it/s" not in text
    assert str(book.root) not in text
    assert "note: 01_a: code cell 2 wrote to stderr: hidden" in capsys.readouterr().err


def test_the_kernel_is_this_interpreter(make_book: MakeBook, tmp_path: Path) -> None:
    # A kernelspec of the user's, by the same name, that starts something else.
    spec = tmp_path / "user" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x"}))
    book = make_book(**{"01_a": ("x = 1", "import sys; print(sys.executable)")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
        run(book)
        assert os.environ["JUPYTER_PATH"] == str(tmp_path / "user")
    assert sys.executable in outputs(book, "01_a")


def test_a_killed_run_resumes(make_book: MakeBook, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    book = make_book(
        **{
            "01_a": ("x = 1", "x"),
            "02_b": (
                "x = 1",
                f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists():\n"
                "    time.sleep(0.05)",
            ),
        }
    )
    command = [sys.executable, "-m", "distill_sql.cli", "book", "run", "1", "2"]
    process = subprocess.Popen(command, cwd=book.root, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (book.work / "02_b.running.ipynb").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    first = (book.chapters / "01_a.ipynb").stat().st_mtime_ns
    assert not (book.chapters / "02_b.ipynb").exists()

    gate.touch()
    done = subprocess.run(command, cwd=book.root, capture_output=True, text=True, check=True)
    assert "01_a  up to date" in done.stderr
    assert "02_b  executed" in done.stderr
    assert (book.chapters / "01_a.ipynb").stat().st_mtime_ns == first
    assert not (book.work / "02_b.running.ipynb").exists()


def test_clean_deletes_what_was_generated_and_nothing_else(make_book: MakeBook) -> None:
    book = make_book(**{"01_a": ("x = 1", "x")})
    for folder in (book.chapters, book.work, book.site, book.static / "vendor"):
        folder.mkdir(parents=True)
    assert clean(book) == [book.chapters, book.work, book.root / "_build"]
    assert clean(book) == []
    assert (book.static / "vendor").is_dir()
    assert (book.notebooks / "01_a.md").is_file()

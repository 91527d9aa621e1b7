"""Executes one chapter with papermill, and puts it in place only if it succeeds."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql import files
from distill_sql.book import cache, figures
from distill_sql.book.chapters import Chapter
from distill_sql.book.layout import Book, missing_book_extra
from distill_sql.errors import ChapterError
from distill_sql.settings import DATASET_VARIABLES

if TYPE_CHECKING:
    from nbformat import NotebookNode

_KERNEL = "python3"
# In a chapter, progress bars would become part of the page.
_QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
# By default glibc returns memory to the system and requests it again for every large tensor, which
# takes a tenth of the training time on a CPU. These settings let it keep the memory.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
}
# The kernel listens on the loopback device, which other users of the machine can access.
_ENCRYPTED = {"KernelManager": {"transport_encryption": "auto"}}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execute(
    book: Book, chapter: Chapter, *, overrides: Mapping[str, Any], parameters: Mapping[str, Any]
) -> list[str]:
    """Execute ``chapter`` and replace ``book/chapters/NAME.ipynb`` with the result.

    ``overrides`` are the parameters as given; they are recorded and repeated in the re-run command.
    ``parameters`` are the resolved values of all parameters. Returns notes for the terminal: what
    cells wrote to stderr, which is not on the page. Raises ChapterError with the failing cell. The
    notebook up to this cell is then ``book/.work/NAME.failed.ipynb``, and a previous good version
    stays in place.
    """
    # Digests come first, so that a library edited during the run makes the result stale.
    parts = cache.parts(book, source=chapter.text, parameters=parameters, inputs=chapter.inputs)
    for folder in (book.work, book.chapters):  # before the work
        files.check_folder(folder)
    started = time.monotonic()
    notebook = _papermill(book, chapter, overrides=overrides, parameters=parameters)
    notes = _clean(notebook)
    record = cache.Record(
        overrides=dict(overrides),
        parameters=dict(parameters),
        inputs=chapter.inputs,
        parts=parts,
        executed=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 2),
    )
    _save(book, chapter, notebook, record)
    return [f"{chapter.name}: {note}" for note in notes]


def _papermill(
    book: Book, chapter: Chapter, *, overrides: Mapping[str, Any], parameters: Mapping[str, Any]
) -> NotebookNode:
    """The executed notebook; ChapterError, with the failed notebook kept, if a cell fails."""
    try:
        import papermill
        from papermill.exceptions import PapermillExecutionError
        from traitlets.config import Config
    except ImportError as error:
        raise missing_book_extra(error.name or "papermill") from None

    running = _running(book, chapter)
    with _kernel_environment(book):
        try:
            notebook: NotebookNode = papermill.execute_notebook(
                chapter.notebook(),
                # papermill formats this path with the parameters, so braces are escaped.
                str(running).replace("{", "{{").replace("}", "}}"),
                parameters={
                    name: value
                    for name, value in parameters.items()
                    if value != chapter.parameters[name].default
                },
                kernel_name=_KERNEL,
                progress_bar=False,
                cwd=book.root,
                config=Config(_ENCRYPTED),
            )
        except PapermillExecutionError as error:
            failed = _failed(book, chapter)
            running.replace(failed)
            raise ChapterError(_failure(book, chapter, error, overrides, failed)) from None
        except (RuntimeError, OSError) as error:  # a kernel that does not start, or dies
            raise ChapterError(
                f"chapter {chapter.name}: its kernel failed: {error}\n"
                f"Run it again: {rerun_command(chapter.name, overrides)}"
            ) from None
    return notebook


def _save(book: Book, chapter: Chapter, notebook: NotebookNode, record: cache.Record) -> None:
    """Put an executed notebook, with its record, in place."""
    import nbformat

    notebook.metadata[cache.METADATA] = record.to_json()
    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    files.write_text(book.chapters / f"{chapter.name}.ipynb", text)
    _running(book, chapter).unlink(missing_ok=True)
    _failed(book, chapter).unlink(missing_ok=True)


def _running(book: Book, chapter: Chapter) -> Path:
    return book.work / f"{chapter.name}.running.ipynb"


def _failed(book: Book, chapter: Chapter) -> Path:
    return book.work / f"{chapter.name}.failed.ipynb"


def rerun_command(name: str, overrides: Mapping[str, Any]) -> str:
    """The command that executes this chapter again with the same parameters."""
    return command_line(["run", name], overrides)


def command_line(verb: Sequence[str], overrides: Mapping[str, Any]) -> str:
    """A ``distill-sql book`` command with these parameters and the folders they need."""
    import shlex

    words = ["distill-sql", "book", *verb]
    for parameter, value in overrides.items():
        words += ["-p", parameter, json.dumps(value) if isinstance(value, list) else str(value)]
        variable = DATASET_VARIABLES.get(str(value))
        if variable and (folder := os.environ.get(variable)):
            words += [f"--{variable.lower().replace('_', '-')}", os.path.relpath(folder)]
    return shlex.join(words)


@contextmanager
def _kernel_environment(book: Book) -> Iterator[None]:
    """Set the environment of the kernel: no progress bars, and a kernelspec for this interpreter.

    Kernelspecs of the user or the system may point at other interpreters. A folder in
    ``JUPYTER_PATH`` takes precedence over them.
    """
    from ipykernel.kernelspec import get_kernel_dict

    files.write_json(book.work / "kernels" / _KERNEL / "kernel.json", get_kernel_dict())
    search = os.pathsep.join(filter(None, [str(book.work), os.environ.get("JUPYTER_PATH")]))
    changes = _QUIET | _KEEP_MEMORY | {"JUPYTER_PATH": search}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _clean(notebook: NotebookNode) -> list[str]:
    """Remove what is not for the reader; returns what went to stderr, one note per cell."""
    notes = []
    figures.keep(notebook)
    # papermill records paths of this machine.
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.metadata.pop("papermill", None)
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                notes.append(f"code cell {number} wrote to stderr: {output.text.strip()}")
            else:
                kept.append(output)
        cell.outputs = kept
    return notes


def _failure(
    book: Book, chapter: Chapter, error: Any, overrides: Mapping[str, Any], failed: Path
) -> str:
    # papermill inserts cells for parameters and errors, so the failing cell is found by its text.
    offset = chapter.text.find(error.source)
    line = chapter.text.count("\n", 0, offset) + 1 if offset >= 0 else None
    source = error.source.splitlines()
    shown = source if len(source) <= 12 else [*source[:11], "..."]
    place = chapter.path.relative_to(book.root)
    where = f"{place}, line {line}" if line else str(place)
    good = book.chapters / f"{chapter.name}.ipynb"
    kept = (
        f"The previous good version stays in place: {good.relative_to(book.root)}\n"
        if good.is_file()
        else ""
    )
    trace = failed.with_suffix(".txt")
    files.write_text(trace, _ANSI.sub("", "\n".join(error.traceback)) + "\n")
    return (
        f"chapter {chapter.name} failed in this cell ({where}):\n\n"
        + "\n".join(f"    {text}" for text in shown)
        + f"\n\n{error.ename}: {_ANSI.sub('', str(error.evalue)).strip()}\n\n"
        + kept
        + f"Full traceback: {trace.relative_to(book.root)}\n"
        + f"Run it again: {rerun_command(chapter.name, overrides)}"
    )

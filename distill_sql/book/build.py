"""Build the whole book: check parameters, execute stale chapters, build the pages."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.book import cache
from distill_sql.book.chapters import Chapter, unknown_name
from distill_sql.book.execute import command_line, execute
from distill_sql.book.layout import Book
from distill_sql.book.placeholders import never_executed, placeholders
from distill_sql.book.site import build_site
from distill_sql.errors import ChapterError, ParameterError


@dataclass(frozen=True)
class Plan:
    """What to do for one chapter.

    ``reason`` says why it must be executed, and is empty if it is up to date.
    """

    chapter: Chapter
    overrides: dict[str, Any]
    parameters: dict[str, Any]
    reason: str
    record: cache.Record | None


def plan(
    book: Book,
    *,
    names: Sequence[str] | None = None,
    parameters: Mapping[str, object] | None = None,
) -> list[Plan]:
    """Check ``parameters`` and plan for each chapter whether, and why, it must be executed.

    Each chapter gets the parameters that it declares. Raises ParameterError for a parameter that no
    chapter declares. Nothing is executed.
    """
    parameters = parameters or {}
    chapters = [Chapter.load(book, name) for name in names or book.chapter_names]
    records = [cache.Record.read(book.chapters / f"{c.name}.ipynb") for c in chapters]
    declared = [
        record.parameters if record and _same_source(record, chapter) else chapter.parameters
        for chapter, record in zip(chapters, records, strict=True)
    ]
    known = {name: None for one in declared for name in one}
    for name in parameters:
        if name not in known:
            where = f"chapter {chapters[0].name}" if len(chapters) == 1 else "any chapter"
            raise ParameterError(unknown_name(name, known, where=where))
    return [
        _plan(book, chapter, record, {n: v for n, v in parameters.items() if n in names})
        for chapter, record, names in zip(chapters, records, declared, strict=True)
    ]


def run(
    book: Book,
    *,
    names: Sequence[str] | None = None,
    parameters: Mapping[str, object] | None = None,
    force: bool = False,
) -> list[Plan]:
    """Execute the stale chapters (with ``force``: all chapters) and return the plans.

    If a chapter fails, the others are still executed; then one ChapterError lists all failures.
    Progress is shown on the terminal.
    """
    from tqdm import tqdm

    plans = plan(book, names=names, parameters=parameters)
    width = max((len(p.chapter.name) for p in plans), default=0)
    failures = []
    with tqdm(total=len(plans), unit="chapter", leave=False, disable=None) as bar:
        for step in plans:
            name = step.chapter.name
            bar.set_description(name)
            # An earlier chapter may have changed what this one reads.
            step = plan(book, names=[name], parameters=step.overrides)[0]
            started = time.monotonic()
            notes: list[str] = []
            outcome = "up to date"
            try:
                if step.reason or force:
                    notes = execute(
                        book, step.chapter, overrides=step.overrides, parameters=step.parameters
                    )
                    reason = step.reason or "forced"
                    outcome = f"executed in {time.monotonic() - started:.1f} s ({reason})"
            except ChapterError as error:
                failures.append(str(error))
                outcome = f"FAILED after {time.monotonic() - started:.1f} s"
            tqdm.write(f"{name:{width}}  {outcome}", file=sys.stderr)
            for note in notes:
                tqdm.write(f"  note: {note}", file=sys.stderr)
            bar.update()
    if failures:
        raise ChapterError("\n\n".join(failures))
    return plans


def build(
    book: Book,
    *,
    names: Sequence[str] | None = None,
    parameters: Mapping[str, object] | None = None,
    force: bool = False,
) -> Path:
    """Execute stale chapters, build the pages and return the front page.

    ``names`` limits what is executed, not what is shown: other chapters are shown as last executed,
    or as a page that says how to add them. If chapters fail, the pages are built from what there
    is, and then ChapterError is raised.
    """
    plan(book, names=names, parameters=parameters)  # raises errors in the arguments early
    failures = []
    try:
        run(book, names=names, parameters=parameters, force=force)
    except ChapterError as error:
        failures.append(str(error))
    for name in never_executed(book):
        declared = Chapter.load(book, name).parameters
        given = {key: value for key, value in (parameters or {}).items() if key in declared}
        adding = command_line(["build", "--chapter", name], given)
        print(f"{name} was never executed; its page says so. To add it: {adding}", file=sys.stderr)
    started = time.monotonic()
    try:
        with placeholders(book):
            built = build_site(book, force=force)
    except ChapterError as error:
        raise ChapterError("\n\n".join([*failures, str(error)])) from None
    seconds = time.monotonic() - started
    said = (
        f"pages built in {seconds:.1f} s, and need no network" if built else "pages are up to date"
    )
    print(said, file=sys.stderr)
    if failures:
        raise ChapterError("\n\n".join(failures))
    return book.site / "index.html"


def clean(book: Book) -> list[Path]:
    """Delete executed chapters, work files and pages. Returns the deleted paths.

    The browser packages stay, since installing them needs a network.
    """
    gone = [path for path in (book.chapters, book.work, book.root / "_build") if path.exists()]
    for path in gone:
        shutil.rmtree(path)
    return gone


def _same_source(record: cache.Record, chapter: Chapter) -> bool:
    return record.parts["source"] == cache.source_digest(chapter.text)


def _plan(
    book: Book, chapter: Chapter, record: cache.Record | None, overrides: dict[str, Any]
) -> Plan:
    # Reading a notebook needs seconds of imports. The same source with the same parameters was
    # checked when it was recorded, so this is skipped if nothing changed.
    if record is not None and _same_source(record, chapter) and record.overrides == overrides:
        parameters, inputs = record.parameters, record.inputs
    else:
        parameters = chapter.resolve(overrides, root=book.root)
        inputs = chapter.inputs
    if record is None:
        reason = "never executed"
    else:
        parts = cache.parts(book, source=chapter.text, parameters=parameters, inputs=inputs)
        changed = [name for name, digest in parts.items() if record.parts.get(name) != digest]
        reason = f"{' and '.join(changed)} changed" if changed else ""
    return Plan(chapter, overrides, parameters, reason, record)

"""The measurements in the README, each with its command, machine and package versions.

A benchmark records its values with ``--record``; ``distill-sql book figures --record`` records the
figures of the chapters. ``book/measured/measurements.jsonl`` holds the latest value of each name,
and ``python -m distill_sql.runs.measured README.md`` writes the README's table from it. The rows
of the table are in ``book/measured/rows.toml``; a row whose figure was never recorded is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_sql.errors import DistillSqlError, ParameterError
from distill_sql.files import read_json_lines, read_text, write_json_lines, write_text
from distill_sql.provenance import git_state, hardware, machine_in_words, packages
from distill_sql.settings import book_root

#: The table stands between these two lines of a page.
BEGIN = "<!-- measured: begin (python -m distill_sql.runs.measured README.md writes it) -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Measurement:
    """A measured value.

    ``value`` is not rounded. ``commit`` ends with ``+`` if the checkout had uncommitted edits.
    """

    name: str
    value: float
    unit: str
    command: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    date: str


@dataclass(frozen=True)
class Row:
    """A row of the table: a description and a figure.

    With a ``name``, the figure is the recorded value of that name, in the format ``figure``.
    Without one, ``figure`` is the text itself, which the test file ``checked`` asserts.
    """

    what: str
    figure: str
    name: str = ""
    checked: str = ""


def folder() -> Path:
    """The folder ``book/measured`` of the book that contains the current folder.

    It is outside ``book/results``, which is an input of chapters: recording must not make them
    stale.
    """
    root = book_root()
    if root is None:
        raise DistillSqlError(
            "Measurements are kept in the book, but neither this folder nor a parent contains "
            "one. Change into a checkout of distill-sql first."
        )
    return root / "book" / "measured"


def read_measurements(path: Path) -> dict[str, Measurement]:
    """Read a file's measurements by name; an empty mapping if there is no file."""
    if not path.exists():
        return {}
    fix = "Expected a line written by --record; delete the line and measure again."
    found = {}
    for number, record in read_json_lines(path, error=ParameterError, fix=fix):
        try:
            found[record["name"]] = Measurement(**record)
        except (TypeError, KeyError) as error:
            raise ParameterError(
                f"{path}, line {number}: not a measurement ({error}). {fix}"
            ) from None
    return found


def read_rows(path: Path) -> list[Row]:
    """The rows of the table, in order."""
    return [Row(**row) for row in tomllib.loads(read_text(path))["row"]]


def record(values: Mapping[str, tuple[float, str]], *, command: str) -> Path:
    """Record values, each with its unit, as measured now on this machine by ``command``.

    A value replaces an earlier one of the same name. ``command`` must not contain a path of this
    machine; :func:`spelled` removes them. Returns the file.
    """
    path = folder() / "measurements.jsonl"
    state = git_state(folder().parent)
    shared = {
        "command": command,
        "machine": hardware(),
        "versions": packages(),
        "commit": state["commit"] and state["commit"][:12] + "+" * bool(state["dirty"]),
        "date": datetime.now(UTC).date().isoformat(),
    }
    new = {
        name: Measurement(name=name, value=value, unit=unit, **shared)
        for name, (value, unit) in values.items()
    }
    every = read_measurements(path) | new
    write_json_lines(path, (asdict(every[name]) for name in sorted(every)))
    print(f"recorded {', '.join(new)} in {os.path.relpath(path)}")
    return path


def spelled(program: str, arguments: Iterable[str]) -> str:
    """A command for others to run: no ``--record``, and only the last part of each path.

    It sets the number of threads if the environment limits it.
    """
    words = [os.path.basename(w) if os.sep in w else w for w in arguments if w != "--record"]  # noqa: PTH119
    threads = os.environ.get("OMP_NUM_THREADS")
    limit = [f"OMP_NUM_THREADS={threads}"] if threads else []
    return " ".join([*limit, program, *words])


def missing(rows: Iterable[Row], found: Mapping[str, Measurement]) -> list[str]:
    """The names of rows without a recorded value."""
    return [row.name for row in rows if row.name and row.name not in found]


def table(rows: Iterable[Row], found: Mapping[str, Measurement]) -> str:
    """The table in Markdown, followed by the machines, which it refers to by letters."""
    machines: dict[str, str] = {}
    before = ""
    lines = ["| what | figure | how | where |", "|---|---|---|---|"]
    for row in rows:
        if not row.name:
            how, figure, letter = row.checked, row.figure, "each"
        elif row.name in found:
            one = found[row.name]
            words = machine_in_words(one.machine)
            letter = machines.setdefault(words, chr(ord("A") + len(machines)))
            how, figure = one.command, _shown(row.figure, one.value)
        else:
            continue
        shown = "the same" if how == before else f"`{how}`"
        lines.append(f"| {row.what} | {figure} | {shown} | {letter} |")
        before = how
    named = [f"{letter}: {words}." for words, letter in machines.items()]
    return "\n".join([*lines, "", " ".join(["Machines:", *named]) if named else ""]).rstrip() + "\n"


def _shown(form: str, value: float) -> str:
    """A value in a format; a difference of shares is in percentage points.

    >>> _shown("{:.1%}", 0.755), _shown("{:+.1%} points", 0.02)
    ('75.5 %', '+2.0 points')
    """
    return form.format(value).replace("% points", " points").replace("%", " %")


def written(page: str, text: str) -> str:
    """A page with ``text`` between its two markers; :class:`ParameterError` if one is missing."""
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ParameterError(
            f"The page has no place for the table: expected the lines {BEGIN} and {END}. Add them."
        )
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table into a page, and report the figures that were never recorded."""
    parser = argparse.ArgumentParser(
        prog="python -m distill_sql.runs.measured", description=__doc__
    )
    parser.add_argument("page", type=Path, help="the page to write the table into")
    arguments = parser.parse_args(argv)
    try:
        rows = read_rows(folder() / "rows.toml")
        found = read_measurements(folder() / "measurements.jsonl")
        page = written(read_text(arguments.page, error=ParameterError), table(rows, found))
        write_text(arguments.page, page)
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in missing(rows, found):
        print(f"{name} was never recorded; its row is left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measurements that the README repeats: each with its command, its machine and its versions.

What measures records: ``--record`` of a benchmark, ``distill-sql book figures --record`` for the
figures of chapters. Recorded values stand in ``book/measured/measurements.jsonl``, the last of each
name, and ``python -m distill_sql.runs.measured README.md`` writes the README's table from them.
Which figures it has, and in which words, is in ``book/measured/rows.toml``; a figure that was never
recorded is left out.
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

#: Between these two lines of a page stands the table.
BEGIN = "<!-- measured: begin (python -m distill_sql.runs.measured README.md writes it) -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Measurement:
    """One value that was measured. ``value`` is not rounded; ``commit`` is followed by ``+`` if
    files differed from it."""

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
    """A row of the table: words, and a figure.

    That is the recorded value called ``name``, by the format ``figure``; without a name ``figure``
    is text that the test file ``checked`` asserts, wherever tests run.
    """

    what: str
    figure: str
    name: str = ""
    checked: str = ""


def folder() -> Path:
    """``book/measured`` of the book around the current folder.

    It is not in ``book/results``, which chapters read: recording must not make them stale.
    """
    root = book_root()
    if root is None:
        raise DistillSqlError(
            "Measurements are kept in the book, and there is none in this folder or above it. "
            "Change into a checkout of distill-sql first."
        )
    return root / "book" / "measured"


def read_measurements(path: Path) -> dict[str, Measurement]:
    """The measurements of a file by name, none if there is no file."""
    if not path.exists():
        return {}
    fix = "Expected a line that --record wrote; take it out, and measure again."
    found = {}
    for number, record in read_json_lines(path, error=ParameterError, fix=fix):
        try:
            found[record["name"]] = Measurement(**record)
        except (TypeError, KeyError) as error:
            raise ParameterError(
                f"{path}, line {number}: no measurement ({error}). {fix}"
            ) from None
    return found


def read_rows(path: Path) -> list[Row]:
    """The rows of the table, in order."""
    return [Row(**row) for row in tomllib.loads(read_text(path))["row"]]


def record(values: Mapping[str, tuple[float, str]], *, command: str) -> Path:
    """Keep values, each with its unit, as measured now on this machine by ``command``.

    An earlier value of the same name is replaced. ``command`` must name no folder of this machine;
    :func:`spelled` makes one that does not. Returns the file.
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
    """A command as others would type it: without ``--record``, of paths only the last part, and
    with the number of threads if the environment limits it."""
    words = [os.path.basename(w) if os.sep in w else w for w in arguments if w != "--record"]  # noqa: PTH119
    threads = os.environ.get("OMP_NUM_THREADS")
    limit = [f"OMP_NUM_THREADS={threads}"] if threads else []
    return " ".join([*limit, program, *words])


def missing(rows: Iterable[Row], found: Mapping[str, Measurement]) -> list[str]:
    """The names of rows that were never recorded."""
    return [row.name for row in rows if row.name and row.name not in found]


def table(rows: Iterable[Row], found: Mapping[str, Measurement]) -> str:
    """The table in Markdown, and the machines that it names by letters."""
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
    """A value by a format; a difference of shares is in points.

    >>> _shown("{:.1%}", 0.755), _shown("{:+.1%} points", 0.02)
    ('75.5 %', '+2.0 points')
    """
    return form.format(value).replace("% points", " points").replace("%", " %")


def written(page: str, text: str) -> str:
    """A page with ``text`` between its two marks; :class:`ParameterError` if it lacks them."""
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ParameterError(f"The page has no place for the table: expected {BEGIN} and {END}.")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table into a page, and say which figures were never recorded."""
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
        print(f"{name} was never recorded, and its row is left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

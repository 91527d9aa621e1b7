"""``distill-sql record``: executes a plan of recorded runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill_sql.errors import OutOfTime, ParameterError
from distill_sql.settings import book_root, cache_dir, check_numbers

if TYPE_CHECKING:
    from distill_sql.runs.recording.pieces import State


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql record`` to ``parser``."""
    parser.add_argument(
        "plan", metavar="PLAN", help="a plan file, or the name of one in book/plans"
    )
    parser.add_argument("--traces", type=Path, metavar="FILE", help="the plan's file of traces")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="folder of unfinished work and adapters (default: one per plan in the cache)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="folder of finished pieces (default: book/results/runs)",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME",
        help="only these students, STUDENT/SEED, or pieces",
    )  # fmt: skip
    parser.add_argument(
        "--list", action="store_true", help="show the pieces with their status, and do nothing"
    )
    parser.add_argument(
        "--hours", type=float, metavar="H", help="end after H hours; the same command continues"
    )
    parser.add_argument(
        "--keep-adapter",
        default="",
        metavar="STUDENT",
        help="also record the adapter of this student's first seed, in bfloat16",
    )
    parser.add_argument(
        "--micro-batch", type=int, metavar="N", help="examples that a device processes at once"
    )
    parser.add_argument("--framework", choices=("torch", "mlx"), help="default: by the machine")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from distill_sql.models.students import default_framework
    from distill_sql.runs.recording.plan import read_plan
    from distill_sql.runs.recording.recorder import Recorder

    check_numbers(arguments, micro_batch=1)
    if arguments.hours is not None and not 0 < arguments.hours < 1e6:
        raise ParameterError(f"--hours {arguments.hours:g}: expected more than 0.")
    began = time.monotonic()
    traces = "" if arguments.traces is None else str(arguments.traces.resolve())
    plan = read_plan(_plan_file(arguments.plan), traces=traces)
    recorder = Recorder(
        plan,
        arguments.state or cache_dir() / "record" / plan.name,
        arguments.results or (book_root() or Path.cwd()) / "book" / "results" / "runs",
        keep=arguments.keep_adapter,
        framework=arguments.framework or default_framework(),
        micro_batch=arguments.micro_batch,
        stop_at=None if arguments.hours is None else began + 3600 * arguments.hours,
        progress=sys.stderr.isatty(),
    )
    if not arguments.list:
        try:
            recorder.run(arguments.only)
        except OutOfTime as end:
            print(end)
    print(_table(recorder.states(arguments.only)))
    return 0


def _plan_file(name: str) -> Path:
    """A plan's file: the path itself, or the plan of this name in the book."""
    root = book_root()
    if not Path(name).exists() and root is not None:
        named = root / "book" / "plans" / f"{name}.toml"
        if named.is_file():
            return named
    return Path(name)


def _table(states: Sequence[State]) -> str:
    """The pieces with their status and the seconds that they took so far."""
    from distill_sql.scoring.report import align

    rows = [["piece", "status", "seconds"]]
    rows += [
        [one.piece.name, one.status, f"{one.seconds:,.0f}" if one.seconds else "-"]
        for one in states
    ]
    done = sum(one.status == "done" for one in states)
    changed = [
        f"{one.piece.name} was recorded with other inputs: {'; '.join(one.changes)}"
        for one in states
        if one.status == "changed"
    ]
    return "\n".join([align(rows), f"{done} of {len(states)} pieces are done", *changed])

"""``distill-sql``: one verb per stage of the pipeline.

Each verb lives in the module of this folder that ``COMMANDS`` names, which is imported only when
it is asked for.
Such a module has ``configure(parser)``, or ``configure_<verb>`` if it has several verbs, which adds
arguments and sets ``run``: a function that takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from distill_sql.errors import DistillSqlError, OutputError

# verb: (module, what it does)
COMMANDS = {
    "pocket": ("distill_sql.cli.pocket", "say where the embedded benchmark is, or copy it"),
    "score": ("distill_sql.cli.score", "score a prediction file"),
    "teacher": (
        "distill_sql.cli.teacher",
        "ask the teacher, and keep the answers that are right",
    ),
    "train": ("distill_sql.cli.students", "train a student on traces, by a recipe"),
    "generate": ("distill_sql.cli.students", "let a student or an endpoint answer a split"),
    "book": ("distill_sql.cli.book", "execute the chapters and build the pages"),
    "doctor": (
        "distill_sql.cli.doctor",
        "say what works on this machine, and what is missing",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 2 for a mistake of the user's, 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        _check_streams()
        arguments = _parser(argv).parse_args(argv)
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output wants no more of it
        _discard_output()
        return 1
    except OSError as error:  # a full disk, no rights: whatever a verb did not foresee
        where = error.filename or "standard output"
        print(f"error: {where}: {error.strerror or error}", file=sys.stderr)
        _discard_output()
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; what was finished is kept, and the same command goes on", file=sys.stderr
        )
        return 130


def _check_streams() -> None:
    """Find out before the work that nobody could read what it prints."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - it stays open, as a stream does
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        raise OutputError("Standard output is closed. Send it to a terminal, a file or a pipe.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a lone surrogate, or a terminal's few letters
            stream.reconfigure(errors="backslashreplace")
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # a notebook's or a test's own stream
    try:
        os.write(output, b"")  # a full device says so
    except OSError as error:
        raise OutputError(
            f"Standard output cannot be written ({error.strerror}). Send it elsewhere."
        ) from None


def _discard_output() -> None:
    """Let what cannot be written go nowhere, so that Python's own last flush is quiet."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="distill-sql",
        description="Distil a self-hosted text-to-SQL model, and measure it honestly.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        verb = verbs.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == asked:
            commands = import_module(module)
            own = getattr(commands, f"configure_{name}", None)
            (own or commands.configure)(verb)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from distill_sql import __version__

        print(f"distill-sql {__version__}")
        parser.exit()

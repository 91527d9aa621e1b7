"""``distill-sql``: one verb per stage of the pipeline.

Each verb is a module of this folder, listed in ``COMMANDS`` and imported only if the verb is used.
Its ``configure(parser)`` adds the arguments and sets ``run``: a function that takes the parsed
arguments and returns the exit status.
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
    "pocket": ("distill_sql.cli.pocket", "show the folder of the embedded benchmark, or copy it"),
    "score": ("distill_sql.cli.score", "score a prediction file"),
    "teacher": (
        "distill_sql.cli.teacher",
        "ask the teacher, and keep the right answers",
    ),
    "models": ("distill_sql.cli.models", "list, download or remove base models"),
    "train": ("distill_sql.cli.train", "train a student on traces by a recipe"),
    "generate": ("distill_sql.cli.generate", "write the predictions of a student or an endpoint"),
    "record": ("distill_sql.cli.record", "train and evaluate a plan of students, and record them"),
    "book": ("distill_sql.cli.book", "execute the chapters and build the pages"),
    "doctor": (
        "distill_sql.cli.doctor",
        "show what works on this machine, and what is missing",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns 0 on success, 2 after a user's mistake, 130 if interrupted."""
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
    except BrokenPipeError:  # the reader of the output closed it
        _discard_output()
        return 1
    except OSError as error:  # a full disk, missing rights, ...
        where = error.filename or "standard output"
        print(f"error: {where}: {error.strerror or error}", file=sys.stderr)
        _discard_output()
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, and the same command continues", file=sys.stderr)
        return 130


def _check_streams() -> None:
    """Check that the output can be written, before any work."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - it stays open
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        raise OutputError("Standard output is closed. Send it to a terminal, a file or a pipe.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # for lone surrogates, and terminals with few letters
            stream.reconfigure(errors="backslashreplace")
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # a stream of a notebook or a test
    try:
        os.write(output, b"")  # fails on a full device
    except OSError as error:
        raise OutputError(
            f"Standard output cannot be written ({error.strerror}). Redirect it elsewhere."
        ) from None


def _discard_output() -> None:
    """Discard what cannot be written, so that Python's final flush raises no error."""
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
            import_module(module).configure(verb)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from distill_sql import __version__

        print(f"distill-sql {__version__}")
        parser.exit()

"""``distill-sql book``: build, run, status, figures, clean."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from distill_sql.errors import DatasetError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``distill-sql book`` to ``parser``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    build = verbs.add_parser(
        "build", help="execute stale chapters, then build the pages of all executed chapters"
    )
    build.add_argument(
        "--chapter", action="append", metavar="NAME", help="execute only this chapter (repeatable)"
    )
    _execution(build)
    build.set_defaults(run=_build)

    run = verbs.add_parser("run", help="execute chapters with your own parameters")
    run.add_argument("chapter", nargs="+", metavar="CHAPTER", help="name or number, such as 03")
    _execution(run)
    run.set_defaults(run=_run)

    status = verbs.add_parser(
        "status", help="show which chapters are up to date, and why others are not"
    )
    status.set_defaults(run=_status)

    figures = verbs.add_parser(
        "figures", help="compare the figures of the chapters with the recorded ones"
    )
    figures.add_argument(
        "--record",
        action="store_true",
        help="record the figures, with this machine; build from scratch first, since times count",
    )
    figures.set_defaults(run=_figures)

    clean = verbs.add_parser("clean", help="delete executed chapters and built pages")
    clean.set_defaults(run=_clean)


def _execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        nargs=2,
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter, for every chapter that has it (repeatable)",
    )
    parser.add_argument("--dataset", help="short for -p dataset VALUE")
    parser.add_argument(
        "--spider-dir", metavar="DIR", help="folder of Spider (default: SPIDER_DIR)"
    )
    parser.add_argument("--bird-dir", metavar="DIR", help="folder of BIRD (default: BIRD_DIR)")
    parser.add_argument(
        "--force", action="store_true", help="execute chapters that are up to date, too"
    )


def _parameters(arguments: argparse.Namespace) -> dict[str, str]:
    for variable, folder in (
        ("SPIDER_DIR", arguments.spider_dir),
        ("BIRD_DIR", arguments.bird_dir),
    ):
        folder = folder or os.environ.get(variable)
        if not folder:
            continue
        if not Path(folder).is_dir():
            # A variable with a missing folder matters only to a chapter that uses it.
            if folder == os.environ.get(variable):
                continue
            option = f"--{variable.lower().replace('_', '-')}"
            raise DatasetError(f"{option} {folder}: no such folder; give the folder of the dataset")
        # Chapters run in the book's root and read the folder from their environment.
        os.environ[variable] = str(Path(folder).resolve())
    parameters = dict(arguments.parameters)
    if arguments.dataset is not None:
        parameters["dataset"] = arguments.dataset
    return parameters


def _build(arguments: argparse.Namespace) -> int:
    from distill_sql.book import find_book
    from distill_sql.book.build import build

    book = find_book()
    names = [book.chapter_name(name) for name in arguments.chapter or ()] or None
    index = build(book, names=names, parameters=_parameters(arguments), force=arguments.force)
    print(os.path.relpath(index))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from distill_sql.book import find_book
    from distill_sql.book.build import run
    from distill_sql.book.execute import command_line

    book = find_book()
    names = [book.chapter_name(name) for name in arguments.chapter]
    parameters = _parameters(arguments)
    run(book, names=names, parameters=parameters, force=arguments.force)
    for name in names:
        print(os.path.relpath(book.chapters / f"{name}.ipynb"))
    # The same parameters, since with others the chapters would be executed again.
    verb = ["build", *(word for name in names for word in ("--chapter", name))]
    print(f"next, to see it in the book: {command_line(verb, parameters)}", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from distill_sql.book import find_book
    from distill_sql.book.build import plan
    from distill_sql.book.cache import Record

    book = find_book()
    width = max((len(name) for name in book.chapter_names), default=0)
    for name in book.chapter_names:
        record = Record.read(book.chapters / f"{name}.ipynb")
        # Staleness is checked with the parameters of the last execution.
        step = plan(book, names=[name], parameters=record.overrides if record else None)[0]
        state = f"stale: {step.reason}" if step.reason else "up to date"
        line = f"{name:{width}}  {state}"
        if record:
            given = "".join(f" {key}={value}" for key, value in record.overrides.items())
            line += (
                f"  (executed {record.executed} in {record.seconds:.1f} s{given and ',' + given})"
            )
        print(line)
        if (book.work / f"{name}.failed.ipynb").is_file():
            print(
                f"{'':{width}}  last run failed: see book/.work/{name}.failed.txt", file=sys.stderr
            )
    return 0


def _figures(arguments: argparse.Namespace) -> int:
    from distill_sql.book import find_book
    from distill_sql.book.collect import collect, made_by
    from distill_sql.runs import measured

    found = collect(find_book())
    before = measured.read_measurements(measured.folder() / "measurements.jsonl")
    width = max(map(len, found))
    for name, (value, unit) in found.items():
        earlier = f"{before[name].value:12,.4f}" if name in before else f"{'none':>12}"
        print(f"{name:{width}} {value:12,.4f} {unit:10} recorded {earlier}")
    if arguments.record:
        measured.record(found, command=made_by(found))
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    from distill_sql.book import find_book
    from distill_sql.book.build import clean

    for path in clean(find_book()):
        print(f"deleted {os.path.relpath(path)}")
    return 0

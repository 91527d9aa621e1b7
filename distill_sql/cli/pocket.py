"""``distill-sql pocket``: shows or copies the embedded benchmark, or scores its test split."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from distill_sql.errors import DatasetError, ParameterError
from distill_sql.files import check_folder
from distill_sql.pocket.build import build, materialized


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql pocket`` to ``parser``."""
    parser.usage = "distill-sql pocket [-h] [FOLDER]\n       distill-sql pocket test FILE ..."
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="write train, validation and dev here, in Spider's layout (default: only show their "
        "folder); the word test scores the test split, and ./test is a folder",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="predictions of distill-sql generate ... --split test: scored together, once per "
        "version, and logged in book/results/pocket_test",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.folder == "test":
        return _read(arguments.files)
    if arguments.files:
        raise ParameterError(
            f"distill-sql pocket takes one FOLDER, but {1 + len(arguments.files)} were given. To "
            "score predictions on the test split: distill-sql pocket test FILE ..."
        )
    if arguments.folder is None:
        print(materialized())
        return 0
    folder = Path(arguments.folder)
    if folder.exists() or folder.is_symlink():
        raise DatasetError(
            f"{folder} already exists. Name a new folder, so that nothing of yours is overwritten."
        )
    check_folder(folder.parent)
    print(build(folder, progress=True))
    return 0


def _read(files: list[Path]) -> int:
    if not files:
        raise ParameterError(
            "Nothing to score: give the prediction FILES of all models of this release at once, "
            "since a version scores the test split once. To copy the benchmark to a folder called "
            "test: distill-sql pocket ./test"
        )
    # Imported here, since the scorer is not needed to show the folder.
    from distill_sql.pocket.reading import LOG, read_test_split, table

    reading = read_test_split(files, progress=sys.stderr.isatty())
    print(table(reading))
    print(f"logged in {LOG}: commit it with the release")
    return 0

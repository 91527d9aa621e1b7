"""``distill-sql pocket``: where the embedded benchmark is, or a copy of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from distill_sql.errors import DatasetError
from distill_sql.files import check_folder
from distill_sql.pocket.build import build, materialized


def configure(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql pocket``."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="write the benchmark here, in Spider's layout (default: only say where it is)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.folder is None:
        print(materialized())
        return 0
    if arguments.folder.exists() or arguments.folder.is_symlink():
        raise DatasetError(
            f"{arguments.folder} exists already. Name a folder that does not, so that nothing of "
            "yours is overwritten."
        )
    check_folder(arguments.folder.parent)
    print(build(arguments.folder, progress=True))
    return 0

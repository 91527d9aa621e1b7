"""``distill-sql doctor``: shows what works here, what is missing, and how to install it."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path

from distill_sql import provenance
from distill_sql.errors import DistillSqlError, TeacherError
from distill_sql.settings import DATASET_VARIABLES, VARIABLES
from distill_sql.teacher.secrets import VARIABLE, checked_key

_MARKS = {True: "ok", False: "missing", None: "-"}
# Needed to execute the book and to train a first student.
_FREE_GIB = 5


@dataclass(frozen=True)
class Check:
    """One line of the report; ``ok`` is None if something optional is absent."""

    group: str
    name: str
    ok: bool | None
    found: str
    fix: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Set up ``parser`` for ``distill-sql doctor``."""
    parser.set_defaults(run=_run)


def checks() -> Iterator[Check]:
    """Check Python, packages, accelerators, browser tools, data and keys; changes nothing."""
    yield from _machine()
    yield from _packages()
    yield from _training()
    yield from _book()
    yield from _data()


def _run(arguments: argparse.Namespace) -> int:
    found = list(checks())
    for group, members in groupby(found, key=lambda check: check.group):
        print(group)
        for check in members:
            print(f"  {_MARKS[check.ok]:7}  {check.name}: {check.found}")
            if check.fix and not check.ok:
                print(f"           {check.fix}")
        print()
    if any(check.ok is False for check in found):
        print("Something required is missing: see above.")
        return 1
    print("The book can be built here.")
    return 0


def _machine() -> Iterator[Check]:
    hardware = provenance.hardware()
    yield Check(
        "Machine",
        "Python",
        sys.version_info >= (3, 11),
        platform.python_version(),
        "use Python 3.11 or newer",
    )
    yield Check(
        "Machine",
        "processor",
        True,
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB memory",
    )
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Check(
        "Machine",
        "disk",
        free >= _FREE_GIB,
        f"{free:.0f} GiB free here",
        f"make room: at least {_FREE_GIB} GiB",
    )


def _packages() -> Iterator[Check]:
    """One line per group of packages: the core, then each extra."""
    try:
        requirements = metadata.requires("distill-sql") or []
    except metadata.PackageNotFoundError:
        yield Check(
            "Packages",
            "distill-sql",
            False,
            "not installed",
            "pip install -e '.[book]' in a checkout",
        )
        return
    from packaging.requirements import Requirement

    groups: dict[str, list[Requirement]] = {"core": []}
    for text in requirements:
        requirement = Requirement(text)
        match = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        extra = match[1] if match else "core"
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        groups.setdefault(extra, []).append(requirement)
    for name, wanted in groups.items():
        found, missing = [], []
        for requirement in wanted:
            try:
                version = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                missing.append(f"{requirement.name} is not installed")
                continue
            if requirement.specifier.contains(version, prereleases=True):
                found.append(f"{requirement.name} {version}")
            else:
                missing.append(f"{requirement.name} is {version}, wanted {requirement.specifier}")
        needed = name in {"core", "book"}
        yield Check(
            "Packages",
            name,
            True if not missing else (False if needed else None),
            ", ".join(missing or found),
            "pip install distill-sql" if name == "core" else f"pip install 'distill-sql[{name}]'",
        )


def _training() -> Iterator[Check]:
    # Importing torch or mlx can abort the process (a missing library, a wrong processor), so it is
    # done in a child process.
    torch = _ask(
        "import torch; print('cuda, ' + torch.cuda.get_device_name() if torch.cuda.is_available() "
        "else 'mps' if torch.backends.mps.is_available() else 'cpu')"
    )
    yield Check(
        "Training",
        "torch device",
        True if torch else None,
        torch or "torch is not usable",
        "only for training: pip install 'distill-sql[train]'",
    )
    mlx = _ask("import mlx.core as mx; print(mx.default_device())")
    yield Check(
        "Training",
        "mlx",
        True if mlx else None,
        mlx or "mlx is not usable",
        "only for training with MLX, meant for a Mac: pip install 'distill-sql[mlx]'",
    )


def _book() -> Iterator[Check]:
    from distill_sql.book import find_book
    from distill_sql.book.browser import npm, vendor_is_current

    try:
        book = find_book()
    except DistillSqlError:
        yield Check("Book", "checkout", None, "not inside one", "change into a checkout to build")
        return
    yield Check("Book", "checkout", True, "found")
    if vendor_is_current(book):
        yield Check("Book", "browser packages", True, "installed")
        return
    try:
        version = npm("--version").stdout.strip()
    except DistillSqlError as error:
        yield Check("Book", "npm", False, "not installed", str(error))
        return
    yield Check("Book", "npm", True, f"{version}; the first build fetches the browser packages")


def _data() -> Iterator[Check]:
    for dataset, variable in DATASET_VARIABLES.items():
        folder = os.environ.get(variable)
        fix = f"only for {dataset}: set {variable} to the {VARIABLES[variable]}"
        if not folder:
            yield Check("Data and keys", variable, None, "not set", fix)
        elif Path(folder).is_dir():
            yield Check("Data and keys", variable, True, folder)
        else:
            yield Check("Data and keys", variable, False, f"{folder} does not exist", fix)
    # Shows whether there is a key, but never the key.
    key, ok, state = os.environ.get(VARIABLE, "").strip(), None, "not set"
    fix = "only to ask OpenAI's models as teacher"
    if key:
        try:
            checked_key(key, name=VARIABLE)
            ok, state = True, "set"
        except TeacherError as error:
            ok, state, fix = False, "set, but not a valid key", str(error)
    yield Check("Data and keys", VARIABLE, ok, state, fix)


def _ask(code: str) -> str:
    """The output of ``code`` in a new interpreter; empty if it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

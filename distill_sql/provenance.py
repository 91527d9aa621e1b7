"""The provenance of a result: machine, package versions, commit, data and time.

:func:`manifest` is stored beside every recorded result, and a chapter ends with the same facts
(:mod:`~distill_sql.book.footer`). Neither contains a path of the machine.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

#: This package's version, which pyproject.toml repeats.
VERSION = "0.1.0"
# A chapter's wall time starts when its first cell imports this module.
_IMPORTED_AT = time.monotonic()

# Packages whose version can change a result; those not installed are left out of the record.
PACKAGES = (
    "distill-sql",
    "sqlglot",
    "rank-bm25",
    "tokenizers",
    "torch",
    "transformers",
    "peft",
    "trl",
    "mlx",
    "mlx-lm",
    "openai",
    "pandas",
    "altair",
)


def hardware() -> dict[str, Any]:
    """Processor, cores, memory (GiB) and accelerator of this machine.

    ``bfloat16`` is whether the processor has instructions to multiply bfloat16, None if unknown:
    results of mixed precision depend on it. A CUDA device is looked up only if torch is already
    loaded, since importing torch is slow.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "bfloat16": _multiplies_bfloat16(),
        "accelerator": _accelerator(),
    }


def machine_in_words(machine: Mapping[str, Any]) -> str:
    """The result of :func:`hardware` as text."""
    multiplies = {None: "", True: "multiplies bfloat16", False: "does not multiply bfloat16"}
    words = [
        str(machine["cpu"]),
        f"{machine['cores']} cores",
        f"{machine['memory_gib']} GiB",
        multiplies[machine.get("bfloat16")],
        machine["accelerator"] or "",
        str(machine["system"]),
    ]
    return ", ".join(filter(None, words))


def packages(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of each installed package in ``names``."""
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def git_state(folder: Path | str | None = None) -> dict[str, Any]:
    """The commit of the checkout around ``folder`` (default: this package), and if it has edits.

    ``{"commit": None, "dirty": None}`` outside a checkout, without a first commit, or without git.
    For a copy of the files without git, such as on a cluster, set ``GIT_COMMIT`` to the commit.
    """
    folder = Path(folder) if folder is not None else Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": os.environ.get("GIT_COMMIT") or None, "dirty": None}
    status = git("status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def manifest(
    *,
    dataset: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    model: str | None = None,
    revision: str | None = None,
    seed: int | None = None,
    wall_time_s: float | None = None,
    measured_by: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """The record of a result: what was run, on which machine, with which versions, when, by whom.

    ``dataset`` is a dataset's :meth:`~distill_sql.data.datasets.Dataset.description`.
    ``wall_time_s`` is in seconds; the default is the time since this module was imported. ``extra``
    keys are added as given. The record is plain JSON.
    """
    seconds = elapsed() if wall_time_s is None else wall_time_s
    record: dict[str, Any] = {
        "recipe": recipe,
        "dataset": None if dataset is None else dict(dataset),
        "model": model,
        "revision": revision,
        "seed": seed,
        "hardware": hardware(),
        "packages": packages(),
        "git": git_state(),
        "wall_time_s": round(seconds, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured_by": measured_by,
    }
    if clash := sorted(record.keys() & extra.keys()):
        raise ValueError(f"manifest() already has {', '.join(clash)}; choose other names")
    return record | extra


def elapsed() -> float:
    """Seconds since this module was imported, which a chapter's first cell does."""
    return time.monotonic() - _IMPORTED_AT


def _cpu_name() -> str:
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
            return done.stdout.strip()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model"} and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _multiplies_bfloat16() -> bool | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                return not {"avx512_bf16", "amx_bf16"}.isdisjoint(value.split())
    return None


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    return round(size / 2**30, 1)


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Metal"
    return None

"""The peak memory of a part of a process, in bytes."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass
class Peak:
    """The result of :func:`peak_memory`, set at the end of its block."""

    bytes: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak within a block: of the GPU if there is one, else of the process.

    Linux can reset the peak of a process; elsewhere it is that since the process began.
    """
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    peak = Peak()
    try:
        yield peak
    finally:
        peak.bytes = resident_peak() if cuda is None else int(cuda.max_memory_allocated())


def _cuda() -> Any:
    """``torch.cuda`` if there is a CUDA device, else None."""
    if find_spec("torch") is None:
        return None
    import torch

    return torch.cuda if torch.cuda.is_available() else None


def resident_peak() -> int:
    """The peak resident memory of this process in bytes, on Linux since the last reset."""
    with suppress(OSError):
        return resident("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident(field: str) -> int:
    """Resident bytes of this process, on Linux: now (``VmRSS``) or at the peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))

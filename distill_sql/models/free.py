"""The memory that is available to a run on this machine, in bytes."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from pathlib import Path

from distill_sql.errors import TrainingError
from distill_sql.models.protocol import Framework


def available(framework: Framework = "torch") -> int:
    """The memory available to this process: of its GPU, or its share of the machine's memory."""
    if framework == "torch" and (left := of_gpu()) is not None:
        return left
    # All processes on a machine's CPUs check at the same time, before any of them allocates.
    return of_machine() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def of_machine() -> int:
    """The memory of this machine that is available without swapping."""
    return of_mac() if sys.platform == "darwin" else of_linux()


def of_gpu() -> int | None:
    """The available memory of this process's GPU (``LOCAL_RANK``); None without a CUDA device.

    Raises :class:`TrainingError` if there are fewer devices than processes.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    device, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device >= devices:
        raise TrainingError(
            f"This process is number {device} on its machine (LOCAL_RANK, counted from 0), but "
            f"only {devices} CUDA devices are available. Start one process per device: "
            f"--processes {devices}."
        )
    gc.collect()  # an unused trainer is in a reference cycle that keeps its model alive
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch caches freed memory and reuses it.
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + cached)


def of_mac() -> int:
    """The memory that macOS can provide without swapping: free and inactive pages."""
    told = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True).stdout
    size = int(re.search(r"page size of (\d+) bytes", told)[1])  # type: ignore[index]
    kinds = "free|inactive|speculative|purgeable"
    return size * sum(int(n) for n in re.findall(rf"Pages (?:{kinds}): +(\d+)\.", told))


def of_linux(root: Path = Path("/")) -> int:
    """The memory that Linux can provide within the limits of this process's control groups."""
    meminfo = (root / "proc/meminfo").read_text()
    left = int(re.search(r"MemAvailable: +(\d+) kB", meminfo)[1]) * 1024  # type: ignore[index]
    return min([left, *_left_of_groups(root)])


def _left_of_groups(root: Path) -> list[int]:
    """The memory left under the limit of each control group, version 1 or 2."""
    found = []
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, limit, used = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, limit, used = (
                "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
            )  # fmt: skip
        else:
            continue
        inner = Path(path.lstrip("/"))
        # In a container the mount may be the process's own group, whatever its path outside.
        for group in {Path(), inner, *inner.parents}:
            folder = root / mount / group
            try:
                most, now = (folder / limit).read_text(), (folder / used).read_text()
                stat = (folder / "memory.stat").read_text()
            except OSError:
                continue
            if most.strip() != "max":
                files = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
                left = int(most) - int(now) + (int(files[1]) if files else 0)
                found.append(max(left, 0))
    return found

"""How much memory a run can have on this machine, in bytes."""

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
    """What this process can still have: of its own device, or its share of the machine's memory."""
    if framework == "torch" and (left := of_gpu()) is not None:
        return left
    left = of_mac() if sys.platform == "darwin" else of_linux()
    # Processes on one machine's CPUs check all at once, before any of them has taken its own.
    return left // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def of_gpu() -> int | None:
    """What is left on the CUDA device of this process (``LOCAL_RANK``); None without a device.

    Raises :class:`TrainingError` if this process has none of its own.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    device, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device >= devices:
        raise TrainingError(
            f"This process is number {device} of its machine (LOCAL_RANK, counted from 0), and "
            f"{devices} CUDA devices are there. Start as many processes as there are devices: "
            f"--processes {devices}."
        )
    gc.collect()  # a trainer that is done with refers to itself, and holds its model until then
    free, _ = torch.cuda.mem_get_info(device)
    # PyTorch keeps what it freed, and hands it out again.
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + cached)


def of_mac() -> int:
    """What macOS has or can take back without swapping: pages that nothing used of late."""
    told = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True).stdout
    size = int(re.search(r"page size of (\d+) bytes", told)[1])  # type: ignore[index]
    kinds = "free|inactive|speculative|purgeable"
    return size * sum(int(n) for n in re.findall(rf"Pages (?:{kinds}): +(\d+)\.", told))


def of_linux(root: Path = Path("/")) -> int:
    """What Linux has or can take back, within the limits of the groups this process is in."""
    meminfo = (root / "proc/meminfo").read_text()
    left = int(re.search(r"MemAvailable: +(\d+) kB", meminfo)[1]) * 1024  # type: ignore[index]
    return min([left, *_left_of_groups(root)])


def _left_of_groups(root: Path) -> list[int]:
    """What is left of each control group's limit, of both of the kernel's ways to set one."""
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
        # A container may see its own group as the mount itself, whatever its path is outside.
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

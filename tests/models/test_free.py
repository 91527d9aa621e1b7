"""Available memory from fake system reports: no GPU, Mac or container is needed."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from distill_sql.errors import TrainingError
from distill_sql.models import free

torch = pytest.importorskip("torch", reason="the extra train is not installed")

MIB = 2**20


class Card:
    """A CUDA device: MiB allocated by PyTorch, reserved by PyTorch, and free."""

    def __init__(self, left: int, reserved: int, allocated: int) -> None:
        self.left, self.reserved, self.allocated = left, reserved, allocated


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[Card]:
    found: list[Card] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda at=0: (found[at].left * MIB, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda at=0: found[at].reserved * MIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda at=0: found[at].allocated * MIB)
    return found


def test_what_pytorch_has_freed_is_free(cards: list[Card]) -> None:
    """After one training, the next one can use the memory of the first."""
    cards.append(Card(left=1000, reserved=7000, allocated=10))
    assert free.available() == (1000 + 7000 - 10) * MIB


def test_what_only_refers_to_itself_is_free(
    cards: list[Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference cycle, as in an unused trainer."""

    class Trainer:
        def __init__(self) -> None:
            self.itself = self

    trainer = Trainer()
    held = weakref.ref(trainer)
    cards.append(Card(left=1000, reserved=7000, allocated=0))
    taken = lambda _: 6000 * MIB if held() else 0  # noqa: E731
    monkeypatch.setattr(torch.cuda, "memory_allocated", taken)
    gc.disable()
    try:
        assert free.available() == 2000 * MIB
        del trainer
        assert free.available() == 8000 * MIB
    finally:
        gc.enable()


def test_each_process_asks_its_own_device(
    cards: list[Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards += [Card(100, 0, 0), Card(9000, 0, 0)]
    for rank, left in (("0", 100), ("1", 9000)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert free.available() == left * MIB
    monkeypatch.delenv("LOCAL_RANK")
    assert free.available() == 100 * MIB


def test_a_process_without_a_device_of_its_own_is_told(
    cards: list[Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards.append(Card(left=1000, reserved=0, allocated=0))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(TrainingError, match=r"number 1 .* 1 CUDA devices .* --processes 1\."):
        free.available()


def test_mlx_does_not_ask_cuda(cards: list[Card], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free, "of_linux", lambda: 5 * MIB)
    monkeypatch.setattr(free, "of_mac", lambda: 5 * MIB)
    assert free.available("mlx") == 5 * MIB


VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                          500.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                           1500.
"Translation faults":                 123456789.
File-backed pages:                        90000.
Pages occupied by compressor:             40000.
"""


def test_a_mac_has_what_it_can_take_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free, inactive, speculative and purgeable pages count as available."""

    def told(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command == ["vm_stat"]
        return subprocess.CompletedProcess(command, 0, VM_STAT)

    monkeypatch.setattr(subprocess, "run", told)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert free.available("mlx") == 16384 * (10_000 + 20_000 + 500 + 1_500)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
    )
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_linux_has_what_is_available(root: Path) -> None:
    assert free.of_linux(root) == 8_000_000 * 1024


def test_the_limit_of_a_group_holds(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/jobs/one\n")
    mount = root / "sys/fs/cgroup"
    group(mount / "jobs/one", memory__max="max\n", memory__current="9\n", memory__stat="")
    assert free.of_linux(root) == 8_000_000 * 1024
    # The limit may be set on the parent group, and file caches can be reclaimed.
    stat = "anon 1\ninactive_file 300\nslab 7\n"
    group(mount / "jobs", memory__max="5000\n", memory__current="1000\n", memory__stat=stat)
    assert free.of_linux(root) == 5000 - 1000 + 300


def test_the_limit_of_a_group_of_the_first_kind_holds(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    mount = root / "sys/fs/cgroup/memory"
    # In a container the mount is the process's own group.
    group(mount, memory__limit_in_bytes="6000", memory__usage_in_bytes="2000",
          memory__stat="inactive_file 1\ntotal_inactive_file 500\n")  # fmt: skip
    assert free.of_linux(root) in (6000 - 2000 + 1, 6000 - 2000 + 500)


def test_this_machine_has_some() -> None:
    if sys.platform == "linux" and not torch.cuda.is_available():
        meminfo = Path("/proc/meminfo").read_text().split()
        assert 0 < free.available() <= int(meminfo[1]) * 1024


def test_processes_on_one_machine_share_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(free, "of_linux", lambda: 100)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free.available() == 25

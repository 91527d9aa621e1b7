"""The peak memory of training runs, measured and compared with the estimate.

Each run has a process of its own. It trains a tiny model first, so that the memory of the libraries
is not counted. PyTorch reports the peak on a CUDA device, and MLX reports its own.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.errors import TrainingError
from distill_sql.files import read_json
from distill_sql.models.folders import random_model
from distill_sql.models.protocol import Framework
from distill_sql.models.recipes import Precision, Recipe, recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.memory import resident
from distill_sql.training.memory import Memory, estimate_memory, heaviest, way_of
from distill_sql.training.rows import Rows, TokenRow
from distill_sql.training.student import trainer


@dataclass(frozen=True)
class Case:
    """A run with random weights: the shape of its model, the values of its recipe, its rows.

    ``learned`` is the number of learned tokens per row. If ``padded``, one row of each batch is
    shorter than the others.
    """

    width: int = 256
    layers: int = 4
    inner: int = 1024
    heads: int = 8
    kv_heads: int = 2
    vocabulary: int = 8192
    framework: Framework = "torch"
    precision: Precision = "float32"
    dropout: float = 0.0
    checkpointing: bool = False
    rank: int = 16
    batch: int = 8
    length: int = 512
    learned: int = 64
    padded: bool = True

    def recipe(self, base: str) -> Recipe:
        """The recipe of the run."""
        return replace(
            recipe_for("0.5b"), base=base, precision=self.precision, dropout=self.dropout,
            checkpointing=self.checkpointing, rank=self.rank, alpha=2 * self.rank,
            batch=self.batch, length=self.length, warm_up=0,
        )  # fmt: skip

    def rows(self, updates: int) -> Rows:
        """Rows of random tokens of the full length; if ``padded``, a batch's first is shorter."""
        draw = random.Random(42)
        found = []
        for number in range(updates * self.batch):
            length = self.length - (self.padded and number % self.batch == 0)
            ids = tuple(draw.randrange(1000) for _ in range(length))
            found.append(TokenRow(ids, length - self.learned))
        return Rows(tuple(found), 0)


#: Blocks of this many bytes or more are returned to the system as soon as they are freed.
KEPT = 2**16
#: The run that is trained before the measurement.
WARM_UP = Case(32, 2, 64, 2, 1, 2048, batch=2, length=32, learned=8, rank=4)


def make_model(case: Case, folder: Path) -> Path:
    """Write a model of the case's shape, with the tokenizer of the package's models."""
    return random_model(
        folder, load_tokenizer(CHECKPOINTS / "pocket-s"), width=case.width, layers=case.layers,
        inner=case.inner, heads=case.heads, kv_heads=case.kv_heads, vocabulary=case.vocabulary,
    )  # fmt: skip


def measure(case: Case) -> tuple[Memory, int]:
    """The estimate for a case, and its peak in bytes, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_model(case, Path(scratch) / "model")
        warm_up = replace(WARM_UP, framework=case.framework, precision=case.precision,
                          dropout=case.dropout, checkpointing=case.checkpointing)  # fmt: skip
        make_model(warm_up, Path(scratch) / "warm up")
        told = [asdict(warm_up), asdict(case)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", __name__, scratch, json.dumps(told)],
            # Freed memory that glibc keeps must not count for the run.
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(KEPT)},
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise TrainingError(
                f"The process that measures {case} failed: {done.stderr[-2000:]}. Fix the cause "
                "and measure again."
            )
        recipe = case.recipe(str(folder))
        expected = estimate_memory(
            read_json(folder / "config.json"), recipe, micro_batch=case.batch,
            way=way_of(folder, recipe, case.framework),
            load=heaviest(recipe, case.rows(1), case.batch),
        )  # fmt: skip
        return expected, int(done.stdout.split()[-1])


def _train(case: Case, folder: Path, out: Path, updates: int) -> int:
    trained = trainer(case.framework).train(
        folder, case.recipe(str(folder)), case.rows(updates), out, progress=False
    )
    return int(trained.peak_memory)


def main(scratch: Path, warm_up: Case, case: Case) -> int:
    """Train both cases and return the peak of the second one in bytes."""
    on_gpu = False
    if case.framework == "torch":
        from distill_sql.models import torch_backend
        from distill_sql.training import torch_trainer

        on_gpu = torch_backend.device() == "cuda"
        torch_trainer.LARGE_BLOCK = KEPT
    _train(warm_up, scratch / "warm up", scratch / "first", 2)
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
    peak = _train(case, scratch / "model", scratch / "second", 3)
    if case.framework == "mlx" or on_gpu:
        return peak
    return resident("VmHWM") - before


_SMALL = Case(width=320, inner=1280, layers=6, batch=8, length=384, vocabulary=16384)
_LEAN = replace(_SMALL, width=256, inner=1024)
#: The benchmark's cases: every precision, with and without the options that change memory.
CASES = {
    "float32": _SMALL,
    "float32, dropout": replace(_SMALL, dropout=0.05),
    "float32, no padding": replace(_SMALL, padded=False),
    "float32, recomputed": replace(_SMALL, checkpointing=True),
    "float32, all logits": replace(_SMALL, learned=383),
    "mixed": replace(_SMALL, precision="mixed"),
    "bfloat16": replace(_SMALL, precision="bfloat16"),
    "bfloat16, dropout": replace(_SMALL, precision="bfloat16", dropout=0.05),
    "bfloat16, recomputed": replace(_SMALL, precision="bfloat16", checkpointing=True),
    "lean, float32": _LEAN,
    "lean, mixed": replace(_LEAN, precision="mixed"),
    "0.5b's width": Case(896, 2, 4864, 14, 2, batch=4),
}


def compared(framework: Framework) -> dict[str, float]:
    """For every case, the estimate and the measured peak in MiB, and their ratio."""
    found = {}
    for name, case in CASES.items():
        expected, peak = measure(replace(case, framework=framework))
        found[f"{name}: estimated MiB"] = expected.total / 2**20
        found[f"{name}: measured MiB"] = peak / 2**20
        found[f"{name}: times"] = expected.total / peak
    return found


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), *(Case(**fields) for fields in json.loads(sys.argv[2]))))

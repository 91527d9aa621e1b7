"""A training in two processes, which average gradients over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from distill_sql.models.inference import lean
from distill_sql.models.recipes import Recipe
from distill_sql.training import torch_trainer
from distill_sql.training.rows import Rows, TokenRow


@dataclass(frozen=True)
class Losses:
    """The losses of updates, and those on validation rows."""

    updates: list[float]
    validation: list[float]


def in_two_processes(
    recipe: Recipe,
    rows: Rows,
    held: Sequence[TokenRow],
    scratch: Path,
    *,
    widest: int = lean.WIDEST,
) -> Losses:
    """The losses of a run; ``widest`` is the width up to which the lean decoder is used."""
    told = {"recipe": asdict(recipe), "rows": [[r.ids, r.prompt] for r in rows.rows],
            "held": [[r.ids, r.prompt] for r in held], "widest": widest}  # fmt: skip
    (scratch / "told.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
         "--nproc_per_node=2", "-m", __name__, str(scratch)],
        capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return Losses(**json.loads((scratch / "found.json").read_text()))


def main(scratch: Path) -> None:
    """Train as one of the processes; the first one writes the losses."""
    told = json.loads((scratch / "told.json").read_text())
    rows, held = ([TokenRow(tuple(ids), n) for ids, n in told[name]] for name in ("rows", "held"))
    recipe = Recipe(**told["recipe"])
    lean.WIDEST = told["widest"]
    trained = torch_trainer.train(
        Path(recipe.base), recipe, Rows(tuple(rows), 0), scratch / "two", validation=held,
        progress=False,
    )  # fmt: skip
    if os.environ["RANK"] == "0":
        found = Losses([u.loss for u in trained.updates], [v.loss for v in trained.validation])
        (scratch / "found.json").write_text(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Training on trees against training on rows: examples a second, memory, gradients.

``python -m distill_sql.runs.tree_benchmark --config FILE --tokenizer DIR --path SPIDER`` trains one
update of random weights in a real model's shape on gold queries of Spider, grouped by database, in
float32 without dropout. Each way runs in a process of its own; both end with the same gradients.
The estimate that training would make stands beside the measured memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import DistillSqlError
from distill_sql.files import read_json
from distill_sql.models.recipes import Recipe, recipe_for
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.controls.sets import gold_traces
from distill_sql.runs.memory import resident
from distill_sql.runs.students_benchmark import random_weights
from distill_sql.training import kept
from distill_sql.training.memory import estimate_memory, heaviest, of_trees
from distill_sql.training.rows import Rows, TokenRow, make_row
from distill_sql.training.tree import loss_sum, trees, use

if TYPE_CHECKING:
    import torch

Way = Literal["rows", "trees"]


@dataclass(frozen=True)
class Measured:
    """One way's figures: seconds of an update's passes, resident bytes, tokens computed.

    ``before`` is what the process has before the model is loaded, its libraries; ``peak`` includes
    it, ``estimated`` does not. Weights in float32 may be mapped from their file: then those that
    are not used, such as the embeddings of other tokens, are not in ``peak``.
    """

    way: Way
    seconds: float
    before: int
    peak: int
    estimated: int
    tokens: int
    examples: int


def database_rows(path: Path, tokenizer: Path, *, examples: int, length: int) -> list[TokenRow]:
    """Rows of gold queries, all on the first databases of Spider's train split, in one order."""
    recipe = recipe_for("0.5b")
    train = load_dataset("spider", split="train", path=path)
    reader, rows = load_tokenizer(tokenizer), []
    for trace in gold_traces(train.limit(4 * examples), train, style=recipe.style):
        row = make_row(trace, reader)
        if len(row.ids) <= length:
            rows.append(row)
        if len(rows) == examples:
            break
    return rows


def loss_of_rows(model: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    """The sum of the losses of padded rows, with logits of learned tokens alone."""
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    targets = torch.full((len(rows), width), -100)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = torch.tensor(row.ids)
        mask[place, : len(row.ids)] = 1
        targets[place, row.prompt - 1 : len(row.ids) - 1] = torch.tensor(row.ids[row.prompt :])
    learned = targets != -100
    outputs = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=learned)
    return torch.nn.functional.cross_entropy(
        outputs.logits.float(), targets[learned], reduction="sum"
    )


def measure(
    way: Way, folder: Path, rows: Sequence[TokenRow], micro_batch: int, out: Path
) -> Measured:
    """Forward and backward passes of one update; the gradients are left in ``out``."""
    import torch
    from peft import get_peft_model
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    from distill_sql.training.torch_trainer import lora, return_large_blocks

    recipe = recipe_for(
        "0.5b", dropout=0.0, precision="float32", batch=len(rows),
        grouping="database" if way == "trees" else "mixed",
    )  # fmt: skip
    before = resident("VmRSS")
    return_large_blocks()
    torch.manual_seed(recipe.seed)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(base, lora(recipe)).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    if way == "trees":
        use(base)
    made = trees(rows)
    began = time.monotonic()
    if way == "trees":
        for tree in made:
            loss_sum(model, tree).backward()
    else:
        for first in range(0, len(rows), micro_batch):
            loss_of_rows(model, rows[first : first + micro_batch]).backward()
    seconds = time.monotonic() - began
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    save_file(found, str(out))
    tokens = (
        sum(tree.tokens for tree in made) if way == "trees" else sum(len(row.ids) for row in rows)
    )
    peak = resident("VmHWM")
    return Measured(
        way, seconds, before, peak, _estimated(folder, recipe, rows, micro_batch), tokens, len(rows)
    )


def _estimated(folder: Path, recipe: Recipe, rows: Sequence[TokenRow], micro_batch: int) -> int:
    """The estimated bytes of the update with transformers' decoder."""
    in_trees = recipe.grouping == "database"
    all_rows = Rows(tuple(rows), 0)
    loads = (
        of_trees(recipe, all_rows, len(rows))
        if in_trees
        else [heaviest(recipe, all_rows, micro_batch)]
    )
    config, way = read_json(folder / "config.json"), kept.Way(trees=in_trees)
    return max(
        estimate_memory(config, recipe, micro_batch=micro_batch, way=way, load=one).total
        for one in loads
    )


def gradient_difference(one: Path, other: Path) -> float:
    """The largest norm of a difference by the norm, over all matrices of the adapter."""
    from safetensors.torch import load_file

    a, b = load_file(one), load_file(other)
    return max(float((a[name] - b[name]).norm() / a[name].norm()) for name in a)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both ways and print a line each; 2 if the user's input is to blame."""
    made = argparse.ArgumentParser(description=__doc__)
    model = made.add_mutually_exclusive_group(required=True)
    model.add_argument("--config", type=Path, help="a model's config.json: random weights")
    model.add_argument("--model", type=Path, help="a model folder instead")
    made.add_argument("--tokenizer", type=Path, required=True)
    made.add_argument("--path", type=Path, required=True, help="Spider's folder")
    made.add_argument("--examples", type=int, default=16)
    made.add_argument("--micro-batch", type=int, default=4)
    options = made.parse_args(argv)
    try:
        run(options)
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Measure, compare, print."""
    rows = database_rows(options.path, options.tokenizer, examples=options.examples, length=2048)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or random_weights(
            options.config, options.tokenizer, Path(scratch) / "model"
        )
        outs = {way: Path(scratch) / f"{way}.safetensors" for way in ("rows", "trees")}
        found = {}
        for way, out in outs.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                work = (way, folder, rows, options.micro_batch, out)
                found[way] = pool.apply(measure, work)
        difference = gradient_difference(outs["rows"], outs["trees"])
    for one in found.values():
        print(
            f"{one.way}: {one.examples / one.seconds:.3f} examples/s, {one.tokens:,} tokens, "
            f"{one.tokens / one.seconds:.0f} tokens/s, peak {one.peak / 2**30:.2f} GiB, of which "
            f"{(one.peak - one.before) / 2**30:.2f} for training, estimated as "
            f"{one.estimated / 2**30:.2f}"
        )
    print(f"trees are {found['rows'].seconds / found['trees'].seconds:.2f} times as fast")
    print(f"gradients differ by {difference:.1e} of their norm at most")


if __name__ == "__main__":
    sys.exit(main())

"""``distill-sql train``: train a student on traces."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distill_sql.cli.recipe import add_recipe, chosen_recipe
from distill_sql.errors import ParameterError, TrainingError
from distill_sql.files import check_folder
from distill_sql.settings import check_numbers
from distill_sql.training.splits import VALIDATION_SHARE, TrainingSet, training_set

if TYPE_CHECKING:
    from distill_sql.training.outcome import Trained


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql train`` to ``parser``."""
    add_recipe(parser)
    parser.add_argument(
        "--traces", type=Path, required=True, help="a file of distill-sql teacher traces"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the adapter and the record"
    )
    parser.add_argument(
        "--micro-batch", type=int, metavar="N", help="examples that a device processes at once"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="number of devices (default: every GPU, else one process)",
    )
    parser.add_argument(
        "--schema-tokens",
        type=int,
        metavar="N",
        help="maximum tokens of a prompt's schema, 0 for the whole schema, as in the traces "
        "(default: the recipe's)",
    )
    parser.add_argument(
        "--validation-share",
        type=float,
        default=VALIDATION_SHARE,
        metavar="SHARE",
        help="share of the traces that is held out for the validation loss, by whole databases "
        "(default: %(default)s; 0: none)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from distill_sql.models.folders import base_folder
    from distill_sql.models.students import default_framework
    from distill_sql.prompting.tokenizer import load_tokenizer
    from distill_sql.teacher.traces import read_traces
    from distill_sql.training.student import train_student

    check_numbers(arguments, micro_batch=1, processes=1, schema_tokens=0)
    if not 0 <= arguments.validation_share <= 0.5:
        raise ParameterError(f"--validation-share {arguments.validation_share}: expected 0 to 0.5.")
    recipe = chosen_recipe(arguments)
    traces = read_traces(arguments.traces)
    check_folder(arguments.out)
    framework = arguments.framework or default_framework()
    if framework == "torch" and "WORLD_SIZE" not in os.environ:
        processes = _processes(arguments.processes)
        if processes > 1:
            return _launch(processes)
    elif framework == "mlx" and (arguments.processes or 1) > 1:
        raise TrainingError("The mlx back end trains on one device: leave out --processes.")
    prepared = training_set(
        traces, load_tokenizer(base_folder(recipe)), max_tokens=recipe.length,
        validation_share=arguments.validation_share,
    )  # fmt: skip
    trained = train_student(
        recipe, prepared.train, arguments.out, validation=prepared.validation,
        left_out=prepared.left_out, framework=framework, micro_batch=arguments.micro_batch,
    )  # fmt: skip
    if int(os.environ.get("RANK", "0")) == 0:
        print(_summary(arguments.out, prepared, trained))
    return 0


def _summary(out: Path, prepared: TrainingSet, trained: Trained) -> str:
    """The last line of ``distill-sql train``: losses, speed, and how the traces were used."""
    held = (
        f"validation loss {trained.validation[-1].loss:.3f} on {len(prepared.validation)} traces "
        f"of {len({trace.db_id for trace in prepared.validation})} databases of their own"
        if trained.validation
        else "no validation: too few databases to spare one, or --validation-share 0"
    )
    return (
        f"{out}: {len(trained.updates)} updates, last loss {trained.updates[-1].loss:.3f}, {held}; "
        f"{trained.tokens_per_second:,.0f} tokens/s, {trained.seconds:.0f} s, peak memory "
        f"{trained.peak_memory / 2**30:.1f} GiB; {len(prepared.train)} traces to learn from, "
        f"{prepared.near_duplicates} near duplicates and {trained.too_long} too long left out"
    )


def _processes(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    import torch

    return max(int(torch.cuda.device_count()), 1)


def _launch(processes: int) -> int:
    """Run this command again with one process per device."""
    import torch

    if torch.cuda.device_count() >= processes:
        launcher = ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={processes}",
                    "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]  # fmt: skip
    else:
        # accelerate can start several CPU processes only with MPI; torchrun needs no MPI.
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, "-m", *launcher, "-m", "distill_sql.cli", *sys.argv[1:]]
    return subprocess.run(command).returncode

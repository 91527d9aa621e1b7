"""``python -m distill_sql.runs.controls``: train the controls on pocket, and record their scores.

It needs the teacher chapter's traces and answers. Students are kept in a folder of their own, so an
interrupted run resumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import DistillSqlError, TeacherError
from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import recipe_for
from distill_sql.prompting.prompts import style_of
from distill_sql.prompting.tokenizer import load_tokenizer
from distill_sql.runs.controls.records import write_record
from distill_sql.runs.controls.sets import (
    CONTROLS,
    Draw,
    Sets,
    equal_sets,
    gold_traces,
    resampled,
    unfiltered_traces,
)
from distill_sql.settings import check_numbers, work_folder
from distill_sql.teacher import Settings, Store, embedded, price_of, requests_for
from distill_sql.teacher.client import Teacher
from distill_sql.teacher.settings import settings_for
from distill_sql.teacher.traces import Sieve, Trace, chapter_file, read_traces
from distill_sql.training.experiments import Experiment, run_experiments

#: Variants of each database on which a trace must be right, as in the teacher chapter.
NEIGHBOURS = 8


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(prog="python -m distill_sql.runs.controls", description=__doc__)
    made.add_argument("--out", type=Path, required=True, help="such as book/results/controls")
    made.add_argument("--recipes", nargs="+", default=["pocket-l"], metavar="RECIPE")
    made.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="N")
    made.add_argument(
        "--only", nargs="+", choices=tuple(CONTROLS), default=list(CONTROLS), metavar="CONTROL",
        help=f"some of {', '.join(CONTROLS)}; the smallest one sets the size of all",
    )  # fmt: skip
    made.add_argument("--traces", type=Path, help="default: the teacher chapter's")
    made.add_argument(
        "--answers", type=Path, help="SQLite file; default: the teacher chapter's answers"
    )
    made.add_argument(
        "--draw", type=int, default=1, metavar="N",
        help="which later draw the control `resampled` uses",
    )  # fmt: skip
    made.add_argument("--students", type=Path, help="folder of the trained students")
    made.add_argument("--questions", type=int, metavar="N", help="only the first N dev questions")
    made.add_argument("--processes", type=int, metavar="N", help="students trained in parallel")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 2 for an error in the user's input."""
    arguments = parser().parse_args(argv)
    try:
        run(arguments)
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Train every control with every recipe and seed, and record the results."""
    check_numbers(arguments, draw=1, questions=1, processes=1)
    train = load_dataset("pocket", split="train")
    dev = load_dataset("pocket", split="dev").limit(arguments.questions)
    traces = read_traces(arguments.traces or chapter_file("pocket"))
    others = {
        name: made
        for name, made in control_traces(arguments, train, traces).items()
        if name in arguments.only
    }
    for name in arguments.recipes:
        recipe = recipe_for(
            name, style=style_of(traces[0].messages), schema_tokens=traces[0].schema_tokens
        )
        tokenizer = load_tokenizer(base_folder(recipe))
        sets: Sets = equal_sets(traces, others, tokenizer, max_tokens=recipe.length)
        plan = [
            (control, Experiment(replace(recipe, seed=seed), learned, sets.validation))
            for control, learned in sets.learned.items()
            if control in arguments.only
            for seed in arguments.seeds
        ]
        outcomes = run_experiments(
            [one for _, one in plan], dev, arguments.students or work_folder() / "controls",
            processes=arguments.processes,
        )  # fmt: skip
        for (control, _), outcome in zip(plan, outcomes, strict=True):
            folder = write_record(outcome, control, arguments.out)
            print(f"{folder}: {outcome.report.accuracy().share:.1%}")


def control_traces(
    arguments: argparse.Namespace, train: Dataset, traces: Sequence[Trace]
) -> dict[str, list[Trace]]:
    """The traces of the selected controls, by name, before they are cut to the same size."""
    style, budget = style_of(traces[0].messages), traces[0].schema_tokens
    examples = {example.question_id: example for example in train}
    settings = settings_for("pocket", schema_tokens=budget, style=style)
    made: dict[str, list[Trace]] = {}
    if "gold" in arguments.only:  # in the traces' order, so that a sample has the same questions
        asked = [examples[trace.question_id] for trace in traces]
        made["gold"] = gold_traces(asked, train, style=style, schema_tokens=budget)
    if "gold-any" in arguments.only:
        made["gold-any"] = gold_traces(train, train, style=style, schema_tokens=budget)
    if "unfiltered" in arguments.only:
        path = arguments.answers or work_folder() / "teacher.sqlite"
        if not path.exists():
            raise TeacherError(
                f"No answers of the teacher at {path}. Run `distill-sql book run teacher`, pass "
                "their file with --answers, or leave this control out with --only."
            )
        with Store(path, read_only=True) as store:
            made["unfiltered"] = unfiltered_traces(train, settings, store)
    if "resampled" in arguments.only:
        made["resampled"] = another_draw(train, settings, arguments.draw)
    return made


def another_draw(train: Dataset, settings: Settings, number: int) -> list[Trace]:
    """The kept traces of another draw; the embedded teacher generates the missing samples."""
    path = work_folder() / f"teacher.draw-{number}.sqlite"
    longer = replace(settings, samples=settings.samples * (number + 1))
    with Store(path) as store:
        if any(store.missing(one.key, longer.samples) for one in requests_for(train, longer)):
            price = price_of(longer.model, longer.base_url)
            with embedded.serving(embedded.FOLDER) as url:
                teacher = Teacher(
                    longer, store, api_key="none", price=price, url=url,
                    concurrency=embedded.AT_ONCE, timeout=embedded.ANSWER,
                )  # fmt: skip
                teacher.run(requests_for(train, longer))
    made = build_neighbours(train, count=NEIGHBOURS)
    with Sieve(train, settings, neighbours=made) as sieve, Draw(path, number) as draw:
        return resampled(sieve, draw)


if __name__ == "__main__":
    sys.exit(main())

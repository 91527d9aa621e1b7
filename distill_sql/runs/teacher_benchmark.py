"""The two servers of an open teacher, on the same questions: speed, and answers that pass.

``python -m distill_sql.runs.teacher_benchmark --recipe coder-1.5b --path SPIDER`` asks some
training questions of Spider as ``distill-sql teacher sample`` does: three samples each at the
temperature of the settings, two questions in five with the reasoning prompt, several questions on
each database in one go. Each server runs alone. The seconds are those of asking, without the start
of the server; tokens are those of the completions. A sample passes if its rows are those of the
gold query on the database and its variants.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import DistillSqlError, TeacherError
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.runs import measured
from distill_sql.runs.students_benchmark import some_questions
from distill_sql.teacher.open_model import Server
from distill_sql.teacher.prices import Price
from distill_sql.teacher.sampling import ask_started, in_order
from distill_sql.teacher.settings import settings_for
from distill_sql.teacher.store import Store
from distill_sql.teacher.traces import Sieve
from distill_sql.teacher.work import requests_for

#: Databases of the questions.
DATABASES = 2
#: Variants of each database on which an answer must be correct, too.
NEIGHBOURS = 8


@dataclass(frozen=True)
class Measured:
    """A server's figures: seconds of asking, completion tokens, samples, and those that pass."""

    server: str
    questions: int
    seconds: float
    tokens: int
    samples: int
    passed: int

    def __str__(self) -> str:
        return (
            f"{self.server}: {self.tokens / self.seconds:.1f} tokens/s, "
            f"{self.seconds / self.questions:.1f} s a question, {self.tokens:,} tokens in "
            f"{self.seconds:.0f} s; {self.passed} of {self.samples} samples pass "
            f"({self.passed / self.samples:.1%})"
        )


def measure(recipe: str, server: Server, questions: Dataset) -> Measured:
    """Ask all questions of one server, and judge the answers."""
    settings = settings_for(questions.name, model=f"{recipe}@{server}")
    questions = in_order(questions, settings)
    requests = list(requests_for(questions, settings))
    counter = tokenizer_for(questions)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "answers") as store:
        outcome = ask_started(settings, store, requests, price=Price(0, 0), progress=True)
        if outcome.stopped or outcome.failed:
            raise TeacherError(f"Not all answers came: {outcome.stopped or outcome.failed}")
        neighbours = build_neighbours(questions, count=NEIGHBOURS)
        with Sieve(questions, settings, neighbours=neighbours) as sieve:
            judged = [one for _, one in sieve.judge_all(store)]
    texts = [text for one in judged for text in one.texts]
    return Measured(
        server,
        len(judged),
        outcome.seconds,
        sum(map(counter.count, texts)),
        len(texts),
        sum(one.n_passed for one in judged),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each server and print a line each; 2 if the user's input is to blame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="coder-1.5b")
    parser.add_argument("--path", type=Path, help="Spider's folder (default: SPIDER_DIR)")
    parser.add_argument("--questions", type=int, default=24, help="on all databases together")
    parser.add_argument("--server", choices=get_args(Server), help="only one of them")
    parser.add_argument("--record", action="store_true", help="record the results")
    options = parser.parse_args(argv)
    try:
        found = run(options)
    except DistillSqlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.record:
        command = measured.spelled(
            "python -m distill_sql.runs.teacher_benchmark", argv or sys.argv[1:]
        )
        measured.record(
            {
                f"teacher.{options.recipe}.{one.server}.{name}": value
                for one in found
                for name, value in {
                    "speed": (one.tokens / one.seconds, "tokens/s"),
                    "question": (one.seconds / one.questions, "s"),
                    "passing": (one.passed / one.samples, ""),
                }.items()
            },
            command=command,
        )
    return 0


def run(options: argparse.Namespace) -> list[Measured]:
    """Measure, and print each server's line as soon as it is done."""
    train = load_dataset("spider", split="train", path=options.path)
    questions = some_questions(train, DATABASES, -(-options.questions // DATABASES))
    servers: Sequence[Server] = [options.server] if options.server else get_args(Server)
    found = []
    for server in servers:
        found.append(measure(options.recipe, server, questions))
        print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())

"""An endpoint answers a split's questions: ``distill-sql generate --model``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import ParameterError
from distill_sql.teacher import paying, predictions
from distill_sql.teacher.client import Teacher, check_concurrency
from distill_sql.teacher.settings import default_url
from distill_sql.teacher.store import Store, default_path
from distill_sql.teacher.work import Settings, requests_for

#: What only an endpoint is told, as names of parsed arguments.
OPTIONS = (
    "model", "base_url", "temperature", "concurrency", "cache", "budget", "price", "yes",
)  # fmt: skip
#: Requests at a time, unless told otherwise.
CONCURRENCY = 32


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options in :data:`OPTIONS`; none of them has another default than None or False."""
    parser.add_argument("--model", help="the model's name there")
    parser.add_argument("--base-url", help="its address (else OPENAI_BASE_URL, else OpenAI)")
    parser.add_argument("--temperature", type=float, help="of sampling (default 0)")
    parser.add_argument("--concurrency", type=int, metavar="N", help="most requests at a time")
    parser.add_argument("--cache", type=Path, help=f"the answers' file (default {default_path()})")
    paying.add_options(parser)


def is_named(arguments: argparse.Namespace) -> bool:
    """Whether an endpoint is to answer."""
    return arguments.model is not None or arguments.base_url is not None


def answer(arguments: argparse.Namespace) -> int:
    """Ask, and write predictions if every question has its answer; how many were written."""
    if arguments.model is None:
        raise ParameterError("--base-url says where a model is: name it with --model.")
    url = arguments.base_url or default_url()
    settings = predictions.asking_once(
        model=arguments.model,
        base_url=url,
        mode=arguments.mode,
        style=arguments.style or Settings.style,
        schema_tokens=arguments.schema_tokens or 0,
        temperature=arguments.temperature or 0.0,
        max_tokens=arguments.max_tokens or Settings.max_tokens,
    )
    price = paying.checked_price(arguments, settings)
    concurrency = CONCURRENCY if arguments.concurrency is None else arguments.concurrency
    check_concurrency(concurrency)
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    dataset = dataset.limit(arguments.limit)
    predictions.check_databases(dataset)
    out = paying.output(arguments.out, arguments.cache or default_path(), beside=True)
    with Store(arguments.cache) as store:
        cap, key = paying.agreed(arguments, settings, dataset, store, price)
        teacher = Teacher(
            settings, store, api_key=key, price=price, cap=cap, concurrency=concurrency, url=url
        )
        total = len(dataset) if sys.stderr.isatty() else None
        outcome = teacher.run(requests_for(dataset, settings), total=total)
        paying.tell(outcome, store)
        missing = predictions.unanswered(dataset, settings, store)
        if missing:
            why = f" (stopped: {outcome.stopped})" if outcome.stopped else ""
            print(
                f"{missing:,} of {len(dataset):,} questions have no answer yet{why}, so {out} is "
                f"not written. What was answered is kept in {store.path}; the same command goes "
                "on.",
                file=sys.stderr,
            )
            return 0
        predictions.write_predictions(dataset, settings, store, out, seconds=outcome.seconds)
    return len(dataset)

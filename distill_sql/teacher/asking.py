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

#: The options that only an endpoint has, as names of parsed arguments.
OPTIONS = (
    "model", "base_url", "temperature", "concurrency", "cache", "budget", "price", "yes",
)  # fmt: skip
#: Default number of concurrent requests.
CONCURRENCY = 32


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options in :data:`OPTIONS`; all defaults are None or False."""
    parser.add_argument("--model", help="the model's name at the endpoint")
    parser.add_argument("--base-url", help="its address (default: OPENAI_BASE_URL, or OpenAI)")
    parser.add_argument("--temperature", type=float, help="sampling temperature (default 0)")
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="maximum number of concurrent requests"
    )
    parser.add_argument(
        "--cache", type=Path, help=f"file of stored answers (default {default_path()})"
    )
    paying.add_options(parser)


def is_named(arguments: argparse.Namespace) -> bool:
    """Whether the command names an endpoint."""
    return arguments.model is not None or arguments.base_url is not None


def answer(arguments: argparse.Namespace) -> int:
    """Ask, and write predictions if every question has an answer; returns how many were written."""
    if arguments.model is None:
        raise ParameterError("--base-url gives the address of a model; give its name with --model.")
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
    dataset = load_dataset(
        arguments.dataset,
        split=arguments.split,
        path=arguments.path,
        questions=arguments.questions,
    ).limit(arguments.limit)
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
                f"not written. The answers are kept in {store.path}; run the same command again to "
                "continue.",
                file=sys.stderr,
            )
            return 0
        predictions.write_predictions(dataset, settings, store, out, seconds=outcome.seconds)
    return len(dataset)

"""Spending: its options, the confirmation before a run, and the report after it."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from distill_sql.data.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.files import check_output
from distill_sql.teacher.addresses import STARTED
from distill_sql.teacher.attempts import Outcome
from distill_sql.teacher.prices import AS_OF, Price, budget_of, dollars, price_of
from distill_sql.teacher.secrets import api_key
from distill_sql.teacher.store import Store
from distill_sql.teacher.work import Settings, estimate_cost, requests_for


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options on budget and price."""
    parser.add_argument(
        "--budget",
        type=float,
        metavar="DOLLARS",
        help="limit on all spending with this cache; required if requests cost money",
    )
    parser.add_argument(
        "--price",
        type=float,
        nargs=2,
        metavar=("PROMPT", "COMPLETION"),
        help="dollars per million tokens; required if the price is not known, unless the endpoint "
        "is on this machine or in this network (0 0: free)",
    )
    parser.add_argument("--yes", action="store_true", help="spend without asking for confirmation")


def checked_price(arguments: argparse.Namespace, settings: Settings) -> Price:
    """The price, after key and budget were checked."""
    api_key(settings.base_url)
    if arguments.budget is not None:
        budget_of(arguments.budget)
    return price_of(settings.model, settings.base_url, arguments.price)


def agreed(
    arguments: argparse.Namespace, settings: Settings, dataset: Dataset, store: Store, price: Price
) -> tuple[int | None, str]:
    """Show the estimated cost and ask for confirmation; returns the cap (nano-dollars) and the key.

    Raises :class:`TeacherError` if requests cost money and are not confirmed.
    """
    expected = estimate_cost(requests_for(dataset, settings), settings, store, price)
    free = price == Price(0, 0)
    key = api_key(settings.base_url)
    why_free = "as --price says" if arguments.price else "at an address in this network"
    where = "on this machine" if settings.base_url in STARTED else f"at {settings.base_url}"
    print(
        f"{expected.requests:,} requests for {expected.samples:,} samples will be sent to "
        f"{settings.model} {where}"
        + (f", free {why_free}." if free else f": about {dollars(expected.cost)} and at most "
           f"{dollars(expected.bound)} (prices of {AS_OF}); {dollars(store.spent())} is spent.")
    )  # fmt: skip
    if free or not expected.requests:
        return None, key
    if arguments.budget is None:
        raise TeacherError("These requests cost money: set a limit with --budget.")
    cap = budget_of(arguments.budget)
    if cap <= store.spent():
        raise TeacherError(
            f"The budget of {dollars(cap)} leaves nothing: {dollars(store.spent())} is spent or "
            "booked. Give a higher --budget."
        )
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise TeacherError(
                "There is no terminal to ask for confirmation: give --yes to spend it."
            )
        with suppress(EOFError):
            if input("Go on? [y/N] ").strip().lower() in ("y", "yes"):
                return cap, key
        raise TeacherError("Nothing was sent.")
    return cap, key


def tell(outcome: Outcome, store: Store) -> None:
    """Print what a run did and cost, and on stderr what failed."""
    print(
        f"{outcome.requests:,} requests answered with {outcome.samples:,} samples for "
        f"{dollars(outcome.cost)}; {dollars(store.spent())} spent or booked in {store.path}"
    )
    if outcome.unanswered:
        print(
            f"{dollars(outcome.unanswered)} of it stays booked for requests of this run that "
            "got no answer and may have been charged",
            file=sys.stderr,
        )
    for question_id, why in list(outcome.failed.items())[:5]:
        print(f"question {question_id} failed: {why}", file=sys.stderr)


def output(path: Path, cache: Path, *, beside: bool = False) -> Path:
    """Check an output file, which must not be the cache; ``beside`` is that of
    :func:`~distill_sql.files.check_output`."""
    with suppress(OSError):
        if path.samefile(cache):
            raise TeacherError(
                f"{path} is the cache of answers, which would be lost. Give another output file."
            )
    return check_output(path, beside=beside)

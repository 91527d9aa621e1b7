"""``distill-sql teacher``: ask, judge the answers, and manage the cache of answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import TeacherError
from distill_sql.files import write_json_lines
from distill_sql.settings import check_numbers
from distill_sql.teacher import paying
from distill_sql.teacher.addresses import LOCAL
from distill_sql.teacher.batch import ENQUEUED_TOKENS, Batches
from distill_sql.teacher.client import Teacher, check_concurrency
from distill_sql.teacher.open_model import is_recipe
from distill_sql.teacher.prices import dollars
from distill_sql.teacher.sampling import ask_started, in_order
from distill_sql.teacher.secrets import api_key
from distill_sql.teacher.settings import default_url, settings_for
from distill_sql.teacher.store import Store, default_path
from distill_sql.teacher.traces import REASONS, Judged, Sieve, write_traces
from distill_sql.teacher.work import Settings, fair_order, requests_for


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``distill-sql teacher`` to ``parser``."""
    verbs = parser.add_subparsers(metavar="WHAT", required=True)
    sample = verbs.add_parser("sample", help="ask the questions with missing answers")
    _asking(sample)
    paying.add_options(sample)
    sample.add_argument(
        "--concurrency", type=int, default=32,
        help="maximum number of concurrent requests to an endpoint that is running (default 32)",
    )  # fmt: skip
    sample.set_defaults(run=_sample)

    _configure_batch(
        verbs.add_parser("batch", help="the same through the Batch API, at half price")
    )
    _configure_traces(verbs.add_parser("traces", help="keep the answers that return the gold rows"))
    _configure_cache(verbs.add_parser("cache", help="show, export or delete stored answers"))


def _configure_batch(parser: argparse.ArgumentParser) -> None:
    _asking(parser)
    paying.add_options(parser)
    parser.add_argument("--wait", action="store_true", help="wait until all answers are fetched")
    parser.add_argument(
        "--enqueued-tokens", type=int, default=ENQUEUED_TOKENS, metavar="N",
        help="limit of prompt tokens in the endpoint's queue; further requests wait for the next "
        f"batch (default {ENQUEUED_TOKENS:,}, as for gpt-4o-mini in OpenAI's tier 1)",
    )  # fmt: skip
    parser.set_defaults(run=_batch)


def _configure_traces(parser: argparse.ArgumentParser) -> None:
    _asking(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="the file of traces, JSON Lines")
    parser.add_argument(
        "--no-gold", action="store_true", help="use no gold queries: keep what most samples give"
    )
    parser.add_argument("--all-passing", action="store_true", help="keep every right query")
    parser.add_argument(
        "--neighbours", type=int, default=8, help="check also on N variants of each database"
    )
    parser.add_argument("--jobs", type=int, help="worker processes (default: one per core)")
    parser.set_defaults(run=_traces)


def _configure_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("stats", "export", "prune"))
    parser.add_argument("--cache", type=Path, help=f"the file (default {default_path()})")
    parser.add_argument("--model", action="append", help="prune: the model whose answers to delete")
    parser.add_argument("--out", type=Path, help="export: write here instead of to the terminal")
    parser.set_defaults(run=_cache)


def _asking(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, or a folder")
    parser.add_argument("--path", type=Path, help="folder of the dataset (default: SPIDER_DIR)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, help="only N questions, balanced over databases")
    parser.add_argument(
        "--model",
        help=f"its name (default {defaults.model}); without --base-url, the name of a recipe such "
        "as coder-1.5b starts its base model on this machine",
    )
    parser.add_argument("--base-url", help="(default: OPENAI_BASE_URL, or OpenAI)")
    parser.add_argument("--samples", type=int, default=defaults.samples)
    parser.add_argument("--temperature", type=float, default=defaults.temperature)
    parser.add_argument(
        "--max-tokens",
        type=int,
        help=f"maximum tokens of an answer (default {defaults.max_tokens})",
    )
    parser.add_argument("--reasoning-share", type=float, default=defaults.reasoning_share)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument(
        "--style", choices=("full", "compact"),
        help="style of the schema in prompts (default full; the pocket models use compact)",
    )  # fmt: skip
    parser.add_argument(
        "--schema-tokens", type=int, default=defaults.schema_tokens, metavar="N",
        help="maximum tokens of a prompt's schema; a larger one is cut to the tables relevant to "
        "the question (default 0: the whole schema)",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, help=f"file of answers (default {default_path()})")


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.max_tokens == 0:
        raise TeacherError("--max-tokens is 0; expected 1 or more.")
    arguments.base_url = arguments.base_url or _usual_url(arguments.model or "")
    return settings_for(
        arguments.dataset,
        model=arguments.model or "",
        base_url=arguments.base_url,
        samples=arguments.samples,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens or 0,
        reasoning_share=arguments.reasoning_share,
        seed=arguments.seed,
        style=arguments.style,
        schema_tokens=arguments.schema_tokens,
    )


def _usual_url(model: str) -> str:
    """The address of a model if none is given; the verbs never ask the embedded teacher then."""
    return LOCAL if is_recipe(model) else default_url()


def _dataset(arguments: argparse.Namespace) -> Dataset:
    if arguments.limit is not None and arguments.limit < 1:
        raise TeacherError(
            f"--limit is {arguments.limit}; expected 1 or more. Leave it out to ask all questions."
        )
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    return fair_order(dataset, arguments.seed).limit(arguments.limit)


def _sample(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    price = paying.checked_price(arguments, settings)
    check_concurrency(arguments.concurrency)
    dataset = _dataset(arguments)
    with Store(arguments.cache) as store:
        cap, key = paying.agreed(arguments, settings, dataset, store, price)
        if settings.base_url == LOCAL:
            requests = list(requests_for(in_order(dataset, settings), settings))
            outcome = ask_started(
                settings, store, requests, price=price, progress=sys.stderr.isatty()
            )
        else:
            outcome = Teacher(
                settings, store, api_key=key, price=price, cap=cap,
                concurrency=arguments.concurrency, url=arguments.base_url,
            ).run(
                requests_for(dataset, settings),
                total=len(dataset) if sys.stderr.isatty() else None,
            )  # fmt: skip
        paying.tell(outcome, store)
    if outcome.failed:
        print(
            f"{len(outcome.failed)} questions have missing samples; the same command tries them "
            "again.",
            file=sys.stderr,
        )
    if outcome.stopped:
        print(
            f"stopped: {outcome.stopped}. The answers are kept; the same command continues.",
            file=sys.stderr,
        )
    return 1 if outcome.failed or outcome.stopped else 0


def _batch(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if settings.base_url == LOCAL:
        raise TeacherError(
            f"{settings.model} has no Batch API: it is served on this machine. Ask it with "
            "`distill-sql teacher sample`."
        )
    price = paying.checked_price(arguments, settings)
    dataset = _dataset(arguments)
    with Store(arguments.cache) as store:
        batches = partial(
            Batches, settings, store, api_key=api_key(settings.base_url), price=price,
            url=arguments.base_url, enqueued_tokens=arguments.enqueued_tokens,
        )  # fmt: skip
        still = batches().fetch()  # first, since it may release some of the budget
        requests = list(requests_for(dataset, settings))
        waiting = {request.example.question_id for request in batches().waiting(requests)}
        cap = None
        if waiting:
            left = dataset.with_examples(e for e in dataset if e.question_id in waiting)
            cap, _ = paying.agreed(arguments, settings, left, store, price.halved())
            batches(cap=cap).submit(requests)
        elif not still:
            print("Nothing is missing.")
        if waiting or arguments.wait:
            still = batches(cap=cap).fetch(requests, wait=arguments.wait)
        left_over = len(batches().waiting(requests))
    if still:
        print(f"{len(still)} batches are pending; run the same command later to fetch the answers.")
    if left_over:
        print(f"{left_over:,} requests are not submitted yet; run the same command later.")
    return 0


def _traces(arguments: argparse.Namespace) -> int:
    check_numbers(arguments, neighbours=0, jobs=1)
    settings = _settings(arguments)
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    wanted = {example.question_id for example in _dataset(arguments)}
    dataset = dataset.with_examples(e for e in dataset if e.question_id in wanted)
    judged = _judge(arguments, settings, dataset)
    kept = sum(len(one.kept) for one in judged)
    right = sum(bool(one.kept) for one in judged)
    print(
        f"{len(judged):,} of {len(dataset):,} questions have all their samples; {right:,} of them "
        f"have a right answer; {kept:,} traces are in {arguments.out}"
    )
    reasons = Counter(reason for one in judged for reason in one.reasons if reason)
    for reason, meaning in REASONS.items():
        if reasons[reason]:
            print(f"{reasons[reason]:>7,} samples dropped: {reason} ({meaning})")
    return 0


def _judge(arguments: argparse.Namespace, settings: Settings, dataset: Dataset) -> list[Judged]:
    """Judge the stored answers to a dataset's questions, and write the traces."""
    present = dataset.present()
    progress = sys.stderr.isatty()
    gold = not arguments.no_gold
    options = json.dumps([asdict(settings), arguments.neighbours, gold, arguments.all_passing])
    with Store(arguments.cache, read_only=True) as store:
        out = paying.output(arguments.out, store.path)
        if all(store.missing(r.key, settings.samples) for r in requests_for(present, settings)):
            raise TeacherError(
                f"None of {len(dataset):,} questions has its {settings.samples} samples in "
                f"{store.path}; {out} is left as it is. Answers are stored by model, address, "
                "settings and prompt, and --style and --schema-tokens change the prompt: give the "
                "values with which they were asked, or ask with `distill-sql teacher sample`."
            )
        made = None
        if gold and arguments.neighbours:
            made = build_neighbours(present, count=arguments.neighbours, progress=progress)
        with Sieve(
            present, settings, neighbours=made, gold=gold, all_passing=arguments.all_passing,
            jobs=arguments.jobs,
        ) as sieve:  # fmt: skip
            return write_traces(sieve, store, out, options=options, progress=progress)


def _cache(arguments: argparse.Namespace) -> int:
    path = arguments.cache or default_path()
    if arguments.what == "prune" and not arguments.model:
        raise TeacherError("prune deletes answers that were paid for: name the model with --model.")
    with Store(path, read_only=True) as store:
        if arguments.what == "stats":
            for row in store.stats():
                print(
                    f"{row['model']}: {row['samples']:,} samples of {row['requests']:,} requests, "
                    f"{row['prompt_tokens']:,} + {row['completion_tokens']:,} tokens, "
                    f"{dollars(row['cost'])}"
                )
            print(f"{dollars(store.spent())} spent or booked in {path}")
        elif arguments.what == "export" and arguments.out:
            write_json_lines(paying.output(arguments.out, path), store.export())
        elif arguments.what == "export":
            for record in store.export():
                print(json.dumps(record, ensure_ascii=False))
    if arguments.what == "prune":
        with Store(path) as store:
            print(f"{store.prune(arguments.model):,} samples deleted")
    return 0

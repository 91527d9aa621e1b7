"""Speed and robustness of the teacher on all Spider training questions, at a faulty endpoint.

    python -m tests.teacher.soak SPIDER_DIR          speed, latency, memory, a full cache
    python -m tests.teacher.soak SPIDER_DIR --faults four faults, three kill -9
    python -m tests.teacher.soak SPIDER_DIR --filter judging the samples on the real databases

Prints the measurements; ``--record`` records them (:mod:`distill_sql.runs.measured`). The endpoint
runs in a separate process on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.runs import measured
from distill_sql.scoring.mutants import mutants
from distill_sql.teacher import Price, Sample, Settings, Store, requests_for
from distill_sql.teacher.client import Outcome, Teacher
from distill_sql.teacher.prices import dollars
from distill_sql.teacher.traces import Sieve, write_traces
from distill_sql.teacher.work import fair_order
from tests.teacher.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, books, serving

PRICE = Price(150, 600)
#: Measurements by name, each with its unit.
Figures = dict[str, tuple[float, str]]
FAULTS = {"too_many": 0.05, "broken": 0.02, "dropped": 0.01, "malformed": 0.01}


def train(spider: Path, limit: int | None = None) -> Dataset:
    return fair_order(load_dataset("spider", split="train", path=spider), 42).limit(limit)


def ask(
    spider: Path, url: str, cache: Path, *, limit: int | None = None, concurrency: int = 64,
    cap: int | None = None,
) -> Outcome:  # fmt: skip
    settings = Settings(base_url="http://soak/v1")
    with Store(cache) as store:
        teacher = Teacher(
            settings, store, api_key="sk-test", price=PRICE, cap=cap, concurrency=concurrency,
            url=url,
        )  # fmt: skip
        return teacher.run(requests_for(train(spider, limit), settings))


def missing(spider: Path, cache: Path, limit: int | None = None) -> int:
    settings = Settings(base_url="http://soak/v1")
    with Store(cache) as store:
        return sum(
            len(store.missing(request.key, settings.samples))
            for request in requests_for(train(spider, limit), settings)
        )


def speed(spider: Path, folder: Path) -> Figures:
    with serving(folder) as url:
        outcome = ask(spider, url, folder / "fast.sqlite")
        rate = outcome.requests / outcome.seconds
        print(f"no latency: {outcome.requests} requests, {rate:.0f} a second")
    start = time.perf_counter()
    outcome = ask(spider, "http://127.0.0.1:9/v1", folder / "fast.sqlite")
    print(f"from a full cache: {time.perf_counter() - start:.1f} s, {outcome.requests} requests")
    with serving(folder, latency=0.2) as url:
        outcome = ask(spider, url, folder / "slow.sqlite", limit=3000)
        took, ideal = outcome.seconds, outcome.requests * 0.2 / 64
        print(f"200 ms latency, 64 at once: {took:.1f} s, {took / ideal - 1:+.1%} over the ideal")
    with serving(folder, many=False) as url:
        for limit in (334, 1000, 3000, None):
            outcome = ask(spider, url, folder / "one.sqlite", limit=limit)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{outcome.requests} more requests, one sample each: peak {peak} MiB")
    return {"asking.rate": (rate, "requests/s"), "asking.over_ideal": (took / ideal - 1, "")}


def faults(spider: Path, folder: Path) -> Figures:
    cache, rng = folder / "faults.sqlite", random.Random(7)
    with serving(folder, many=False, **FAULTS) as url:
        command = [sys.executable, "-m", "tests.teacher.soak", str(spider), "--worker", url, cache]
        start = time.perf_counter()
        for _ in range(3):
            worker = subprocess.Popen(list(map(str, command)))
            time.sleep(rng.uniform(4, 12))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        subprocess.run(list(map(str, command)), check=True)
        took, found = time.perf_counter() - start, books(url)
    with Store(cache) as store:
        spent = store.spent()
    wanted = 3 * sum(1 for _ in requests_for(train(spider), Settings()))
    least = wanted * (PROMPT_TOKENS * PRICE.prompt + COMPLETION_TOKENS * PRICE.completion)
    print(f"{found['requests']} requests in {took:.0f} s; faults and books: {found}")
    print(f"samples missing: {missing(spider, cache)}")
    print(f"answers beyond the {wanted:,} wanted: {found['samples'] - wanted} "
          f"(dropped or malformed {found['dropped'] + found['malformed']}; the rest were on their "
          "way when a process was killed)")  # fmt: skip
    print(
        f"least {dollars(least)}, endpoint's books {dollars(found['cost'])}, ours {dollars(spent)}"
    )
    capped = folder / "capped.sqlite"
    with serving(folder, many=False, **FAULTS) as url:
        outcome = ask(spider, url, capped, cap=10**9)
        charged = books(url)["cost"]
    print(f"with a cap of $1.00: the endpoint charged {dollars(charged)}; {outcome.stopped}")
    return {}


def judging(spider: Path, folder: Path) -> Figures:
    """Three samples per question: the gold query twice, and a mutant once."""
    dataset, settings = load_dataset("spider", split="train", path=spider), Settings()
    count = 0
    with Store(folder / "answers.sqlite") as store:
        for request in requests_for(dataset, settings):
            gold = request.example.query
            wrong = next((m.sql for m in mutants(gold)), "SELECT 1")
            texts = [f"```sql\n{sql}\n```" for sql in (gold, wrong, gold)]
            samples = {n: Sample(text, "stop", 800, 40, 0) for n, text in enumerate(texts)}
            store.settle(request.key, request.body, samples, bound=0)
            count += 3
        present = dataset.with_examples(
            e for e in dataset if (dataset.database_dir / e.db_id / f"{e.db_id}.sqlite").is_file()
        )
        start = time.perf_counter()
        made = build_neighbours(present, folder=folder / "neighbours")
        print(f"neighbours of {len(made)} databases: {time.perf_counter() - start:.1f} s")
        digests, times = [], []
        for name, used in (("a.jsonl", None), ("b.jsonl", made), ("b.jsonl", made)):
            start = time.perf_counter()
            with Sieve(present, settings, neighbours=used) as sieve:
                judged = write_traces(sieve, store, folder / name)
            took = time.perf_counter() - start
            times.append(took)
            reasons = Counter(reason for one in judged for reason in one.reasons)
            digests.append(hashlib.sha256((folder / name).read_bytes()).hexdigest())
            print(f"{count} samples, neighbours {used is not None}: {took:.1f} s, {dict(reasons)}")
    print("the same bytes:", len(set(digests[1:])) == 1)
    return {"judging.first": (times[1], "s"), "judging.again": (times[2], "s")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spider", type=Path)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--filter", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--worker", nargs=2, metavar=("URL", "CACHE"))
    arguments = parser.parse_args()
    if arguments.worker:
        url, cache = arguments.worker
        outcome = ask(arguments.spider, url, Path(cache))
        print(f"process {os.getpid()}: {outcome.requests} requests, failed {len(outcome.failed)}")
        return
    with tempfile.TemporaryDirectory() as folder:
        part = judging if arguments.filter else faults if arguments.faults else speed
        found = part(arguments.spider, Path(folder))
    if arguments.record:
        command = measured.spelled("python -m tests.teacher.soak", sys.argv[1:])
        measured.record(found, command=command)


if __name__ == "__main__":
    main()

"""The teacher's client against a hostile endpoint: two processes on one cache, kill -9, a budget.

    python -m tests.teacher.hostile_soak                     all of pocket's training questions
    python -m tests.teacher.hostile_soak --budget 0.5        until the budget stops it
    python -m tests.teacher.hostile_soak --questions 60 --kills 1

The endpoint (:mod:`tests.teacher.hostile`) runs in a separate process, has 19 kinds of malformed
answers, 5 % each, and keeps a journal. Prints the measurements, and fails if an answer was lost or
paid twice, the budget was exceeded, or the cache's ledger shows less than the endpoint charged. Not
covered: an endpoint that reports fewer tokens than it charges, which no client can notice.
``--record`` records the measurements (:mod:`distill_sql.runs.measured`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.runs import measured
from distill_sql.teacher import Settings, Store, pace, requests_for
from distill_sql.teacher.client import Teacher
from distill_sql.teacher.prices import budget_of, dollars
from tests.teacher.endpoint import ROOT, books, serving
from tests.teacher.hostile import BASE_URL, PRICE, SAMPLES, UNPAID, WASTED

SETTINGS = Settings(base_url=BASE_URL, samples=SAMPLES)
#: Memory limit of a client in MiB; one body of the endpoint has 400 MB.
MEMORY = 400


def questions(count: int | None) -> Dataset:
    return load_dataset("pocket", split="train").limit(count)


def work(url: str, cache: Path, count: int, cap: int, concurrency: int, timeout: float) -> None:
    """The work of a client process; prints how it ended."""
    pace.LONGEST_PAUSE = 0.05
    with Store(cache) as store:
        teacher = Teacher(
            SETTINGS, store, api_key=f"sk-test-{os.getpid()}", price=PRICE, cap=cap, url=url,
            concurrency=concurrency, timeout=timeout,
        )  # fmt: skip
        outcome = teacher.run(requests_for(questions(count), SETTINGS))
    print(json.dumps({
        "stopped": outcome.stopped, "failed": Counter(outcome.failed.values()),
        "memory": most_memory(),
    }))  # fmt: skip


def most_memory() -> int:
    """The peak memory of this process in MiB; 0 if the system does not report it.

    ``ru_maxrss`` would count what the process that started this one had.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().split("\n") if status.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


@dataclass
class Soak:
    """One soak: its clients, their output, and the ledgers observed during the run."""

    folder: Path
    count: int
    cap: int
    concurrency: int = 16
    timeout: float = 3.0
    kills: dict[str, float] = field(default_factory=dict)
    said: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)

    def client(self) -> subprocess.Popen[str]:
        values = (self.url, self.cache, self.count, self.cap, self.concurrency, self.timeout)
        command = [sys.executable, "-m", "tests.teacher.hostile_soak", "--worker"]
        return subprocess.Popen(
            [*command, *map(str, values)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def run(self, kills: int, rng: random.Random) -> float:
        """Run two clients until all is answered or the budget is used up; returns the seconds."""
        self.cache, journal = self.folder / "cache.sqlite", self.folder / "journal.jsonl"
        Store(self.cache).close()
        script = {"cache": str(self.cache), "journal": str(journal), "latency": 0.005}
        start = time.monotonic()
        with serving(self.folder, module="tests.teacher.hostile", seed=7, **script) as self.url:
            self.round([rng.uniform(0.5, 1.0) / (kills + 1) for _ in range(kills)], rng)
            while not self.is_done() and time.monotonic() - start < 600:
                self.round()
        self.events = [json.loads(line) for line in journal.read_text().split("\n")[:-1]]
        return time.monotonic() - start

    def is_done(self) -> bool:
        return bool(self.said) and (not self.missing() or "budget" in self.said[-1]["stopped"])

    def missing(self) -> int:
        with Store(self.cache) as store:
            requests = requests_for(questions(self.count), SETTINGS)
            return sum(len(store.missing(request.key, SAMPLES)) for request in requests)

    def round(self, kills: Sequence[float] = (), rng: random.Random | None = None) -> None:
        """Both clients, until they end.

        Each of ``kills`` is how much is asked, as a share of all questions, until one of them is
        killed and another takes its place.
        """
        clients = [self.client() for _ in range(2)]
        try:
            for share in kills:
                wanted = self.asked() + int(share * self.count)
                while self.asked() < wanted:
                    assert any(client.poll() is None for client in clients), "it ended too early"
                    self.look()
                assert rng is not None
                victim = clients.pop(rng.randrange(2))
                assert victim.poll() is None, "it ended too early"
                victim.kill()
                victim.communicate()
                self.kills[str(victim.pid)] = time.time()
                clients.append(self.client())
            while any(client.poll() is None for client in clients):
                self.look()
            for client in clients:
                out, _ = client.communicate()
                assert client.returncode == 0, "a client ended with an error"
                self.said.append(json.loads(out))
        finally:
            for client in clients:
                if client.stdout and not client.stdout.closed:  # only if something went wrong
                    client.kill()
                    client.communicate()

    def asked(self) -> int:
        return books(self.url).get("asked", 0)

    def look(self) -> None:
        """Read the endpoint's journal first: a request is booked before it is charged."""
        charged = books(self.url).get("cost", 0)
        with Store(self.cache, read_only=True) as store:
            spent = store.spent()
        assert charged <= spent <= self.cap, (charged, spent, self.cap)
        self.looks += 1
        time.sleep(0.02)

    def report(self, took: float) -> None:
        """Compare journal and ledger, print the figures, and fail if they differ."""
        asked = {e["number"]: e for e in self.events if e["event"] == "asked"}
        answered = [e for e in self.events if e["event"] == "answered"]
        charged = sum(event["cost"] for event in answered)
        requests = {r.key.hex(): r for r in requests_for(questions(self.count), SETTINGS)}
        with Store(self.cache) as store:
            spent = store.spent()
            samples = {
                key: [sample for sample in store.samples(request.key, SAMPLES) if sample]
                for key, request in requests.items()
            }
        costs = {key: sum(sample.cost for sample in found) for key, found in samples.items()}
        stored = {key: len(found) for key, found in samples.items()}
        # What brought no answer stays booked at its bound, to the last of it.
        unanswered = sum(
            PRICE.cost(requests[event["key"]].prompt_bound, event["n"] * SETTINGS.max_tokens)
            for event in asked.values()
            if event["kind"] in WASTED
        )
        whole: Counter[str] = Counter()
        due: Counter[str] = Counter()
        for event in answered:
            key = asked[event["number"]]["key"]
            whole[key] += event["whole"]
            due[key] += event["cost"] if event["whole"] else 0
        lost, cut = 0, 0
        for key, count in whole.items():
            if count <= stored[key]:
                assert costs[key] >= due[key], (key, costs[key], due[key])
            else:
                # On their way at a kill: as many as the killed clients got just before it.
                late = sum(
                    event["whole"] for event in answered
                    if asked[event["number"]]["key"] == key
                    and 0 <= self.kills.get(asked[event["number"]]["who"], 0) - event["time"]
                    < self.timeout + 1
                )  # fmt: skip
                cut += min(late, count - stored[key])
                lost += max(0, count - stored[key] - late)
        again = sum(event["again"] for event in asked.values())
        at_once = sum(event["at_once"] for event in asked.values())
        kinds = Counter(event["kind"] for event in asked.values())
        unused = sum(kinds[kind] for kind in WASTED)
        memory = max(one["memory"] for one in self.said)
        print(
            f"{len(asked):,} requests in {took:.0f} s by {len(self.said) + len(self.kills)} client "
            f"processes, {len(self.kills)} of them killed: {sum(stored.values()):,} of "
            f"{SAMPLES * len(stored):,} samples are stored; {self.looks} looks at the books\n"
            f"by kind: {dict(sorted(kinds.items()))}\n"
            f"turned down: {sum(kinds[kind] for kind in UNPAID):,}; charged for and unusable: "
            f"{unused:,}; samples cut by a kill on their way: {cut}\n"
            f"answers lost: {lost}; asked for what was stored: {again}; asked twice at once: "
            f"{at_once}\n"
            f"endpoint's books {dollars(charged)}, the cache's {dollars(spent)}, "
            f"of which for answers {dollars(sum(costs.values()))} and for requests without one "
            f"{dollars(unanswered)} at least, budget {dollars(self.cap)}; most memory of a client "
            f"{memory} MiB\n"
            f"ended: {self.said[-1]['stopped'] or 'all is answered'}"
        )
        self.figures = {
            "hostile.lost": (lost, "answers"),
            "hostile.again": (again + at_once, "samples"),
            "hostile.samples": (sum(stored.values()), "samples"),
            "hostile.looks": (self.looks, "looks"),
        }
        assert (lost, again, at_once) == (0, 0, 0)
        assert cut <= SAMPLES * self.concurrency * len(self.kills)
        assert charged <= spent <= self.cap
        assert sum(costs.values()) + unanswered <= spent
        assert not self.missing() or "budget" in self.said[-1]["stopped"]
        assert memory < MEMORY


def soak(folder: Path, *, count: int, kills: int, budget: float, timeout: float = 3.0) -> Soak:
    """Run one and check it."""
    made = Soak(folder, count, budget_of(budget), timeout=timeout)
    made.report(made.run(kills, random.Random(7)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=len(questions(None)))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--worker", nargs=6)
    arguments = parser.parse_args()
    if arguments.worker:
        url, cache, count, cap, concurrency, timeout = arguments.worker
        work(url, Path(cache), int(count), int(cap), int(concurrency), float(timeout))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = soak(
            Path(folder), count=arguments.questions, kills=arguments.kills, budget=arguments.budget
        )
    if arguments.record:
        command = measured.spelled("python -m tests.teacher.hostile_soak", sys.argv[1:])
        measured.record(made.figures, command=command)


if __name__ == "__main__":
    main()

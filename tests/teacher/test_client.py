"""The client against a scriptable endpoint that injects faults: see endpoint.py."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill_sql.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Settings, Store, estimate, requests_for
from distill_sql.teacher.client import Outcome, Teacher
from distill_sql.teacher.work import fair_order
from tests.teacher.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, books, serving

PRICE = Price(150, 600)
#: What the endpoint takes for a question with all its samples in one request.
ONE = PRICE.cost(PROMPT_TOKENS, 3 * COMPLETION_TOKENS)


def ask(
    dataset: Dataset, folder: Path, url: str, *, settings: Settings | None = None,
    cap: int | None = None, **options: Any,
) -> Outcome:  # fmt: skip
    settings = settings or Settings(base_url="http://test/v1")
    with Store(folder / "store.sqlite") as store:
        teacher = Teacher(
            settings, store, api_key="sk-test", price=PRICE, cap=cap, url=url, **options
        )
        return teacher.run(requests_for(dataset, settings))


def missing(dataset: Dataset, folder: Path) -> int:
    settings = Settings(base_url="http://test/v1")
    with Store(folder / "store.sqlite") as store:
        requests = requests_for(dataset, settings)
        return sum(len(store.missing(request.key, 3)) for request in requests)


def spent(folder: Path) -> int:
    with Store(folder / "store.sqlite") as store:
        return store.spent()


def test_all_samples_come_in_one_request_and_are_asked_for_once(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    some = pocket_train.limit(40)
    with serving(tmp_path) as url:
        outcome = ask(some, tmp_path, url)
        assert (outcome.requests, outcome.samples, outcome.failed) == (40, 120, {})
        again = ask(some, tmp_path, url)
        assert again.requests == 0
        found = books(url)
    assert found["requests"] == found["with_key"] == 40
    assert outcome.cost == found["cost"] == spent(tmp_path) == 40 * ONE
    assert missing(some, tmp_path) == 0


def test_an_endpoint_that_gives_one_answer_is_asked_for_the_others(
    shop: Dataset, tmp_path: Path
) -> None:
    with serving(tmp_path, many=False) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
        assert (outcome.requests, outcome.samples) == (6, 6)
    assert missing(shop, tmp_path) == 0


def test_faults_and_kills_lose_nothing_and_the_books_are_never_short(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    some = pocket_train.limit(700)
    faults = {"too_many": 0.05, "broken": 0.02, "dropped": 0.01, "malformed": 0.01}
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from distill_sql.datasets import load_dataset\n"
        "from tests.teacher.test_client import ask\n"
        "ask(load_dataset('pocket', split='train').limit(700), Path(sys.argv[1]), sys.argv[2],\n"
        "    concurrency=16)\n"
    )
    with serving(tmp_path, latency=0.005, **faults) as url:
        command = [sys.executable, "-c", code, str(tmp_path), url]
        for _ in range(2):
            worker = subprocess.Popen(command)
            reached = books(url).get("samples", 0) + 300
            while worker.poll() is None and books(url).get("samples", 0) < reached:
                time.sleep(0.02)
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        assert missing(some, tmp_path) > 0  # the kills came before the end
        outcome = ask(some, tmp_path, url, concurrency=16)
        found = books(url)
    assert outcome.failed == {}
    assert missing(some, tmp_path) == 0
    # Paid for twice: only what was dropped or malformed, or on its way when a process was killed.
    broken = found["dropped"] + found["malformed"]
    assert found["samples"] - broken <= 3 * (700 + 2 * 16)
    assert found["cost"] <= spent(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_cap_is_never_passed(pocket_train: Dataset, tmp_path: Path, share: float) -> None:
    cap = 30 * ONE
    with serving(tmp_path, malformed=share, latency=0.002) as url:
        outcome = ask(pocket_train, tmp_path, url, cap=cap, concurrency=16)
        charged = books(url)["cost"]
        again = ask(pocket_train, tmp_path, url, cap=cap)
        assert again.requests == 0
        assert books(url)["cost"] == charged
    assert "budget" in outcome.stopped
    assert charged <= spent(tmp_path) <= cap
    assert charged >= cap * (0.6 if share else 0.8)  # and most of it is used


def test_a_budget_that_is_raised_goes_on(shop: Dataset, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        assert ask(shop, tmp_path, url, cap=1).stopped
        assert ask(shop, tmp_path, url, cap=10**9).samples == 6


def test_pauses_that_the_endpoint_asks_for_are_made(shop: Dataset, tmp_path: Path) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    with serving(tmp_path, headers=headers) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
    assert outcome.requests == 2
    assert outcome.seconds > 0.4


def test_too_many_lowers_how_many_are_under_way(pocket_train: Dataset, tmp_path: Path) -> None:
    settings = Settings(base_url="http://test/v1")
    with serving(tmp_path, too_many=0.3) as url, Store(tmp_path / "store.sqlite") as store:
        teacher = Teacher(settings, store, api_key="k", price=PRICE, url=url, concurrency=32)
        outcome = teacher.run(requests_for(pocket_train.limit(60), settings))
        assert outcome.failed == {}
        assert teacher.pace.limit < 32


def test_a_limit_that_opens_in_hours_ends_the_run(shop: Dataset, tmp_path: Path) -> None:
    error = {"message": "requests per day"}
    with serving(tmp_path, status=429, error=error, refused={"retry-after": "7200"}) as url:
        outcome = ask(shop, tmp_path, url)
    assert "opens again in 2.0 hours (requests per day)" in outcome.stopped
    assert spent(tmp_path) == 0
    with serving(tmp_path, status=429, error={"message": "x", "code": "insufficient_quota"}) as url:
        assert "no credit left" in ask(shop, tmp_path, url).stopped


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "status 401: no Set OPENAI_API_KEY to a key that is valid"),
        (404, "status 404: no Check the model 'gpt-4o-mini' and the address"),
        (400, "status 400"),
    ],
)
def test_a_mistake_of_the_users_is_told_at_once(
    shop: Dataset, tmp_path: Path, status: int, message: str
) -> None:
    with serving(tmp_path, status=status) as url:
        with pytest.raises(TeacherError, match=message):
            ask(shop, tmp_path, url)
        assert books(url)["requests"] <= 4
    assert spent(tmp_path) == 0


def test_something_else_at_that_address(shop: Dataset, tmp_path: Path) -> None:
    with (
        serving(tmp_path, body="<html>hello</html>") as url,
        pytest.raises(TeacherError, match="no OpenAI response but with '<html>"),
    ):
        ask(shop, tmp_path, url)
    with pytest.raises(TeacherError, match="Nothing answers at"):
        ask(shop, tmp_path, "http://127.0.0.1:9/v1")


def test_an_empty_list_of_choices_is_no_answer(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    with serving(tmp_path, body='{"choices": []}') as url:
        outcome = ask(shop, tmp_path, url)
    assert set(outcome.failed.values()) == {"an answer without choices"}


def test_a_refusal_and_a_cut_answer_are_answers(shop: Dataset, tmp_path: Path) -> None:
    choice = '{"message": {"content": null, "refusal": "I cannot"}, "finish_reason": "stop"}'
    usage = '{"prompt_tokens": 5, "completion_tokens": 2}'
    with serving(tmp_path, body=f'{{"choices": [{choice}], "usage": {usage}}}') as url:
        assert ask(shop, tmp_path, url).samples == 6
    settings = Settings(base_url="http://test/v1")
    with Store(tmp_path / "store.sqlite") as store:
        request = next(requests_for(shop, settings))
        assert [s.finish for s in store.samples(request.key, 3) if s] == ["refusal"] * 3


def test_an_interrupt_lets_what_is_under_way_finish(pocket_train: Dataset, tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        # A shell's background jobs ignore interrupts, and so would the tests' child.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from distill_sql.datasets import load_dataset\n"
        "from tests.teacher.test_client import ask\n"
        "train = load_dataset('pocket', split='train')\n"
        "print(ask(train, Path(sys.argv[1]), sys.argv[2], concurrency=8).stopped)\n"
    )
    with serving(tmp_path, latency=0.05) as url:
        command = [sys.executable, "-c", code, str(tmp_path), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            while not books(url).get("samples"):
                time.sleep(0.02)
            worker.send_signal(signal.SIGINT)
            out, _ = worker.communicate(timeout=60)
        assert out.strip() == "interrupted"
        assert spent(tmp_path) == books(url)["cost"]  # nothing is lost, nothing stays booked


def test_every_database_is_asked_early(pocket_train: Dataset) -> None:
    order = fair_order(pocket_train, 42)
    count = len(pocket_train.db_ids)
    assert len({example.db_id for example in order.limit(count)}) == count
    assert sorted(e.question_id for e in order) == sorted(e.question_id for e in pocket_train)
    assert order == fair_order(pocket_train, 42) != fair_order(pocket_train, 43)


def test_an_estimate_is_between_the_cost_and_the_bound(shop: Dataset, tmp_path: Path) -> None:
    settings = Settings(base_url="http://test/v1")
    with Store(tmp_path / "store.sqlite") as store:
        found = estimate(requests_for(shop, settings), settings, store, PRICE)
    assert (found.requests, found.samples) == (2, 6)
    assert 0 < found.cost < found.bound


def test_settings_are_checked() -> None:
    with pytest.raises(TeacherError, match="samples is 0; expected 1 to 128"):
        Settings(samples=0)

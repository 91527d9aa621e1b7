"""The client against a scriptable endpoint that injects faults: see endpoint.py."""

from __future__ import annotations

import math
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Settings, Store, estimate_cost, requests_for
from distill_sql.teacher.client import Outcome, Teacher
from distill_sql.teacher.store import Sample
from distill_sql.teacher.wire import NotSentError, Reply, Wire
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


def test_missing_samples_are_requested_again(shop: Dataset, tmp_path: Path) -> None:
    with serving(tmp_path, many=False) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
        assert (outcome.requests, outcome.samples) == (6, 6)
    assert missing(shop, tmp_path) == 0


def test_faults_and_kills_lose_no_answer_and_no_booking(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    some = pocket_train.limit(700)
    faults = {"too_many": 0.05, "broken": 0.02, "dropped": 0.01, "malformed": 0.01}
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from distill_sql.data.datasets import load_dataset\n"
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
def test_the_cap_is_never_exceeded(pocket_train: Dataset, tmp_path: Path, share: float) -> None:
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


def test_a_raised_budget_continues_the_run(shop: Dataset, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        assert ask(shop, tmp_path, url, cap=1).stopped
        assert ask(shop, tmp_path, url, cap=10**9).samples == 6


def test_requested_pauses_are_made(shop: Dataset, tmp_path: Path) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    with serving(tmp_path, headers=headers) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
    assert outcome.requests == 2
    assert outcome.seconds > 0.4


def test_rate_limits_lower_the_concurrency(pocket_train: Dataset, tmp_path: Path) -> None:
    settings = Settings(base_url="http://test/v1")
    with serving(tmp_path, too_many=0.3) as url, Store(tmp_path / "store.sqlite") as store:
        teacher = Teacher(settings, store, api_key="k", price=PRICE, url=url, concurrency=32)
        outcome = teacher.run(requests_for(pocket_train.limit(60), settings))
        assert outcome.failed == {}
        assert teacher.pace.limit < 32


def test_a_limit_that_resets_in_hours_ends_the_run(shop: Dataset, tmp_path: Path) -> None:
    error = {"message": "requests per day"}
    with serving(tmp_path, status=429, error=error, refused={"retry-after": "7200"}) as url:
        outcome = ask(shop, tmp_path, url)
    assert "resets in 2.0 hours (requests per day)" in outcome.stopped
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
def test_a_users_mistake_ends_the_run_at_once(
    shop: Dataset, tmp_path: Path, status: int, message: str
) -> None:
    with serving(tmp_path, status=status) as url:
        with pytest.raises(TeacherError, match=message):
            ask(shop, tmp_path, url)
        assert books(url)["requests"] <= 4
    assert spent(tmp_path) == 0


def test_a_server_of_another_kind_is_an_error(shop: Dataset, tmp_path: Path) -> None:
    with (
        serving(tmp_path, body="<html>hello</html>") as url,
        pytest.raises(TeacherError, match="not answer with an OpenAI response but with '<html>"),
    ):
        ask(shop, tmp_path, url)
    with pytest.raises(TeacherError, match="Nothing answers at"):
        ask(shop, tmp_path, "http://127.0.0.1:9/v1")


def test_an_empty_list_of_choices_is_not_an_answer(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    with serving(tmp_path, body='{"choices": []}') as url:
        outcome = ask(shop, tmp_path, url)
    assert set(outcome.failed.values()) == {"an answer without choices"}


QUESTIONS = ("How many customers", "Which customers")


def samples_of(dataset: Dataset, folder: Path, place: int = 0) -> list[Sample | None]:
    settings = Settings(base_url="http://test/v1")
    with Store(folder / "store.sqlite") as store:
        request = list(requests_for(dataset, settings))[place]
        return store.samples(request.key, 3)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_that_is_refused_is_the_only_one_to_fail(
    pocket_train: Dataset, tmp_path: Path, status: int
) -> None:
    some = pocket_train.limit(30)
    poison = some.examples[0].question
    odd = {poison: {"status": status, "body": '{"error": {"message": "too long"}}'}}
    with serving(tmp_path, odd=odd) as url:
        outcome = ask(some, tmp_path, url, concurrency=1)  # it is the first to be asked
        assert outcome.failed == {some.examples[0].question_id: f"status {status}: too long"}
        assert (outcome.samples, outcome.stopped) == (3 * 29, "")
        found = books(url)
        assert found["requests"] == 2 + 29  # the others are still asked for all samples at once
        assert spent(tmp_path) == found["cost"]
        again = ask(some, tmp_path, url)  # the rest is in the cache: it is still the question
        assert list(again.failed) == [some.examples[0].question_id]


def test_when_every_question_is_refused_the_run_ends(pocket_train: Dataset, tmp_path: Path) -> None:
    with serving(tmp_path, status=400, error={"message": "temperature"}) as url:
        with pytest.raises(
            TeacherError, match=r"Every question fails with status 400.*temperature"
        ):
            ask(pocket_train, tmp_path, url, concurrency=2)
        assert books(url)["requests"] <= 2 * (5 + 2)
    assert spent(tmp_path) == 0


def test_an_endpoint_without_n_is_asked_one_by_one(pocket_train: Dataset, tmp_path: Path) -> None:
    some = pocket_train.limit(20)
    with serving(tmp_path, knows_n=False) as url:
        outcome = ask(some, tmp_path, url, concurrency=1)
        assert (outcome.samples, outcome.failed) == (60, {})
        assert books(url)["odd"] == 5  # then it is known
        assert spent(tmp_path) == books(url)["cost"]


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        ('{"choices": [{"message": null}, {"message": null}, {"message": null}]}', "malformed"),
        ('{"choices": [null, 5, "x"]}', "malformed"),
        ('{"choices": [{"message": {"content": 5}}, {}, []]}', "malformed"),
        ('{"choices": {"a": {}, "b": {}, "c": {}, "d": {}}}', "malformed"),
        ('{"choices": [{"message": {"content": null, "refusal": ["no"]}}, {}, {}]}', "refusal"),
    ],
)
def test_a_malformed_answer_is_stored_with_its_maximum_cost(
    shop: Dataset, tmp_path: Path, body: str, finish: str
) -> None:
    with serving(tmp_path, odd={QUESTIONS[0]: {"body": body}}) as url:
        outcome = ask(shop, tmp_path, url)
        assert (outcome.samples, outcome.failed, outcome.stopped) == (6, {}, "")
        assert ask(shop, tmp_path, url).requests == 0  # it is not paid for again
        assert books(url)["requests"] == 2
    first = samples_of(shop, tmp_path)[0]
    assert first is not None
    assert (first.text, first.finish) == ("", finish)
    settings = Settings(base_url="http://test/v1")
    request = next(requests_for(shop, settings))
    bound = PRICE.cost(request.prompt_bound, 3 * settings.max_tokens)
    assert spent(tmp_path) == bound + ONE


@pytest.mark.parametrize(
    "body",
    [
        '{"choices": null, "error": {"message": "upstream overloaded"}}',
        '{"choices": []}',
        "",
        "<html>busy</html>",
        '{"choices": ' + "[" * 5000,
        "\x00",
        "[1]",
    ],
)
def test_an_answer_without_choices_is_retried_and_fails_one_question(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    with serving(tmp_path, odd={QUESTIONS[1]: {"body": body}}) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
        assert (outcome.samples, list(outcome.failed), outcome.stopped) == (3, [1], "")
        assert books(url)["odd"] == 5
    settings = Settings(base_url="http://test/v1")
    bound = PRICE.cost(list(requests_for(shop, settings))[1].prompt_bound, 3 * settings.max_tokens)
    assert outcome.unanswered == 5 * bound
    assert spent(tmp_path) == ONE + 5 * bound


@pytest.mark.parametrize(
    "usage",
    [
        "null", "[]", "{}", '{"input_tokens": 5, "output_tokens": 5}',
        '{"prompt_tokens": -5, "completion_tokens": -5}',
        '{"prompt_tokens": 1e30, "completion_tokens": 1e30}',
        f'{{"prompt_tokens": 1{"0" * 30}, "completion_tokens": 1{"0" * 30}}}',
        '{"prompt_tokens": true, "completion_tokens": true}',
        '{"prompt_tokens": "800", "completion_tokens": "40"}',
        '{"prompt_tokens": 0, "completion_tokens": 0}',
    ],
)  # fmt: skip
def test_impossible_usage_is_booked_at_the_bound(shop: Dataset, tmp_path: Path, usage: str) -> None:
    choice = '{"message": {"content": "SELECT 1"}, "finish_reason": "stop"}'
    body = f'{{"choices": [{choice}, {choice}, {choice}], "usage": {usage}}}'
    settings = Settings(base_url="http://test/v1")
    bounds = [
        PRICE.cost(request.prompt_bound, 3 * settings.max_tokens)
        for request in requests_for(shop, settings)
    ]
    with serving(tmp_path, body=body) as url:
        outcome = ask(shop, tmp_path, url, cap=sum(bounds))
    assert (outcome.samples, outcome.stopped) == (6, "")
    assert outcome.cost == spent(tmp_path) == sum(bounds)


@pytest.mark.parametrize(
    "tokens", ['"completion_tokens": 40000', '"completion_tokens": 9, "total_tokens": 50000']
)
def test_a_real_cost_above_the_bound_is_booked_and_ends_the_run(
    pocket_train: Dataset, tmp_path: Path, tokens: str
) -> None:
    choice = '{"message": {"content": "SELECT 1"}, "finish_reason": "stop"}'
    usage = f'{{"prompt_tokens": 800, {tokens}}}'
    body = f'{{"choices": [{choice}, {choice}, {choice}], "usage": {usage}}}'
    with serving(tmp_path, body=body) as url:
        outcome = ask(pocket_train, tmp_path, url, concurrency=1, cap=10**12)
        assert outcome.requests == 1
    assert "was expected: the endpoint counts" in outcome.stopped
    assert "Raise --max-tokens" in outcome.stopped
    completion = 40_000 if "40000" in tokens else 50_000 - 800
    assert spent(tmp_path) == outcome.cost == PRICE.cost(800, completion)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 524])
def test_requests_that_may_have_been_charged_stay_booked(
    shop: Dataset, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    bound = PRICE.cost(
        max(r.prompt_bound for r in requests_for(shop, Settings(base_url="http://test/v1"))), 1536
    )
    with serving(tmp_path, status=status) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1, cap=3 * bound)
        sent = books(url)["requests"]
    assert sent >= 3
    assert (sent - 1) * bound // 2 < spent(tmp_path) == outcome.unanswered <= 3 * bound
    assert "the budget" in outcome.stopped
    assert "got no answer and may have been charged" in outcome.stopped


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}, {"retry-after": "-5"},
                                     {"retry-after": "1e99"}, {"retry-after": "nan"}])  # fmt: skip
def test_a_429_without_retry_after_is_retried(
    shop: Dataset, tmp_path: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.05)
    with serving(tmp_path, status=429, refused=headers) as url:
        outcome = ask(shop, tmp_path, url, concurrency=1)
        assert books(url)["requests"] == 20
    assert set(outcome.failed.values()) == {"status 429: no"}
    assert outcome.seconds > 18 * 0.025
    assert spent(tmp_path) == 0


def test_a_503_with_retry_after_is_not_booked(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    with serving(tmp_path, status=503, refused={"retry-after": "0.01"}) as url:
        assert ask(shop, tmp_path, url).failed
    assert spent(tmp_path) == 0


def test_a_redirect_is_reported_and_not_followed(shop: Dataset, tmp_path: Path) -> None:
    refused = {"location": "https://me:hunter2@elsewhere/v1"}
    with serving(tmp_path, status=308, refused=refused) as url:
        with pytest.raises(
            TeacherError, match=r"status 308: it redirects to https://.*elsewhere"
        ) as at:
            ask(shop, tmp_path, url)
        assert books(url)["requests"] <= 2
    assert "hunter2" not in str(at.value)
    assert spent(tmp_path) == 0


def test_a_key_in_an_error_message_is_not_shown(shop: Dataset, tmp_path: Path) -> None:
    error = {"message": f"{'x' * 290} sk-test and Bearer sk-test\x1b[31m"}
    with serving(tmp_path, status=401, error=error) as url, pytest.raises(TeacherError) as found:
        ask(shop, tmp_path, url)
    assert "sk-test" not in str(found.value)
    assert str(found.value).isprintable()
    with (
        serving(tmp_path, body="<html>sk-test", headers={}) as url,
        pytest.raises(TeacherError) as at,
    ):
        ask(shop, tmp_path, url)
    assert "sk-test" not in str(at.value)


@pytest.mark.parametrize("key", ["sk-secret\nx", "sk-se cret", "\u201csk-secret\u201d", "", "\n"])
def test_an_invalid_key_is_an_error_before_anything_is_sent(
    shop: Dataset, tmp_path: Path, key: str
) -> None:
    settings = Settings(base_url="http://test/v1")
    with Store(tmp_path / "store.sqlite") as store:
        with pytest.raises(TeacherError, match="cannot be used as a key") as found:
            Teacher(settings, store, api_key=key, price=PRICE)
        assert store.spent() == 0
    assert "secret" not in str(found.value)


def test_a_key_is_stripped(shop: Dataset, tmp_path: Path) -> None:
    settings = Settings(base_url="http://test/v1")
    with serving(tmp_path) as url, Store(tmp_path / "store.sqlite") as store:
        Teacher(settings, store, api_key=" sk-test\r\n", price=PRICE, url=url).run(
            requests_for(shop, settings)
        )
        assert books(url)["with_key"] == 2


def test_a_login_in_the_address_is_used_and_not_stored(shop: Dataset, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        outcome = ask(shop, tmp_path, url.replace("://", "://me:hunter2@"))
        assert outcome.samples == 6
        assert books(url).get("with_key", 0) == 0  # the login is sent in its place
    for path in tmp_path.iterdir():
        assert b"hunter2" not in path.read_bytes()
    with pytest.raises(TeacherError, match="has a login, which") as found:
        Settings(base_url="http://me:hunter2@test/v1")
    assert "hunter2" not in str(found.value)
    # Spellings of one address are one, so nothing is paid for twice.
    one, other = Settings(base_url="http://test/v1"), Settings(base_url="HTTP://Test./v1/")
    assert [r.key for r in requests_for(shop, one)] == [r.key for r in requests_for(shop, other)]


@pytest.mark.parametrize("trouble", ["proxy", "organisation", "host"])
def test_unsent_requests_are_not_booked_and_reported_at_once(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    url = "http://no-such-host.invalid/v1"
    if trouble == "proxy":
        monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:9")
    if trouble == "organisation":
        monkeypatch.setenv("OPENAI_ORG_ID", "org\nsk-hunter2")
        url = "http://127.0.0.1:9/v1"
    start = time.monotonic()
    with pytest.raises(TeacherError, match=r"Nothing (answers at|can be sent to)") as found:
        ask(shop, tmp_path, url)
    assert time.monotonic() - start < 5
    assert "hunter2" not in str(found.value)
    assert spent(tmp_path) == 0


def test_one_connection_timeout_does_not_end_the_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_sql.teacher.pace.LONGEST_PAUSE", 0.01)
    post, late = Wire.post, iter([True] * 4)

    async def sometimes(self: Wire, body: bytes, *, most: int) -> Reply:
        if next(late, False):
            raise NotSentError("Connecting took over 1 s", is_late=True)
        return await post(self, body, most=most)

    monkeypatch.setattr(Wire, "post", sometimes)
    with serving(tmp_path) as url:
        assert ask(shop, tmp_path, url, concurrency=1).samples == 6
        assert spent(tmp_path) == 2 * ONE
    late = iter([True] * 100)
    with pytest.raises(TeacherError, match="Nothing answers at"):
        ask(shop, tmp_path / "other", "http://127.0.0.1:9/v1", concurrency=1)


def test_requests_of_another_process_are_waited_for(pocket_train: Dataset, tmp_path: Path) -> None:
    """A request that one of two stores on a file holds is not asked or failed by the other."""
    some = pocket_train.limit(6)
    settings = Settings(base_url="http://test/v1")
    requests = list(requests_for(some, settings))
    with serving(tmp_path) as url, Store(tmp_path / "store.sqlite") as other:
        assert all(other.claim(request.key) for request in requests[:3])
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(ask, some, tmp_path, url, concurrency=2)
            while books(url).get("requests", 0) < 3:
                time.sleep(0.02)
            time.sleep(0.5)
            assert not future.done()
            assert books(url)["requests"] == 3
            sample = Sample("SELECT 1", "stop", 1, 1, 1)
            other.settle(
                requests[0].key, requests[0].body, dict.fromkeys(range(3), sample), bound=3
            )
            for request in requests[:3]:
                other.unclaim(request.key)
            outcome = future.result(timeout=30)
        assert (outcome.requests, outcome.failed) == (5, {})
        assert books(url)["requests"] == 5
    assert missing(some, tmp_path) == 0


def test_requests_in_an_open_batch_are_not_asked(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(requests_for(shop, Settings(base_url="http://test/v1")))
    monkeypatch.setattr(Store, "batch_of", lambda _, key: "batch-7" if key == first.key else None)
    with serving(tmp_path) as url:
        outcome = ask(shop, tmp_path, url)
        assert books(url)["requests"] == 1
    assert "it is in batch batch-7" in outcome.failed[first.example.question_id]
    assert (outcome.samples, outcome.stopped, spent(tmp_path)) == (3, "", ONE)
    with Store(tmp_path / "store.sqlite") as other:
        assert other.claim(first.key)  # it was given back


def test_a_duplicate_question_is_asked_once(shop: Dataset, tmp_path: Path) -> None:
    twice = shop.with_examples([*shop, *shop])
    with serving(tmp_path, latency=0.1) as url:
        assert ask(twice, tmp_path, url, concurrency=8).requests == 2
        assert books(url)["requests"] == 2


def test_two_processes_on_one_cache_ask_nothing_twice(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from distill_sql.data.datasets import load_dataset\n"
        "from tests.teacher.test_client import ask\n"
        "outcome = ask(load_dataset('pocket', split='train').limit(120), Path(sys.argv[1]),\n"
        "              sys.argv[2], concurrency=8)\n"
        "assert not outcome.failed and not outcome.stopped, outcome\n"
    )
    with serving(tmp_path, latency=0.02) as url:
        command = [sys.executable, "-c", code, str(tmp_path), url]
        workers = [subprocess.Popen(command) for _ in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        found = books(url)
    assert (found["requests"], found["cost"]) == (120, spent(tmp_path))
    assert missing(pocket_train.limit(120), tmp_path) == 0


def test_a_cache_that_cannot_be_written_ends_the_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "settle", full)
    with serving(tmp_path) as url, pytest.raises(TeacherError, match="disk is full"):
        ask(shop, tmp_path, url)


@pytest.mark.parametrize("concurrency", [0, -1, 10**9])
def test_an_impossible_concurrency_is_an_error(
    shop: Dataset, tmp_path: Path, concurrency: int
) -> None:
    with pytest.raises(TeacherError, match=r"The concurrency is .*; expected 1 to 1000"):
        ask(shop, tmp_path, "http://127.0.0.1:9/v1", concurrency=concurrency)


def test_refusals_and_truncated_answers_are_stored(shop: Dataset, tmp_path: Path) -> None:
    choice = '{"message": {"content": null, "refusal": "I cannot"}, "finish_reason": "stop"}'
    usage = '{"prompt_tokens": 5, "completion_tokens": 2}'
    with serving(tmp_path, body=f'{{"choices": [{choice}], "usage": {usage}}}') as url:
        assert ask(shop, tmp_path, url).samples == 6
    settings = Settings(base_url="http://test/v1")
    with Store(tmp_path / "store.sqlite") as store:
        request = next(requests_for(shop, settings))
        assert [s.finish for s in store.samples(request.key, 3) if s] == ["refusal"] * 3


def test_an_interrupt_lets_pending_requests_finish(pocket_train: Dataset, tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        # A shell's background jobs ignore interrupts, and so would the tests' child.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from distill_sql.data.datasets import load_dataset\n"
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
        found = estimate_cost(requests_for(shop, settings), settings, store, PRICE)
    assert (found.requests, found.samples) == (2, 6)
    assert 0 < found.cost < found.bound


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples is 0; expected 1 to 128"),
        ({"samples": -1}, "samples is -1; expected"),
        ({"max_tokens": 0}, "max_tokens is 0; expected"),
        ({"max_tokens": 10**9}, "max_tokens is 1000000000; expected"),
        ({"temperature": math.nan}, "temperature is nan; expected 0 to 2"),
        ({"temperature": -0.1}, "temperature is -0.1; expected"),
        ({"reasoning_share": math.inf}, "reasoning_share is inf; expected"),
        ({"model": ""}, "The model is ''; expected the name of a model"),
        ({"model": "a\udcff"}, "expected the name of a model"),
        ({"base_url": "localhost:8000"}, "not the address of an endpoint"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        Settings(**values)

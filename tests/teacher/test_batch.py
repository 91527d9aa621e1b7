from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Request, Settings, Store, requests_for
from distill_sql.teacher import batch as batch_module
from distill_sql.teacher.batch import Batches
from distill_sql.teacher.handed_in import HandedIn
from tests.teacher.batch_endpoint import TEXT, FakeApi, cost_of, down, refused
from tests.teacher.endpoint import books, serving
from tests.teacher.old_cache import old_cache

SETTINGS = Settings(base_url="http://test/v1")
PRICE = Price(150, 600)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return list(requests_for(load_dataset("pocket", split="train").limit(12), SETTINGS))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite") as store:
        yield store


class Told(list[str]):
    """The output of a run as one text."""

    def __str__(self) -> str:
        return "\n".join(self)


def batches(store: Store, where: str | FakeApi, **options: Any) -> Batches:
    """Batches at a URL, or in this process."""
    usual: dict[str, Any] = {"say": Told().append, "price": PRICE, "api_key": "k", "size": 100}
    options = usual | options
    if isinstance(where, str):
        return Batches(SETTINGS, store, url=where, **options)
    with patch.object(batch_module, "BatchApi", lambda *_, **__: where):
        return Batches(SETTINGS, store, **options)


def unanswered(store: Store, requests: list[Request]) -> int:
    return sum(bool(store.missing(request.key, 3)) for request in requests)


def check_books(store: Store) -> None:
    """Check that the ledger is the cost of the answers plus the booked requests."""
    [(cost,)] = store.rows("SELECT coalesce(sum(cost), 0) FROM sample")
    [(booked,)] = store.rows("SELECT coalesce(sum(bound), 0) FROM batch_request")
    assert store.spent() == cost + booked


# --- Over HTTP ----------------------------------------------------------------------------------


def test_a_batch_is_submitted_once_and_fetched_by_a_later_run(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    some = pocket_train.limit(25)
    requests = list(requests_for(some, SETTINGS))
    with serving(tmp_path, prompt_price=75, completion_price=300) as url:
        with Store(tmp_path / "s.sqlite") as store:
            assert batches(store, url, size=10).submit(requests) == 3
            assert batches(store, url, size=10).submit(requests) == 0  # all of it is under way
        with Store(tmp_path / "s.sqlite") as store:  # another run
            booked = store.spent()
            assert len(batches(store, url).fetch(requests)) == 3
            assert store.spent() == booked
            assert batches(store, url).fetch(requests, wait=True, poll=0.01) == []
            assert not unanswered(store, requests)
            assert store.spent() == books(url)["cost"] < booked
            assert batches(store, url).submit(requests) == 0
            assert store.samples(requests[0].key, 3)[0] is not None
    assert store.path.exists()


def test_failed_requests_are_submitted_again(pocket_train: Dataset, tmp_path: Path) -> None:
    requests = list(requests_for(pocket_train.limit(10), SETTINGS))
    with (
        serving(tmp_path, half=True, prompt_price=75, completion_price=300) as url,
        Store(tmp_path / "s.sqlite") as store,
    ):
        made = batches(store, url)
        made.submit(requests)
        made.fetch(requests, wait=True, poll=0.01)
        assert unanswered(store, requests) == 5
        assert made.submit(requests) == 1
        made.fetch(requests, wait=True, poll=0.01)
        assert unanswered(store, requests) < 5
        assert store.spent() == books(url)["cost"]


def test_a_batch_over_budget_is_not_submitted(pocket_train: Dataset, tmp_path: Path) -> None:
    requests = list(requests_for(pocket_train.limit(10), SETTINGS))
    with serving(tmp_path) as url, Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(TeacherError, match="does not fit in the budget"):
            batches(store, url, cap=1000).submit(requests)
        assert books(url).get("requests", 0) == 0
        assert store.spent() == 0


def test_an_endpoint_that_is_down_costs_nothing_and_shows_no_secret(
    store: Store, requests: list[Request]
) -> None:
    url = "http://me:hunter22@127.0.0.1:9/v1"
    with pytest.raises(TeacherError, match=r"requests at http://127\.0\.0\.1:9/v1") as error:
        batches(store, url).submit(requests)
    assert "hunter22" not in str(error.value)
    assert store.spent() == 0
    assert batches(store, FakeApi()).submit(requests) == 1  # nothing stands in the way


# --- Whose answers they are ---------------------------------------------------------------------


@pytest.mark.parametrize("given", [0, 3, 12])
def test_fetching_does_not_depend_on_the_questions_given(
    store: Store, requests: list[Request], given: int
) -> None:
    api = FakeApi()
    batches(store, api).submit(requests)
    other = Settings(base_url="http://test/v1", seed=7, samples=1, max_tokens=9)
    with patch.object(batch_module, "BatchApi", lambda *_, **__: api):
        made = Batches(other, store, api_key="k", price=Price(0, 0), say=Told().append)
    assert made.fetch(requests[:given]) == []
    assert not unanswered(store, requests)
    assert store.spent() == api.cost
    check_books(store)


def test_a_duplicate_question_is_asked_once(store: Store, requests: list[Request]) -> None:
    api = FakeApi()
    batches(store, api).submit([*requests, *requests])
    assert api.sizes == [12]


def test_requests_of_another_process_are_left_out(store: Store, requests: list[Request]) -> None:
    api = FakeApi()
    with Store(store.path) as other:
        assert other.claim(requests[0].key)
        batches(store, api).submit(requests)
        assert api.sizes == [11]
        name = other.batch_of(requests[1].key)
        assert name == "batch-0"
        assert other.batch_of(requests[0].key) is None
        batches(store, api).fetch()
        assert other.batch_of(requests[1].key) is None
        assert other.claim(requests[1].key)  # what was handed in is given back


def test_a_batch_at_another_address_is_not_fetched(store: Store, requests: list[Request]) -> None:
    api, told = FakeApi(), Told()
    batches(store, api).submit(requests)
    other = Settings(base_url="http://other/v1")
    with patch.object(batch_module, "BatchApi", lambda *_, **__: FakeApi()):
        Batches(other, store, api_key="k", price=PRICE, say=told.append).fetch()
    assert "http://test/v1" in str(told)
    assert store.batch_of(requests[0].key) == "batch-0"
    with patch.object(batch_module, "BatchApi", lambda *_, **__: api):
        slash = Settings(base_url="http://test/v1/")  # the same address
        assert Batches(slash, store, api_key="k", price=PRICE, say=told.append).fetch() == []
    assert not unanswered(store, requests)


# --- Odd lines ----------------------------------------------------------------------------------

ANSWERED, BOOKED, FREE = "answered", "booked", "free"


def edited(answer: dict[str, Any], **changes: Any) -> bytes:
    body = answer["response"]["body"]
    return json.dumps(
        answer | {"response": {"status_code": 200, "body": {**body, **changes}}}
    ).encode()


def whole(answer: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(answer | changes).encode()


def response(answer: dict[str, Any], value: Any) -> bytes:
    return whole(answer, response=value)


CHOICE = {"message": {"content": TEXT}, "finish_reason": "stop"}
#: Kind of line -> how it is spoiled, and what becomes of its request.
KINDS: dict[str, tuple[Any, str]] = {
    "as it should be": (whole, ANSWERED),
    "a byte order mark": (lambda a: b"\xef\xbb\xbf" + whole(a), ANSWERED),
    "carriage return": (lambda a: whole(a) + b"\r", ANSWERED),
    "twice": (lambda a: whole(a) + b"\n" + whole(a), ANSWERED),
    "line separators": (
        lambda a: json.dumps(a | {"x": "a\u2028b\u2029\x85\x0b\x0c"}, ensure_ascii=False).encode(),
        ANSWERED,
    ),
    "no bytes of UTF-8": (lambda a: whole(a).replace(b"SELECT", b"SEL\xffECT"), ANSWERED),
    "a lone surrogate": (lambda a: whole(a).replace(b"SELECT", b"\\ud800SELECT"), ANSWERED),
    "a NUL": (lambda a: whole(a).replace(b"SELECT", b"\\u0000SELECT"), ANSWERED),
    "no usage": (lambda a: edited(a, usage=None), ANSWERED),
    "usage as text": (lambda a: edited(a, usage="80"), ANSWERED),
    "usage negative": (lambda a: edited(a, usage={"prompt_tokens": -1}), ANSWERED),
    "usage NaN": (lambda a: whole(a).replace(b": 80", b": NaN"), ANSWERED),
    "usage infinite": (lambda a: whole(a).replace(b": 80", b": 1e999"), ANSWERED),
    "status as text": (
        lambda a: response(a, a["response"] | {"status_code": "200"}), ANSWERED
    ),
    "no status": (lambda a: response(a, {"body": a["response"]["body"]}), ANSWERED),
    "too many choices": (lambda a: edited(a, choices=[CHOICE] * 9), ANSWERED),
    "choices of other types": (lambda a: edited(a, choices=[None, 7, {"message": 1}]), ANSWERED),
    "content as parts": (
        lambda a: edited(a, choices=[{"message": {"content": [{"type": "text", "text": TEXT}]}}]
                         * 3), ANSWERED,
    ),
    "cut": (lambda a: whole(a)[:150], BOOKED),
    "choices null": (lambda a: edited(a, choices=None), BOOKED),
    "choices empty": (lambda a: edited(a, choices=[]), BOOKED),
    "no body": (lambda a: response(a, {"status_code": 200}), BOOKED),
    "a body that is a list": (lambda a: response(a, {"status_code": 200, "body": [1]}), BOOKED),
    "a response that is a number": (lambda a: response(a, 7), BOOKED),
    "thousands of digits": (lambda a: whole(a).replace(b": 80", b": " + b"8" * 5000), BOOKED),
    "deep": (lambda a: whole(a).replace(b": 80", b": " + b"[" * 9000 + b"]" * 9000), BOOKED),
    "cut before its name ends": (lambda a: whole(a)[:40], BOOKED),
    "no name": (lambda a: whole(a, custom_id=None), BOOKED),
    "an unknown name": (lambda a: whole(a, custom_id=f"{'0' * 64}:0"), BOOKED),
    "another name": (lambda a: whole(a, custom_id="request-1"), BOOKED),
    "no object": (lambda a: b"[1, 2]", BOOKED),
    "no JSON": (lambda a: b"<html>", BOOKED),
    "no response": (lambda a: response(a, None), FREE),
    "an error": (
        lambda a: whole(a, response=None, error={"code": "x", "message": "batch expired"}), FREE
    ),
    "a refusal": (
        lambda a: response(a, {"status_code": 400, "body": {"error": {"message": "bad"}}}), FREE
    ),
    "a refusal as text": (lambda a: response(a, {"status_code": "429", "body": "slow"}), FREE),
    "missing": (lambda a: b"", FREE),
}  # fmt: skip


def spoil(kinds: list[str], *, in_errors: bool = False) -> Any:
    """Files with a line of each kind, followed by valid answers."""

    def write(found: list[dict[str, Any]]) -> tuple[bytes, bytes]:
        lines = [
            KINDS[kinds[place] if place < len(kinds) else "as it should be"][0](answer)
            for place, answer in enumerate(found)
        ]
        spoiled = len(kinds) if in_errors else 0
        return b"\n".join(lines[spoiled:]), b"\n".join(lines[:spoiled])

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_line_does_not_affect_other_answers(
    store: Store, requests: list[Request], kind: str
) -> None:
    api = FakeApi()
    api.write = spoil([kind])
    made = batches(store, api)
    made.submit(requests)
    bounds = {
        item.key: item.bound for item in HandedIn(store).items(number(store)).values() if item
    }
    assert made.fetch() == []
    check_books(store)
    usual = cost_of(json.loads(whole_answers(api)[1]))
    assert not unanswered(store, requests[1:])
    outcome = KINDS[kind][1]
    assert bool(store.missing(requests[0].key, 3)) == (outcome != ANSWERED)
    rest = store.spent() - 11 * usual
    if outcome == FREE:
        assert rest == 0
    elif outcome == BOOKED:
        assert rest == bounds[requests[0].key]
    else:
        assert usual <= rest <= bounds[requests[0].key]
    assert made.fetch() == []  # it is over
    assert store.spent() == rest + 11 * usual


def number(store: Store) -> str:
    (batch,) = HandedIn(store).under_way()
    return batch.id


def whole_answers(api: FakeApi) -> list[bytes]:
    return api.files[api.batches["batch-0"]["state"]["output_file_id"]].split(b"\n")


@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=12, max_size=12),
    in_errors=st.booleans(),
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_line_is_settled_separately(
    requests: list[Request], kinds: list[str], in_errors: bool
) -> None:
    api = FakeApi()
    api.write = spoil(kinds, in_errors=in_errors)
    with TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite") as store:
        made = batches(store, api)
        made.submit(requests)
        assert made.fetch() == []
        check_books(store)
        for kind, request in zip(kinds, requests, strict=True):
            answered = not store.missing(request.key, 3)
            assert answered == (KINDS[kind][1] == ANSWERED), kind
        if not in_errors:
            paid = sum(KINDS[kind][1] != FREE for kind in kinds)
            assert store.spent() >= paid * api.cost // 12
        # What has no answer is left for the next batch, and all that was booked too much is free.
        api.write = spoil([])
        made.fetch(requests, wait=True, poll=0)
        assert not unanswered(store, requests)
        check_books(store)


@given(output=st.binary(max_size=300), errors=st.binary(max_size=100), keys=st.booleans())
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_batch_with_any_file_can_be_fetched(
    requests: list[Request], output: bytes, errors: bytes, keys: bool
) -> None:
    api = FakeApi()
    api.write = lambda found: (
        b"".join(
            (f'{{"custom_id": "{answer["custom_id"]}", '.encode() if keys else b"") + output + b"\n"
            for answer in found
        ),
        errors,
    )
    with TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite") as store:
        made = batches(store, api)
        made.submit(requests)
        booked = store.spent()
        assert made.fetch() == []
        check_books(store)
        assert 0 <= store.spent() <= booked
        assert HandedIn(store).under_way() == []


def test_problems_are_reported_in_groups(store: Store, requests: list[Request]) -> None:
    api, told = FakeApi(), Told()
    api.write = spoil(["a refusal"] * 5 + ["an error"] * 3 + ["no usage"])
    made = batches(store, api, say=told.append)
    made.submit(requests)
    made.fetch()
    assert "5 lines: status 400: bad" in str(told)
    assert "3 lines: batch expired" in str(told)
    assert "8 requests have no answer" in str(told)


def test_an_answer_above_its_bound_ends_the_run_and_is_booked(
    store: Store, requests: list[Request]
) -> None:
    api = FakeApi()
    dear = {"prompt_tokens": 10**6, "completion_tokens": 10**6}
    api.write = lambda found: (b"\n".join(edited(a, usage=dear) for a in found), b"")
    made = batches(store, api, cap=10**9)
    made.submit(requests)
    with pytest.raises(TeacherError, match="12 requests of batch batch-0 cost more"):
        made.fetch()
    assert store.spent() == 12 * 10**6 * (75 + 300)
    assert not unanswered(store, requests)
    check_books(store)


# --- Interrupts and failures --------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 5, 11, 12])
def test_a_kill_between_two_lines_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, requests: list[Request], after: int
) -> None:
    api = FakeApi()
    with Store(tmp_path / "s.sqlite") as store:
        batches(store, api).submit(requests)
        lines = api.lines

        def killed(file: str) -> Iterator[bytes]:
            for place, line in enumerate(lines(file)):
                if place == after:
                    raise KeyboardInterrupt
                yield line
            raise KeyboardInterrupt

        with patch.object(api, "lines", killed), pytest.raises(KeyboardInterrupt):
            batches(store, api).fetch()
        check_books(store)
    with Store(tmp_path / "s.sqlite") as store:
        assert batches(store, api).fetch() == []
        assert not unanswered(store, requests)
        assert store.spent() == api.cost
        check_books(store)


def test_two_processes_that_fetch_the_same_batch_book_it_once(
    store: Store, requests: list[Request]
) -> None:
    api, lines = FakeApi(), FakeApi.lines
    batches(store, api).submit(requests)

    def interrupted(file: str) -> Iterator[bytes]:
        for place, line in enumerate(lines(api, file)):
            if place == 5:
                with Store(store.path) as other, patch.object(api, "lines", partial(lines, api)):
                    assert batches(other, api).fetch() == []
            yield line

    with patch.object(api, "lines", interrupted):
        assert batches(store, api).fetch() == []
    assert not unanswered(store, requests)
    assert store.spent() == api.cost
    check_books(store)


@pytest.mark.parametrize("call", ["state", "lines"])
def test_a_download_that_fails_leaves_the_batch_open(
    store: Store, requests: list[Request], call: str
) -> None:
    api = FakeApi()
    made = batches(store, api, size=6)
    made.submit(requests)
    booked = store.spent()
    for error in (down(), refused(404), refused(401)):
        api.failing[call] = [error]
        with pytest.raises(TeacherError):
            made.fetch()
    assert made.fetch() == []  # the others were fetched all the same
    assert store.spent() == api.cost < booked
    assert not unanswered(store, requests)


def test_files_that_the_endpoint_deleted_long_ago_stay_booked(
    store: Store, requests: list[Request]
) -> None:
    api = FakeApi()
    made = batches(store, api)
    made.submit(requests)
    booked = store.spent()
    with store.transaction() as db:
        db.execute("UPDATE batch SET created = 0")
    api.failing["lines"] = [refused(404)]
    assert made.fetch() == []
    assert store.spent() == booked
    check_books(store)
    assert made.submit(requests) == 1


@pytest.mark.parametrize("error", [down(), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["upload", "create", "created"])
def test_an_interrupted_submission_is_found_or_released(
    tmp_path: Path, requests: list[Request], call: str, error: BaseException
) -> None:
    api = FakeApi()
    api.failing[call] = [error]
    with Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(type(error)):
            batches(store, api).submit(requests)
        check_books(store)
    with Store(tmp_path / "s.sqlite") as store:
        made = batches(store, api)
        made.fetch(requests, wait=True, poll=0)
        assert not unanswered(store, requests)
        assert len(api.batches) == 1  # it is not handed in twice
        assert store.spent() == api.cost
        check_books(store)


def test_a_refused_batch_is_released_at_once(store: Store, requests: list[Request]) -> None:
    for call in ("upload", "create"):
        api = FakeApi()
        api.failing[call] = [refused(400)]
        with pytest.raises(TeacherError, match="status 400"):
            batches(store, api).submit(requests)
        assert store.spent() == 0
        assert HandedIn(store).under_way() == []


def test_unanswered_requests_of_an_expired_batch_are_free(
    store: Store, requests: list[Request]
) -> None:
    api = FakeApi()
    api.status = "expired"
    api.write = lambda found: (b"\n".join(map(whole, found[:7])), b"")
    made = batches(store, api)
    made.submit(requests)
    assert made.fetch(requests, wait=True, poll=0) == []
    assert unanswered(store, requests) == 5
    assert len(api.sizes) == 1  # not again in the same run, which might never end
    assert store.spent() == api.cost * 7 // 12
    assert made.submit(requests) == 1
    assert api.sizes == [12, 5]


# --- The queue ----------------------------------------------------------------------------------


def tokens(requests: list[Request]) -> int:
    return sum(len(m["content"].encode()) // 3 + 8 for r in requests for m in r.messages)


def test_submissions_fit_in_the_queue(store: Store, requests: list[Request]) -> None:
    api = FakeApi()
    api.looks = 1
    queue = max(tokens(requests[:4]), tokens(requests[4:8]), tokens(requests[8:]))
    made = batches(store, api, enqueued_tokens=queue)
    assert made.submit(requests) == 1
    assert made.submit(requests) == 0  # the queue is full
    assert made.fetch() == ["batch-0"]
    assert made.fetch() == []
    assert made.submit(requests) >= 1  # the same command goes on
    assert made.fetch(requests, wait=True, poll=0) == []
    assert not unanswered(store, requests)
    sent = [record["custom_id"] for made in api.batches.values() for record in made["records"]]
    assert len(sent) == len(set(sent)) == 12
    assert max(api.sizes) < 12
    assert store.spent() == api.cost


@pytest.mark.parametrize("queue", [1, 2, 3, 5, 8, 12])
def test_a_batch_that_is_too_large_is_followed_by_smaller_ones(
    store: Store, requests: list[Request], queue: int
) -> None:
    api, told = FakeApi(), Told()
    api.queue = queue
    made = batches(store, api, say=told.append)
    made.submit(requests)
    assert made.fetch(requests, wait=True, poll=0) == []
    assert not unanswered(store, requests)
    assert store.spent() == api.cost
    check_books(store)
    failed = [size for size in api.sizes if size > queue]
    assert failed == sorted(set(failed), reverse=True)  # none of a size that failed before
    assert ("token_limit_exceeded" in str(told)) == (queue < 12)


def test_a_later_run_remembers_the_size_that_failed(
    tmp_path: Path, requests: list[Request]
) -> None:
    api = FakeApi()
    api.queue = 4
    for _ in range(12):  # as without --wait
        with Store(tmp_path / "s.sqlite") as store:
            made = batches(store, api)
            made.fetch(requests)
            made.submit(requests)
    failed = [size for size in api.sizes if size > 4]
    assert failed == sorted(set(failed), reverse=True)
    with Store(tmp_path / "s.sqlite") as store:
        assert not unanswered(store, requests)


def test_one_request_that_is_too_large_ends_the_run(store: Store, requests: list[Request]) -> None:
    api = FakeApi()
    api.queue = 0
    made = batches(store, api)
    made.submit(requests)
    with pytest.raises(TeacherError, match="of 1 requests failed: token_limit_exceeded"):
        made.fetch(requests, wait=True, poll=0)
    assert api.sizes == sorted(set(api.sizes), reverse=True)
    assert store.spent() == 0
    check_books(store)


@pytest.mark.parametrize(
    "errors",
    [
        [{"code": "model_not_found", "message": "The provided model 'm' is not there.", "line": 1}],
        [{"code": "billing_hard_limit_reached", "message": "Billing hard limit was reached."}],
        [{"message": "odd"}, "text", None, {"code": 7}],
    ],
)
def test_a_failure_of_any_size_ends_the_run_with_its_errors(
    store: Store, requests: list[Request], errors: list[Any]
) -> None:
    api, told = FakeApi(), Told()
    api.errors = errors
    made = batches(store, api, say=told.append)
    made.submit(requests)
    with pytest.raises(TeacherError, match="Nothing was charged"):
        made.fetch(requests, wait=True, poll=0)
    assert str(errors[0]["message"]) in str(told)
    assert api.sizes == [12]
    assert store.spent() == 0
    made.submit(requests)
    assert api.sizes[1] < 12


def test_files_keep_the_size_limit(
    store: Store, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi()
    monkeypatch.setattr(batch_module, "FILE_SIZE", 20_000)
    batches(store, api).submit(requests)
    files = list(api.files.values())
    assert len(files) > 1
    assert max(map(len, files)) <= 20_000
    assert sum(api.sizes) == 12


def test_requests_over_budget_wait_for_pending_batches(
    store: Store, requests: list[Request]
) -> None:
    api = FakeApi()
    bound = 75 * requests[0].prompt_bound + 300 * 3 * 512
    made = batches(store, api, size=4, cap=5 * bound)
    assert made.submit(requests) == 1
    assert made.fetch(requests, wait=True, poll=0) == []
    assert not unanswered(store, requests)
    assert api.sizes == [4, 4, 4]


# --- A cache of layout 1 ------------------------------------------------------------------------


def test_a_batch_of_layout_1_is_fetched_by_its_file(
    tmp_path: Path, requests: list[Request]
) -> None:
    api = FakeApi()
    records = [
        {"custom_id": f"{request.key.hex()}:0,2", "method": "POST", "url": "/v1/chat/completions",
         "body": {**request.body, "n": 2}} for request in requests
    ]  # fmt: skip
    api.create(api.upload("\n".join(map(json.dumps, records)).encode()))
    path = tmp_path / "old.sqlite"
    with old_cache(path) as db:
        db.execute("INSERT INTO batch VALUES ('batch-0', 10000001, 'open')")
        db.execute("UPDATE spend SET total = 10000001")
    api.write = spoil(["as it should be", "cut"])
    with Store(path) as store:
        assert batches(store, api).fetch() == []
        assert [store.missing(r.key, 3) for r in requests[:3]] == [[1], [0, 1, 2], [1]]
        check_books(store)
        assert store.spent() == api.cost * 11 // 12 + 10_000_001 // 12 + 1

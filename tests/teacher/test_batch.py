from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Price, Settings, Store, requests_for
from distill_sql.teacher.batch import Batches
from tests.teacher.endpoint import books, serving

SETTINGS = Settings(base_url="http://test/v1")
HALF = Price(75, 300)


def batches(store: Store, url: str, *, cap: int | None = None, size: int = 10) -> Batches:
    return Batches(
        SETTINGS, store, api_key="sk-test", price=Price(150, 600), cap=cap, url=url, size=size,
        say=lambda text: None,
    )  # fmt: skip


def test_a_batch_is_handed_in_once_and_fetched_by_a_later_run(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    some = pocket_train.limit(25)
    requests = list(requests_for(some, SETTINGS))
    prices = {"prompt_price": 75, "completion_price": 300}
    with serving(tmp_path, **prices) as url:
        with Store(tmp_path / "s.sqlite") as store:
            assert batches(store, url).submit(requests) == 3
            with pytest.raises(TeacherError, match="A batch is under way"):
                batches(store, url).submit(requests)
        with Store(tmp_path / "s.sqlite") as store:  # another run
            booked = store.spent()
            assert len(batches(store, url).fetch(requests)) == 3
            assert store.spent() == booked
            assert batches(store, url).fetch(requests, wait=True, poll=0.01) == []
            assert not any(store.missing(request.key, 3) for request in requests)
            assert store.spent() == books(url)["cost"] < booked
            assert batches(store, url).submit(requests) == 0
            assert store.samples(requests[0].key, 3)[0] is not None
    assert store.path.exists()


def test_what_failed_is_handed_in_again(pocket_train: Dataset, tmp_path: Path) -> None:
    requests = list(requests_for(pocket_train.limit(10), SETTINGS))
    with (
        serving(tmp_path, half=True, prompt_price=75, completion_price=300) as url,
        Store(tmp_path / "s.sqlite") as store,
    ):
        made = batches(store, url, size=100)
        made.submit(requests)
        made.fetch(requests, wait=True, poll=0.01)
        assert sum(bool(store.missing(request.key, 3)) for request in requests) == 5
        assert made.submit(requests) == 1
        made.fetch(requests, wait=True, poll=0.01)
        assert sum(bool(store.missing(request.key, 3)) for request in requests) < 5
        assert store.spent() == books(url)["cost"]


def test_a_batch_that_does_not_fit_in_the_budget_is_not_handed_in(
    pocket_train: Dataset, tmp_path: Path
) -> None:
    requests = list(requests_for(pocket_train.limit(10), SETTINGS))
    with serving(tmp_path) as url, Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(TeacherError, match="does not fit in the budget"):
            batches(store, url, cap=1000).submit(requests)
        assert books(url).get("requests", 0) == 0
        assert store.spent() == 0

"""Planning, asking and judging in one go, against a scripted endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sql.data.datasets import Dataset
from distill_sql.errors import TeacherError
from distill_sql.teacher import Settings, Store, embedded, sampling
from distill_sql.teacher.open_model import OpenModel
from distill_sql.teacher.prices import Price
from distill_sql.teacher.sampling import Sampling, ask, judge, plan_sampling
from distill_sql.teacher.settings import settings_for
from distill_sql.teacher.traces import read_traces
from tests.teacher.endpoint import books, serving

RIGHT = "```sql\nSELECT count(*) FROM customer\n```"
WRONG = "```sql\nSELECT count(*) FROM orders\n```"


def count_words(text: str) -> int:
    return len(text.split())


class Named:
    """A server that was started, and does not end by itself."""

    ended = ""

    def __init__(self, url: str) -> None:
        self.url = url

    def on_end(self, tell: Callable[[str], None]) -> None:
        pass


@pytest.fixture
def train(shop: Dataset) -> Dataset:
    return replace(shop, split="train")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-test ")


def planned(dataset: Dataset, url: str = "http://127.0.0.1:9/v1", **options: object) -> Sampling:
    settings = Settings("m", url, samples=2, reasoning_share=0)
    return plan_sampling(dataset, settings, count=count_words, **options)  # type: ignore[arg-type]


def test_the_questions_of_a_plan(train: Dataset, shop: Dataset, pocket_train: Dataset) -> None:
    assert {e.question_id for e in planned(train).questions} == {0, 1}
    assert len(planned(train, limit=1).questions) == 1
    assert len(planned(shop).questions) == 0, "only training questions are asked"
    lost = replace(train.examples[0], question_id=2, db_id="lost")
    with_lost = replace(
        train,
        examples=(*train.examples, lost),
        schemas={**train.schemas, "lost": train.schema("shop")},
    )
    assert {e.question_id for e in planned(with_lost).questions} == {0, 1}
    # One of each of pocket's databases, unless the embedded teacher reads each schema once.
    one_each = planned(pocket_train, limit=18).questions
    assert len(one_each.db_ids) == 18
    numbers = [e.question_id for e in planned(pocket_train, embedded.BASE_URL).questions]
    assert numbers == sorted(numbers)
    assert len(numbers) == len(pocket_train)


@pytest.mark.parametrize(
    ("key", "budget", "prices", "may"),
    [
        ("sk-test", 1.0, (1.0, 1.0), True),
        ("sk-test", 0.0, (1.0, 1.0), False),
        ("", 1.0, (1.0, 1.0), False),
        ("sk-test", 0.0, (0.0, 0.0), True),
        ("", 0.0, (0.0, 0.0), False),
    ],
)
def test_an_endpoint_is_asked_with_a_key_and_a_budget_or_for_nothing(
    train: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    key: str, budget: float, prices: tuple[float, float], may: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", key)
    plan = planned(train, budget=budget, prices=prices)
    assert plan.may_ask is may
    if not may:
        with Store(tmp_path / "s.sqlite") as store:
            assert ask(plan, store) is None
            assert not list(store.export())


def test_the_embedded_teacher_needs_neither(
    train: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    plan = planned(train, embedded.BASE_URL)
    assert (plan.is_embedded, plan.may_ask, plan.price) == (True, True, Price(0, 0))


def test_an_open_teacher_needs_neither_and_reads_each_schema_once(
    pocket_train: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its answers cost hours, so they are stored with those that were paid for."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path))
    settings = settings_for("spider", model="coder-1.5b")
    plan = plan_sampling(pocket_train, settings, count=count_words, limit=40)
    assert (plan.is_open, plan.is_embedded, plan.may_ask) == (True, False, True)
    assert plan.price == Price(0, 0)
    numbers = [e.question_id for e in plan.questions]
    assert numbers == sorted(numbers)
    fair = planned(pocket_train, limit=40).questions
    assert set(numbers) == {e.question_id for e in fair}
    with plan.open_store() as store:
        assert store.path == tmp_path / "teacher.sqlite"


def test_a_model_of_unknown_price_is_refused(train: Dataset) -> None:
    settings = settings_for("spider", model="m", base_url="https://example.org/v1")
    with pytest.raises(TeacherError, match="No price is known"):
        plan_sampling(train, settings, count=count_words)


def test_neither_the_key_nor_a_login_is_shown(train: Dataset) -> None:
    plan = planned(train, base_url="http://me:secret@127.0.0.1:9/v1")
    assert plan.key == "sk-test"
    assert "sk-test" not in repr(plan)
    assert "secret" not in repr(plan)


def test_answers_are_asked_once_and_judged_without_a_key(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path))
    out = tmp_path / "traces.jsonl"
    answers = {"How many customers": [WRONG, RIGHT]}
    with Store(tmp_path / "s.sqlite") as store:
        with serving(tmp_path, answers=answers, default=WRONG) as url:
            plan = planned(train, url)
            outcome = ask(plan, store)
            again = ask(planned(train, url), store)
            assert books(url)["requests"] == 2
        assert outcome is not None
        assert again is not None
        assert (outcome.requests, outcome.samples, again.samples) == (2, 4, 0)
        monkeypatch.delenv("OPENAI_API_KEY")
        stored = planned(train, url)
        assert ask(stored, store) is None
        judged = {one.question_id: one for one in judge(stored, store, out, neighbours=2)}
    assert judged[0].reasons == ("wrong rows", "")
    assert not judged[1].kept
    assert [trace.sql for trace in read_traces(out)] == ["SELECT count(*) FROM customer"]
    head = out.with_name("traces.jsonl.judged.jsonl").read_text().splitlines()[0]
    assert f"2 neighbours, {stored.settings}" in head


def test_without_stored_answers_nothing_is_judged(train: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "traces.jsonl"
    out.write_text("an earlier build's\n")
    with Store(tmp_path / "s.sqlite") as store:
        assert judge(planned(train), store, out, neighbours=2) == []
    assert out.read_text() == "an earlier build's\n"
    assert not out.with_name("traces.jsonl.judged.jsonl").exists()


def test_the_embedded_teacher_is_served_and_has_a_store_of_its_own(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_SQL_CACHE", str(tmp_path / "cache"))
    served = []

    @contextmanager
    def stand_in() -> Iterator[Named]:
        with serving(tmp_path, default=RIGHT) as url:
            served.append(url)
            yield Named(url)

    monkeypatch.setattr(sampling.embedded, "running", stand_in)
    plan = planned(train, embedded.BASE_URL)
    with plan.open_store() as store:
        outcome = ask(plan, store)
        again = ask(plan, store)
        assert store.path == tmp_path / "book" / ".work" / "teacher.sqlite"
        # Answers are filed under the embedded teacher, not under the port of this run.
        assert not any(store.missing(request.key, 2) for request in plan.requests)
    assert outcome is not None
    assert outcome.samples == 4
    assert again is not None
    assert again.samples == 0
    assert len(served) == 1, "nothing was missing the second time, so no server was started"
    with planned(train).open_store() as store:
        assert store.path == tmp_path / "cache" / "teacher.sqlite"


def test_a_server_that_ended_fails_the_chapter_and_the_next_run_goes_on(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending(Named):
        """It ends as soon as the first answers are stored."""

        def on_end(self, tell: Callable[[str], None]) -> None:
            self.ended = "the endpoint of x ended (killed)"
            store.tell = lambda: tell(self.ended)

    class Watched(Store):
        def settle(self, *arguments: Any, **options: Any) -> None:
            super().settle(*arguments, **options)
            self.tell()

        def tell(self) -> None:
            pass

    @contextmanager
    def stand_in(_: object) -> Iterator[Named]:
        with serving(tmp_path, default=RIGHT) as url:
            yield Ending(url)

    monkeypatch.setattr(OpenModel, "serving", stand_in)
    monkeypatch.setattr(OpenModel, "at_once", 1)
    settings = replace(settings_for("spider", model="coder-1.5b"), samples=2)
    plan = plan_sampling(train, settings, count=count_words)
    with Watched(tmp_path / "s.sqlite") as store:
        with pytest.raises(TeacherError, match=r"^The endpoint of x .* The 2 answers until then"):
            ask(plan, store)
        assert [len(store.missing(r.key, 2)) for r in plan.requests] == [0, 2]
        with pytest.raises(TeacherError):  # it ends again, but all is answered
            ask(plan, store)
        assert not any(store.missing(r.key, 2) for r in plan.requests)
        assert ask(plan, store) is not None

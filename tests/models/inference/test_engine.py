"""The engine: batching, errors, cancelled requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from distill_sql.prompting.tokenizer import ChatTokenizer

pytest.importorskip("torch", reason="the extra train is not installed")

from distill_sql.models.inference import engine as module
from distill_sql.models.inference.engine import (
    BusyError,
    CompletionRequest,
    Engine,
    groups,
    sampler,
)

PATIENCE = 5.0


class Fake:
    """Generates the token 5 until ``max_tokens``; a test can make it wait before each token."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.encode("<|im_end|>")[0]
        self.begun: list[list[tuple[int, ...]]] = []
        self.steps = 0
        self.entered = Event()
        self.go = Event()
        self.go.set()
        self.error: BaseException | None = None

    def complete(
        self,
        prefix: Sequence[int],
        suffixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        finished: Callable[[Sequence[int]], bool],
        choose: Any,
        copies: int,
    ) -> list[list[int]]:
        import torch

        self.begun.append([(*prefix, *suffix) for suffix in suffixes])
        if self.error:
            raise self.error
        answers: list[list[int]] = [[] for _ in range(len(suffixes) * copies)]
        open_ones = list(range(len(answers)))
        for _ in range(max_tokens):
            self.entered.set()
            assert self.go.wait(PATIENCE)
            self.steps += 1
            logits = torch.zeros(len(open_ones), self.end + 9)
            logits[:, 5] = 1.0
            tokens = choose(logits, open_ones).tolist()
            drawn = list(zip(open_ones, tokens, strict=True))
            open_ones = [answer for answer, token in drawn if token != self.end]
            for answer in open_ones:
                answers[answer].append(5)
            if not open_ones:
                break
        return answers


@pytest.fixture
def fake(tiny_tokenizer: ChatTokenizer) -> Fake:
    return Fake(tiny_tokenizer)


@contextmanager
def running(fake: Fake, **options: Any) -> Iterator[Engine]:
    engine = Engine(fake, **options)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        fake.go.set()
        engine.close()


def asked(
    *ids: int, temperature: float = 0.0, samples: int = 1, max_tokens: int = 3
) -> CompletionRequest:
    return CompletionRequest(ids, samples, temperature, max_tokens)


def test_draws_follow_the_softmax() -> None:
    import torch

    logits = torch.tensor([[2.0, 1.0, 0.0]])
    choose = sampler([7], 0.5)
    assert choose is not None
    drawn = torch.cat([choose(logits, [0]) for _ in range(4000)])
    found = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(found, (logits[0] / 0.5).softmax(0), atol=0.025, rtol=0)
    assert sampler([7], 0.0) is None


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40, 1e-9])
def test_hardly_any_temperature_is_greedy(temperature: float) -> None:
    import torch

    choose = sampler([7], temperature)
    assert choose is not None
    logits = torch.tensor([[900.0, 1000.0, 999.0, -1000.0]])
    assert {int(choose(logits, [0])) for _ in range(50)} == {1}


def test_requests_that_begin_alike_are_answered_together() -> None:
    first, second = asked(1, 2, 3, 4), asked(1, 2, 3, 5)
    other, hotter = asked(7, 8, 9, 9), asked(1, 2, 3, 4, temperature=1.0)
    assert groups([first, other, hotter, second]) == [[first, second], [other], [hotter]]


def test_requests_of_like_length_are_answered_together() -> None:
    lengths = [9, 4, 8, 5, 7, 6, 5, 9, 4, 6]
    many = [CompletionRequest((1,) * 9 + (n,) * n, 16, 0.3, 64) for n in lengths]
    found = [[len(asked.ids) - 9 for asked in group] for group in groups(many)]
    assert found == [[4, 4, 5, 5, 6], [6, 7, 8, 9, 9]]
    sevens = groups([CompletionRequest((1, 2, n), 7, 0.3, 64) for n in range(27)])
    assert [len(group) for group in sevens] == [9, 9, 9]  # two of them would hold 98 rows


def test_requests_that_come_one_after_the_other_are_one_batch(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER", 0.3)
    monkeypatch.setattr(module, "GATHER_MOST", PATIENCE)
    with running(fake) as engine:
        some = []
        for last in range(4, 9):  # together they take longer than one wait
            some.append(engine.submit(asked(1, 2, 3, last)))
            time.sleep(0.1)
        assert all(done.result(PATIENCE) for done in some)
    assert [len(batch) for batch in fake.begun] == [5]


def test_a_batch_does_not_wait_for_ever(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER", PATIENCE)
    monkeypatch.setattr(module, "GATHER_MOST", 0.2)
    with running(fake) as engine:
        some = []
        for last in range(4, 14):
            some.append(engine.submit(asked(1, 2, 3, last)))
            time.sleep(0.1)
        assert some[0].result(PATIENCE)
    assert len(fake.begun) > 1


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), BaseException("a panic")])
def test_the_engine_outlives_an_error(fake: Fake, error: BaseException) -> None:
    with running(fake) as engine:
        fake.error = error
        both = [engine.submit(asked(1, 2, 3, last)) for last in (4, 5)]
        assert [done.exception(PATIENCE) for done in both] == [error, error]
        fake.error = None
        assert engine.submit(asked(1, 2)).result(PATIENCE) == [[5, 5, 5]]


def test_the_engine_outlives_an_error_before_any_batch(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise TypeError("not sortable")

    with running(fake) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(module, "groups", broken)
            assert isinstance(engine.submit(asked(1, 2)).exception(PATIENCE), TypeError)
        assert engine.submit(asked(1, 2)).result(PATIENCE) == [[5, 5, 5]]


def test_a_cancelled_request_is_not_begun(fake: Fake) -> None:
    fake.go.clear()
    with running(fake) as engine:
        first = engine.submit(asked(1, 2))
        assert fake.entered.wait(PATIENCE)
        unwanted, wanted = engine.submit(asked(3, 4)), engine.submit(asked(5, 6))
        assert unwanted.cancel()
        fake.go.set()
        assert wanted.result(PATIENCE) == first.result(PATIENCE) == [[5, 5, 5]]
    assert fake.begun == [[(1, 2)], [(5, 6)]]


def test_a_request_cancelled_during_another_batch_is_not_begun(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER", 0.2)
    fake.go.clear()
    with running(fake) as engine:
        first, unwanted = engine.submit(asked(1, 2)), engine.submit(asked(3, 4))
        assert fake.entered.wait(PATIENCE)
        unwanted.cancel()
        fake.go.set()
        assert first.result(PATIENCE)
        assert engine.submit(asked(5, 6)).result(PATIENCE)
    assert fake.begun == [[(1, 2)], [(5, 6)]]


def test_a_batch_that_nobody_wants_stops(fake: Fake) -> None:
    fake.go.clear()
    with running(fake) as engine:
        both = [engine.submit(asked(1, 2, 3, last, max_tokens=1000)) for last in (4, 5)]
        assert fake.entered.wait(PATIENCE)
        assert all(done.cancel() for done in both)
        fake.go.set()
        assert engine.submit(asked(9, 9)).result(PATIENCE)
    assert fake.steps <= 1 + 3


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_the_rest_of_a_batch_goes_on(fake: Fake, temperature: float) -> None:
    fake.go.clear()
    with running(fake) as engine:
        some = [
            engine.submit(asked(1, 2, 3, last, samples=2, temperature=temperature))
            for last in (4, 5)
        ]
        assert fake.entered.wait(PATIENCE)
        some[0].cancel()
        fake.go.set()
        assert some[1].result(PATIENCE) == [[5, 5, 5], [5, 5, 5]]
    assert fake.begun == [[(1, 2, 3, 4), (1, 2, 3, 5)]]


def test_unanswered_requests_are_bounded(fake: Fake) -> None:
    fake.go.clear()
    with running(fake, waiting=2) as engine:
        first = engine.submit(asked(1, 2))
        assert fake.entered.wait(PATIENCE)
        second = engine.submit(asked(3, 4))
        with pytest.raises(BusyError):
            engine.submit(asked(5, 6))
        second.cancel()  # it takes no place any more
        third = engine.submit(asked(5, 6))
        fake.go.set()
        assert first.result(PATIENCE) == third.result(PATIENCE) == [[5, 5, 5]]
        assert engine.submit(asked(7, 8)).result(PATIENCE)


def test_closing_cancels_what_waits(fake: Fake) -> None:
    fake.go.clear()
    with running(fake) as engine:
        begun = engine.submit(asked(1, 2, max_tokens=1000))
        assert fake.entered.wait(PATIENCE)
        waiting = engine.submit(asked(3, 4))
    for done in (begun, waiting):
        with pytest.raises(CancelledError):
            done.result(PATIENCE)
    assert fake.begun == [[(1, 2)]]
    assert fake.steps <= 2
    with pytest.raises(BusyError):
        engine.submit(asked(1, 2))

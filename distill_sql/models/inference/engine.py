"""Answers concurrent requests to one model in batches.

The common prefix of a batch's prompts, usually a schema, is computed once. A sample depends only on
its request and its number, not on the other requests of the batch. A cancelled request is not
started, or stops at its next token.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Condition, Thread
from typing import TYPE_CHECKING

from distill_sql.models.generation import shared_prefix
from distill_sql.models.protocol import ClosingFence

if TYPE_CHECKING:
    import torch

    from distill_sql.models.inference.torch_student import Choice, TorchStudent

#: The most answers in a batch.
ROWS = 96
#: Seconds without a new request after which a batch begins, and the most seconds that it waits.
GATHER, GATHER_MOST = 0.02, 0.5
#: The share of a prompt that must be common for two requests to be in one batch.
COMMON = 0.5
#: The most requests that may be unanswered at the same time.
WAITING = 256
#: The lowest temperature: a lower one could overflow, and is greedy decoding in effect.
COLDEST = 1e-6


class BusyError(Exception):
    """The queue is full, or the engine is closed."""


@dataclass(frozen=True)
class CompletionRequest:
    """One request: prompt token ids, sampling settings, and the future of its answers.

    ``stop`` holds strings; an answer is cut before the first one that occurs in it.
    """

    ids: tuple[int, ...]
    samples: int
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    done: Future[list[list[int]]] = field(default_factory=Future, compare=False)

    @property
    def settings(self) -> tuple[float, int, int]:
        """The settings that requests in one batch share."""
        return self.temperature, self.max_tokens, self.samples


class Engine:
    """Answers requests in its own thread until it is closed.

    ``waiting`` is the most requests that may be unanswered at the same time.
    """

    def __init__(self, student: TorchStudent, *, waiting: int = WAITING) -> None:
        self.student = student
        self._most = waiting
        self._finished = ClosingFence(student.tokenizer)
        self._end = student.tokenizer.encode("<|im_end|>")[0]
        self._unanswered: list[CompletionRequest] = []
        self._waiting: list[CompletionRequest] = []
        self._changed = Condition()
        self._closed = False
        self._worker = Thread(target=self._work, daemon=True)
        self._worker.start()

    def submit(self, request: CompletionRequest) -> Future[list[list[int]]]:
        """Queue a request and return the future of its answers, as token ids.

        Cancelling the future stops the request. Raises :class:`BusyError` if too many requests are
        unanswered.
        """
        with self._changed:
            self._unanswered = _unanswered(self._unanswered)
            if self._closed or len(self._unanswered) >= self._most:
                raise BusyError
            self._unanswered.append(request)
            self._waiting.append(request)
            self._changed.notify_all()
        return request.done

    def close(self) -> None:
        """Cancel unanswered requests and end the thread."""
        with self._changed:
            self._closed = True
            for request in self._unanswered:
                request.done.cancel()
            self._changed.notify_all()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._gather()
                if self._closed:
                    return
                waiting, self._waiting = _unanswered(self._waiting), []
            # No error of a request may end the thread. A panic in the tokenizer, which is written
            # in Rust, is not an Exception.
            try:
                found = groups(waiting)
            except BaseException as error:
                _fail(waiting, error)
                continue
            for group in found:
                group = _unanswered(group)
                try:
                    if group:
                        self._answer(group)
                except BaseException as error:
                    _fail(group, error)

    def _gather(self) -> None:
        """Wait for the requests that a client sends together; the lock is held."""
        end, known = time.monotonic() + GATHER_MOST, 0
        while known < len(self._waiting) and not self._closed and time.monotonic() < end:
            known = len(self._waiting)
            self._changed.wait(GATHER)  # until a request comes

    def _answer(self, group: list[CompletionRequest]) -> None:
        prefix = shared_prefix([request.ids for request in group])
        rows = [(request, number) for request in group for number in range(request.samples)]
        draw = sampler([_seed(*row) for row in rows], group[0].temperature)
        outputs = self.student.complete(
            group[0].ids[:prefix],
            [request.ids[prefix:] for request in group],
            copies=group[0].samples,
            max_tokens=group[0].max_tokens,
            finished=self._finished,
            choose=_unless_cancelled(draw, [request for request, _ in rows], self._end),
        )
        answers = iter(outputs)
        for request in group:
            found = [next(answers) for _ in range(request.samples)]
            with suppress(InvalidStateError):  # it was cancelled
                request.done.set_result(found)


def _unanswered(some: Sequence[CompletionRequest]) -> list[CompletionRequest]:
    return [request for request in some if not request.done.done()]


def _fail(some: Sequence[CompletionRequest], error: BaseException) -> None:
    for request in some:
        with suppress(InvalidStateError):  # it was cancelled
            request.done.set_exception(error)


def _unless_cancelled(draw: Choice | None, owners: Sequence[CompletionRequest], end: int) -> Choice:
    """Chooses next tokens by ``draw`` (None: greedy); answers to cancelled requests end."""
    import torch

    def choose(logits: torch.Tensor, answers: list[int]) -> torch.Tensor:
        tokens = draw(logits, answers) if draw else logits.argmax(-1)
        cancelled = [owners[answer].done.cancelled() for answer in answers]
        if any(cancelled):
            tokens[torch.tensor(cancelled, device=tokens.device)] = end
        return tokens

    return choose


def groups(waiting: Sequence[CompletionRequest]) -> list[list[CompletionRequest]]:
    """Batches of requests with the same settings, a common prefix and similar lengths.

    Rows are padded to the longest one, so requests are sorted by length and cut into batches of
    about the same size.
    """
    alike: list[list[CompletionRequest]] = []
    for request in sorted(waiting, key=lambda one: (one.settings, one.ids)):
        if alike and _alike(alike[-1][0], request):
            alike[-1].append(request)
        else:
            alike.append([request])
    found = []
    for some in alike:
        some.sort(key=lambda one: len(one.ids))
        pieces = -(-len(some) // (ROWS // some[0].samples))
        cuts = [len(some) * piece // pieces for piece in range(pieces + 1)]
        found += [some[start:end] for start, end in pairwise(cuts)]
    return found


def _alike(first: CompletionRequest, other: CompletionRequest) -> bool:
    common = shared_prefix([first.ids, other.ids])
    return first.settings == other.settings and common >= COMMON * len(other.ids)


def _seed(request: CompletionRequest, number: int) -> int:
    text = json.dumps([request.ids, request.temperature, number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def sampler(seeds: Sequence[int], temperature: float) -> Choice | None:
    """Samples the next token of each answer with its own generator; None (greedy) at temperature 0.

    The argmax of logits plus Gumbel noise is a sample from their softmax (Gumbel, 1954).
    """
    import torch

    if temperature == 0:
        return None
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    scale = max(temperature, COLDEST)

    def choose(logits: torch.Tensor, answers: list[int]) -> torch.Tensor:
        even = torch.stack(
            [torch.rand(logits.shape[-1], generator=draws[answer]) for answer in answers]
        )
        noise = -torch.log(-torch.log(even.clamp(1e-20, 1 - 1e-7)))
        return (logits.float().cpu() / scale + noise).argmax(-1).to(logits.device)

    return choose

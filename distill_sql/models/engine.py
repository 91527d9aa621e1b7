"""Answering requests on one model, those that wait at the same time in one batch.

What the prompts of a batch begin with in common, a schema as a rule, is computed once. A request's
samples depend on its own text and their number only, whatever else is asked meanwhile. A request
that is cancelled is not begun, or stops at its next token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Condition, Thread
from typing import TYPE_CHECKING, TypeAlias

from distill_sql.models.generation import shared_prefix
from distill_sql.models.protocol import ClosingFence

if TYPE_CHECKING:
    import torch

    from distill_sql.models.torch_student import TorchStudent

#: Chooses next tokens from logits, a row an answer, and the answers that these are of.
Choice: TypeAlias = "Callable[[torch.Tensor, list[int]], torch.Tensor]"

#: Answers that are written at the same time, at most.
ROWS = 96
#: Seconds that the first of several requests waits for others.
GATHER = 0.02
#: Share of a prompt that must be common for two requests to be answered together.
COMMON = 0.5
#: Requests that may be unanswered at the same time.
WAITING = 256
#: What logits are divided by at least: less would overflow, and draws the likeliest token anyway.
COLDEST = 1e-6


class BusyError(Exception):
    """As many requests wait as may, or the engine is closed."""


@dataclass(frozen=True)
class Asked:
    """One request: prompt as token ids, how many samples, how they are drawn, where they go.

    ``stop`` are texts that an answer is cut before.
    """

    ids: tuple[int, ...]
    samples: int
    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    done: Future[list[list[int]]] = field(default_factory=Future, compare=False)

    @property
    def drawn(self) -> tuple[float, int, int]:
        """What two requests must have in common to be answered together."""
        return self.temperature, self.max_tokens, self.samples


class Engine:
    """Answers requests in a thread of its own, until it is closed.

    ``waiting`` is the most requests that may be unanswered at the same time.
    """

    def __init__(self, student: TorchStudent, *, waiting: int = WAITING) -> None:
        self.student = student
        self._most = waiting
        self._finished = ClosingFence(student.tokenizer)
        self._end = student.tokenizer.encode("<|im_end|>")[0]
        self._unanswered: list[Asked] = []
        self._waiting: list[Asked] = []
        self._changed = Condition()
        self._closed = False
        self._worker = Thread(target=self._work, daemon=True)
        self._worker.start()

    def submit(self, asked: Asked) -> Future[list[list[int]]]:
        """The request's answers as token ids, in the future; cancelling it stops the request.

        Raises :class:`BusyError` if too many requests are unanswered.
        """
        with self._changed:
            self._unanswered = _unanswered(self._unanswered)
            if self._closed or len(self._unanswered) >= self._most:
                raise BusyError
            self._unanswered.append(asked)
            self._waiting.append(asked)
            self._changed.notify_all()
        return asked.done

    def close(self) -> None:
        """Cancel what is unanswered, and end the thread."""
        with self._changed:
            self._closed = True
            for asked in self._unanswered:
                asked.done.cancel()
            self._changed.notify_all()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(lambda: self._closed, timeout=GATHER)
                if self._closed:
                    return
                waiting, self._waiting = _unanswered(self._waiting), []
            # The thread outlives whatever goes wrong with a request. A panic in the tokenizer,
            # which is written in Rust, is no Exception.
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

    def _answer(self, group: list[Asked]) -> None:
        prefix = shared_prefix([asked.ids for asked in group])
        rows = [(asked, number) for asked in group for number in range(asked.samples)]
        draw = sampler([_seed(*row) for row in rows], group[0].temperature)
        outputs = self.student.complete(
            group[0].ids[:prefix],
            [asked.ids[prefix:] for asked in group],
            copies=group[0].samples,
            max_tokens=group[0].max_tokens,
            finished=self._finished,
            choose=_unless_cancelled(draw, [asked for asked, _ in rows], self._end),
        )
        answers = iter(outputs)
        for asked in group:
            found = [next(answers) for _ in range(asked.samples)]
            with suppress(InvalidStateError):  # it was cancelled
                asked.done.set_result(found)


def _unanswered(some: Sequence[Asked]) -> list[Asked]:
    return [asked for asked in some if not asked.done.done()]


def _fail(some: Sequence[Asked], error: BaseException) -> None:
    for asked in some:
        with suppress(InvalidStateError):  # it was cancelled
            asked.done.set_exception(error)


def _unless_cancelled(draw: Choice | None, owners: Sequence[Asked], end: int) -> Choice:
    """Draws next tokens, greedily if ``draw`` is None; a cancelled request's answers end."""
    import torch

    def choose(logits: torch.Tensor, answers: list[int]) -> torch.Tensor:
        tokens = draw(logits, answers) if draw else logits.argmax(-1)
        cancelled = [owners[answer].done.cancelled() for answer in answers]
        if any(cancelled):
            tokens[torch.tensor(cancelled, device=tokens.device)] = end
        return tokens

    return choose


def groups(waiting: Sequence[Asked]) -> list[list[Asked]]:
    """Requests that are answered together: drawn alike, their prompts begun alike, of like length.

    Rows are padded to the longest, so each group holds neighbours in length, and about as many as
    the next.
    """
    alike: list[list[Asked]] = []
    for asked in sorted(waiting, key=lambda one: (one.drawn, one.ids)):
        if alike and _alike(alike[-1][0], asked):
            alike[-1].append(asked)
        else:
            alike.append([asked])
    found = []
    for some in alike:
        some.sort(key=lambda one: len(one.ids))
        pieces = -(-len(some) // (ROWS // some[0].samples))
        cuts = [len(some) * piece // pieces for piece in range(pieces + 1)]
        found += [some[start:end] for start, end in pairwise(cuts)]
    return found


def _alike(first: Asked, other: Asked) -> bool:
    common = shared_prefix([first.ids, other.ids])
    return first.drawn == other.drawn and common >= COMMON * len(other.ids)


def _seed(asked: Asked, number: int) -> int:
    text = json.dumps([asked.ids, asked.temperature, number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def sampler(seeds: Sequence[int], temperature: float) -> Choice | None:
    """Draws each answer's next token with a generator of its own; None at temperature 0: greedy.

    The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel, 1954).
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

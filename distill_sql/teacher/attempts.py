"""One attempt at a request: booked, sent, read and settled.

The maximum cost of an attempt is booked in the store before it is sent. The booking is corrected to
the real cost when the answer arrives. It is released only if certainly nothing was charged
(:attr:`distill_sql.teacher.wire.Reply.is_unpaid`).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from distill_sql.errors import TeacherError
from distill_sql.teacher import answers
from distill_sql.teacher.pace import Pace
from distill_sql.teacher.prices import Price, dollars
from distill_sql.teacher.refusals import RetryError, StopError, refused
from distill_sql.teacher.secrets import one_line
from distill_sql.teacher.store import Store, share
from distill_sql.teacher.wire import LostError, NotSentError, Reply, Wire
from distill_sql.teacher.work import Request, Settings

#: Signs that there is no endpoint at the address after which the run ends, if none answered.
SIGNS = 5


@dataclass
class Outcome:
    """The result of a run. ``stopped`` says why it ended early, and is empty otherwise.

    ``cost`` is the cost of the answers. ``unanswered`` is what stays booked for requests without an
    answer that may have been charged. Both are in nano-dollars. ``seconds`` is the wall time.
    """

    requests: int = 0
    samples: int = 0
    cost: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)
    stopped: str = ""


class Attempts:
    """Makes attempts and counts them in ``outcome``.

    ``url`` and ``secrets`` are for messages: the endpoint's address, and texts not to show.
    ``answered`` says whether any attempt got an answer.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        outcome: Outcome,
        *,
        price: Price,
        cap: int | None,
        pace: Pace,
        url: str,
        secrets: tuple[str, ...],
    ) -> None:
        self.answered = False
        self._settings = settings
        self._store = store
        self._outcome = outcome
        self._price = price
        self._cap = cap
        self._pace = pace
        self._url = url
        self._secrets = secrets
        self._active = self._sent = self._strange = self._late = 0
        self._reached = False

    async def make(self, wire: Wire, request: Request, missing: list[int]) -> None:
        """Ask for the missing samples as soon as the pace allows, and store the answer.

        Does nothing if the run has stopped by then. Raises the errors of
        :mod:`distill_sql.teacher.refusals`, and :class:`TeacherError` if the endpoint is unusable.
        """
        while wait := self._pace.wait(self._active):
            if self._outcome.stopped:
                return
            await asyncio.sleep(min(wait, 0.2))
        bound = self._price.cost(request.prompt_bound, len(missing) * self._settings.max_tokens)
        self._active += 1
        try:
            await self._book(bound)
            self._sent += 1
            try:
                answer = await self._send(wire, request, missing, bound)
                self._settle(request, missing, answer, bound)
            finally:
                self._sent -= 1
        finally:
            self._active -= 1

    async def _book(self, bound: int) -> None:
        """Book the maximum cost of an attempt; waits while pending requests may release budget."""
        while not self._store.reserve(bound, self._cap):
            if self._outcome.stopped or not self._sent:
                assert self._cap is not None
                raise StopError(
                    f"the budget of {dollars(self._cap)} is used up: "
                    f"{dollars(self._store.spent())} spent or booked, and the next request may "
                    f"cost {dollars(bound)}{self._of_which()}"
                )
            await asyncio.sleep(0.02)

    def _of_which(self) -> str:
        if not self._outcome.unanswered:
            return ""
        return (
            f". {dollars(self._outcome.unanswered)} of it stays booked for requests of this run "
            "that got no answer and may have been charged"
        )

    async def _send(
        self, wire: Wire, request: Request, missing: list[int], bound: int
    ) -> answers.Answer:
        many = {"n": len(missing)} if len(missing) > 1 else {}
        # Room for every token to be a long word, and for what nobody asked for.
        most = 2**22 + 16 * len(missing) * self._settings.max_tokens
        try:
            reply = await wire.post(json.dumps(request.body | many).encode(), most=most)
        except NotSentError as error:
            self._store.release(bound)
            self._late += error.is_late
            if not self._reached and (not error.is_late or self._late == SIGNS):
                raise unreachable(self._url, self._line(str(error))) from None
            why = f"requests cannot be sent any more: {self._line(str(error))}"
            raise RetryError(why, unsent=True) from None
        except LostError as error:
            self._outcome.unanswered += bound
            raise RetryError(f"connection: {self._line(str(error))}", weight=2) from None
        self._reached = True
        is_refused = not 200 <= reply.status < 300
        self._pace.heed(reply.headers, refused=is_refused)
        if reply.is_unpaid:
            self._store.release(bound)
            raise self._refused(reply)
        answer = None if is_refused else answers.read(reply.body)
        if answer and answer.choices:
            return answer
        self._outcome.unanswered += bound
        raise self._unusable(reply, answer.problem, most) if answer else self._refused(reply)

    def _settle(
        self, request: Request, missing: list[int], answer: answers.Answer, bound: int
    ) -> None:
        """Store the samples of an answer with their cost.

        If the endpoint's token count is missing or impossible, the maximum is assumed.
        """
        most = request.prompt_bound, len(missing) * self._settings.max_tokens
        prompt = most[0] if answer.prompt_tokens is None else answer.prompt_tokens
        completion = most[1] if answer.completion_tokens is None else answer.completion_tokens
        cost = self._price.cost(prompt, completion)
        texts = [(number, *choice) for number, choice in zip(missing, answer.choices, strict=False)]
        samples = share(texts, prompt, completion, cost)
        self._store.settle(request.key, request.body, samples, bound=bound)
        self.answered = True
        self._pace.faster()
        self._outcome.requests += 1
        self._outcome.samples += len(samples)
        self._outcome.cost += cost
        if cost > bound:
            raise StopError(
                f"question {request.example.question_id} cost {dollars(cost)}, but at most "
                f"{dollars(bound)} was expected: the endpoint counts {prompt:,} prompt and "
                f"{completion:,} completion tokens, and at most {most[0]:,} and {most[1]:,} were "
                "requested. No budget can be kept with such an endpoint. The real cost is booked. "
                "Raise --max-tokens if the model reasons before it answers; otherwise use another "
                "endpoint"
            )

    def _refused(self, reply: Reply) -> Exception:
        if reply.status == 429:
            self._pace.slower()
        said = f"it redirects to {reply.headers.get('location')}" if reply.status < 400 else ""
        return refused(
            reply,
            self._line(said or answers.refusal(reply.body)),
            model=self._settings.model,
            url=self._url,
            is_first=not self.answered,
        )

    def _unusable(self, reply: Reply, problem: str, most: int) -> Exception:
        """The error for an answer without choices: a retry, unless the address has no endpoint."""
        if reply.is_cut:
            return RetryError(f"a body of more than {most:,} bytes", weight=2)
        if not self.answered and reply.body.lstrip()[:1] not in (b"{", b"["):
            self._strange += 1
            if self._strange == SIGNS:
                begin = one_line(reply.body.decode(errors="replace"), *self._secrets, length=60)
                return TeacherError(
                    f"{self._url} did not answer with an OpenAI response but with {begin!r}. Give "
                    "the address of an OpenAI-compatible endpoint; it usually ends in /v1."
                )
        return RetryError(self._line(problem), weight=2)

    def _line(self, text: str) -> str:
        return one_line(text, *self._secrets)


def unreachable(url: str, why: str) -> TeacherError:
    """The error for an address to which requests cannot be sent."""
    if why.startswith("Connect"):
        return TeacherError(
            f"Nothing answers at {url} ({why}). Check the address, and that the server runs."
        )
    return TeacherError(
        f"Requests cannot be sent to {url} ({why}). Check the address, and the environment's "
        "proxy (HTTPS_PROXY, HTTP_PROXY) and OpenAI settings (OPENAI_ORG_ID, OPENAI_PROJECT_ID)."
    )

"""Sampling a teacher on a dataset's training questions, in three steps, as the book does it.

:func:`plan_sampling` says which questions are asked, of whom and at what price. :func:`ask` fetches
the answers that the store lacks: from a model that is served on this machine for the time of asking
(the embedded teacher or an open one), or from the endpoint that the settings name. :func:`judge`
executes the stored answers and writes the traces. So a plan whose answers are
all stored costs nothing, and without an API key the stored answers are judged all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distill_sql.data.datasets import Dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import TeacherError
from distill_sql.settings import work_folder
from distill_sql.teacher import embedded, open_model
from distill_sql.teacher.addresses import LOCAL, STARTED
from distill_sql.teacher.client import Outcome, Teacher
from distill_sql.teacher.local import Served
from distill_sql.teacher.prices import Price, budget_of, price_of
from distill_sql.teacher.secrets import VARIABLE
from distill_sql.teacher.store import Store
from distill_sql.teacher.traces import Judged, Sieve, write_traces
from distill_sql.teacher.work import Request, Settings, fair_order, requests_for

__all__ = ["Sampling", "ask", "ask_started", "in_order", "judge", "plan_sampling"]


@dataclass(frozen=True)
class Sampling:
    """Which questions a teacher is asked, and what that may cost.

    ``questions`` stand in the order in which they are asked. ``count`` counts the tokens of a
    schema, ``budget`` is in dollars, over all runs. ``url`` is the endpoint's address as it was
    given, with a login if it has one, and ``key`` the API key; both are empty where there is none.
    """

    questions: Dataset
    settings: Settings
    price: Price
    count: Callable[[str], int]
    budget: float = 0.0
    url: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether the teacher that the package carries is asked."""
        return self.settings.base_url == embedded.BASE_URL

    @property
    def is_open(self) -> bool:
        """Whether an open model is asked that is served on this machine for the time of asking."""
        return self.settings.base_url == LOCAL

    @property
    def may_ask(self) -> bool:
        """Whether an endpoint may be asked: one that is started here may; others need a key, and a
        budget unless they are free."""
        free = self.price == Price(0, 0)
        is_here = self.is_embedded or self.is_open
        return is_here or bool(self.key and (free or self.budget > 0))

    @cached_property
    def requests(self) -> Sequence[Request]:
        """One request per question."""
        return tuple(requests_for(self.questions, self.settings, count=self.count))

    def open_store(self) -> Store:
        """The store of the answers; the embedded teacher's lies in the book's work folder."""
        return Store(work_folder() / "teacher.sqlite" if self.is_embedded else None)


def plan_sampling(
    dataset: Dataset,
    settings: Settings,
    *,
    count: Callable[[str], int],
    limit: int = 0,
    budget: float = 0.0,
    base_url: str = "",
    prices: tuple[float, float] | None = None,
) -> Sampling:
    """The questions of a training split in a fair order, at most ``limit`` of them (0 for all).

    Of any other split no question is asked: a student must not learn from it. Questions whose
    database is missing are left out. A teacher on this machine is asked in the order of
    :func:`in_order`. ``base_url`` is the address as it was given, and
    ``prices`` are dollars per million prompt and completion tokens. The API key comes from the
    environment. Raises :class:`~distill_sql.errors.TeacherError` for an unknown price.
    """
    questions = fair_order(dataset.present(), settings.seed)
    questions = questions.limit((limit or None) if dataset.split == "train" else 0)
    return Sampling(
        in_order(questions, settings),
        settings,
        price_of(settings.model, settings.base_url, prices),
        count,
        budget=budget,
        url=base_url,
        key=os.environ.get(VARIABLE, "").strip(),
    )


def in_order(questions: Dataset, settings: Settings) -> Dataset:
    """The questions in the order of asking: their own, or that of their numbers if a teacher is
    started on this machine, which then reads each schema once."""
    if settings.base_url not in STARTED:
        return questions
    return questions.with_examples(sorted(questions, key=lambda e: e.question_id))


def ask(sampling: Sampling, store: Store) -> Outcome | None:
    """Fetch the answers that the store lacks; None if no endpoint may be asked.

    Raises :class:`~distill_sql.errors.TeacherError` if the endpoint cannot be used at all, and if a
    server that was started here ended: the next call goes on with what is missing.
    """
    if not sampling.may_ask:
        return None
    settings, price = sampling.settings, sampling.price
    if settings.base_url not in STARTED:
        return Teacher(
            settings, store, api_key=sampling.key, price=price, url=sampling.url or None,
            cap=budget_of(sampling.budget),
        ).run(sampling.requests)  # fmt: skip
    outcome = ask_started(settings, store, sampling.requests, price=price)
    if outcome.stopped:  # an error, so that the chapter is not taken as finished
        raise TeacherError(
            f"{outcome.stopped[0].upper()}{outcome.stopped[1:]}. The {outcome.samples:,} answers "
            "until then are kept; the same command goes on."
        )
    return outcome


def ask_started(
    settings: Settings,
    store: Store,
    requests: Sequence[Request],
    *,
    price: Price,
    progress: bool = False,
) -> Outcome:
    """Start the server of the model that the settings name, and ask it what the store lacks.

    If the server ends by itself, the run ends within seconds and ``stopped`` says so; every answer
    until then is stored. Without anything to ask, no server is started.
    """
    missing = [one for one in requests if store.missing(one.key, settings.samples)]
    if not missing:
        return Outcome()
    server: AbstractContextManager[Served]
    if settings.base_url == LOCAL:
        model = open_model.open_model(settings.model)
        server, at_once = model.serving(), model.at_once
    else:
        server, at_once = embedded.running(), embedded.AT_ONCE
    with server as served:
        teacher = Teacher(
            settings, store, api_key="none", price=price, url=served.url, concurrency=at_once,
            timeout=embedded.ANSWER,
        )  # fmt: skip
        served.on_end(teacher.stop)
        try:
            return teacher.run(missing, total=len(missing) if progress else None)
        except TeacherError as error:
            if not (ended := served.ended):
                raise
            raise TeacherError(f"{ended[0].upper()}{ended[1:]}. Run the command again.") from error


def judge(sampling: Sampling, store: Store, traces: Path, *, neighbours: int) -> list[Judged]:
    """Judge all questions whose samples are all stored, and write the ``traces`` that are kept.

    Each query is executed on its database and on up to ``neighbours`` variants of it. If no
    question has all its samples, nothing is judged and the file is left as it is.
    """
    settings, questions = sampling.settings, sampling.questions
    if all(store.missing(request.key, settings.samples) for request in sampling.requests):
        return []
    made = build_neighbours(questions, count=neighbours)
    with Sieve(questions, settings, neighbours=made, count=sampling.count) as sieve:
        options = f"{neighbours} neighbours, {settings}"
        return write_traces(sieve, store, traces, options=options)

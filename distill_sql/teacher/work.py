"""The requests to the teacher: one per training question, balanced over databases."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from distill_sql.data.datasets import Dataset, Example
from distill_sql.errors import TeacherError
from distill_sql.prompting.prompts import (
    Mode,
    check_schema_tokens,
    prompt_messages,
    tokenizer_for,
    trace_mode,
)
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import Message
from distill_sql.teacher.addresses import OPENAI_URL, checked, split_login
from distill_sql.teacher.prices import Price
from distill_sql.teacher.store import Store, request_key

#: Tokens that a chat format adds per message: role, separators, and the start of the reply.
MESSAGE_TOKENS = 8
#: Typical length of an answer in tokens, for the estimate before a run.
TYPICAL_TOKENS: dict[Mode, int] = {"direct": 60, "reasoning": 220}


@dataclass(frozen=True)
class Settings:
    """The settings for asking the teacher. All but ``samples`` are part of an answer's key.

    ``base_url`` has no login, since settings are stored and shown; :class:`Teacher
    <distill_sql.teacher.client.Teacher>` takes an address with a login. ``schema_tokens`` is the
    token limit of a prompt's schema, 0 for the whole schema. Raises :class:`TeacherError` for
    values that no endpoint accepts, and :class:`~distill_sql.errors.ParameterError` for an invalid
    ``schema_tokens``.
    """

    model: str = "gpt-4o-mini"
    base_url: str = OPENAI_URL
    samples: int = 3
    temperature: float = 0.3
    max_tokens: int = 512
    reasoning_share: float = 0.4
    seed: int = 42
    style: Style = "full"
    schema_tokens: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("samples", 1, 128),
            ("temperature", 0, 2),
            ("max_tokens", 1, 100_000),
            ("reasoning_share", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise TeacherError(f"{name} is {value}; expected {low} to {high}.")
        check_schema_tokens(self.schema_tokens)
        if not self.model.strip() or not self.model.isprintable():
            raise TeacherError(f"The model is {self.model!r}; expected the name of a model.")
        url, login = split_login(self.base_url)
        if login:
            raise TeacherError(
                f"The address {url} has a login, which would be stored and shown. Leave it out of "
                "the settings; --base-url and Teacher(url=...) accept it."
            )


@dataclass(frozen=True)
class Request:
    """One question as a chat completion request, without the number of samples."""

    example: Example
    mode: Mode
    messages: tuple[Message, ...]
    body: dict[str, Any]
    key: bytes

    @property
    def prompt_bound(self) -> int:
        """An upper bound on the prompt's tokens: a token has at least one byte."""
        return sum(len(m["content"].encode()) + MESSAGE_TOKENS for m in self.messages)


def requests_for(
    dataset: Dataset, settings: Settings, *, count: Callable[[str], int] | None = None
) -> Iterator[Request]:
    """The request for every example whose database exists, in the dataset's order.

    ``count`` counts the tokens of a schema if they are limited; the default is the tokenizer of
    :func:`~distill_sql.prompting.prompts.tokenizer_for`.
    """
    url = checked(settings.base_url)  # different spellings of one address count as one
    if settings.schema_tokens and count is None:
        count = tokenizer_for(dataset).count
    for example in dataset:
        if not (dataset.database_dir / example.db_id / f"{example.db_id}.sqlite").is_file():
            continue
        mode = trace_mode(example, reasoning_share=settings.reasoning_share, seed=settings.seed)
        messages = tuple(
            prompt_messages(
                dataset, example, mode=mode, style=settings.style,
                schema_tokens=settings.schema_tokens, count=count,
            )
        )  # fmt: skip
        body = {
            "model": settings.model,
            "messages": list(messages),
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
        }
        yield Request(example, mode, messages, body, request_key(body, url))


def fair_order(dataset: Dataset, seed: int) -> Dataset:
    """The examples in the order of asking: one of each database, then a second of each, ...

    Databases and their questions are shuffled by ``seed``. So a run that stops early covers all
    databases, and a run with the same seed continues it.
    """
    by_database: defaultdict[str, list[Example]] = defaultdict(list)
    for example in dataset:
        by_database[example.db_id].append(example)
    rng = random.Random(seed)
    columns = list(by_database.values())
    rng.shuffle(columns)
    for column in columns:
        rng.shuffle(column)
    mixed = chain.from_iterable(zip_longest(*columns))
    return dataset.with_examples(example for example in mixed if example is not None)


@dataclass(frozen=True)
class Estimate:
    """The estimated size and cost of a run; ``cost`` and ``bound`` are in nano-dollars."""

    requests: int
    samples: int
    prompt_tokens: int
    cost: int
    bound: int


def estimate_cost(
    requests: Iterable[Request], settings: Settings, store: Store, price: Price
) -> Estimate:
    """The typical and the maximum cost of the requests that are not in the store yet.

    Prompts are estimated at four bytes per token, completions at :data:`TYPICAL_TOKENS`. The bound
    assumes one token per byte and answers of maximum length.
    """
    count = samples = tokens = cost = bound = 0
    for request in requests:
        wanted = len(store.missing(request.key, settings.samples))
        if not wanted:
            continue
        prompt = sum(len(m["content"].encode()) // 4 + MESSAGE_TOKENS for m in request.messages)
        count += 1
        samples += wanted
        tokens += prompt
        cost += price.cost(prompt, wanted * TYPICAL_TOKENS[request.mode])
        bound += price.cost(request.prompt_bound, wanted * settings.max_tokens)
    return Estimate(count, samples, tokens, cost, bound)

"""From traces to a training set: what fits, once, split by database, and not in the dev split."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill_sql.datasets import Dataset
from distill_sql.parsing import parse
from distill_sql.tokenizer import ChatTokenizer, Message
from distill_sql.traces import Trace

#: Tokens that a prompt and its completion may have together.
MAX_TOKENS = 1024
#: The share of traces whose databases are kept for validation, about.
VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class TrainingSet:
    """The traces to train on and to validate with, no database in both, and what was left out."""

    train: tuple[Trace, ...]
    validation: tuple[Trace, ...]
    too_long: int
    near_duplicates: int


@dataclass(frozen=True)
class Leak:
    """A trace and a dev question that share their question or their query."""

    trace_id: int
    dev_id: int
    what: str


def training_set(
    traces: Sequence[Trace],
    tokenizer: ChatTokenizer,
    *,
    max_tokens: int = MAX_TOKENS,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 42,
) -> TrainingSet:
    """Leave out what is too long or said twice, and set whole databases apart for validation.

    Tokens are counted with the student's ``tokenizer`` over the rendered chat. Two traces on one
    database are near duplicates if their questions have the same words and their answers the same
    query. Databases go to validation in an order drawn by ``seed`` until they hold
    ``validation_share`` of the traces; one database stays for training.
    """
    seen: set[tuple[str, str, str]] = set()
    fitting, too_long, doubled = [], 0, 0
    for trace in traces:
        identity = trace.db_id, normal_question(trace.question), normal_query(trace.sql)
        if identity in seen:
            doubled += 1
        elif length(trace, tokenizer) > max_tokens:
            too_long += 1
        else:
            seen.add(identity)
            fitting.append(trace)
    sizes = Counter(trace.db_id for trace in fitting)
    db_ids = sorted(sizes)
    random.Random(seed).shuffle(db_ids)
    held: set[str] = set()
    for db_id in db_ids[:-1]:
        if sum(sizes[name] for name in held) >= validation_share * len(fitting):
            break
        held.add(db_id)
    return TrainingSet(
        tuple(trace for trace in fitting if trace.db_id not in held),
        tuple(trace for trace in fitting if trace.db_id in held),
        too_long,
        doubled,
    )


def length(trace: Trace, tokenizer: ChatTokenizer) -> int:
    """The tokens of a trace's whole chat, its completion included."""
    answer: Message = {"role": "assistant", "content": trace.completion}
    return tokenizer.count(tokenizer.render([*trace.messages, answer], add_generation_prompt=False))


def leaks(traces: Iterable[Trace], dev: Dataset) -> list[Leak]:
    """Where a trace has the question or the query of a dev question, after normalising both."""
    questions = {normal_question(e.question): e.question_id for e in dev}
    queries = {normal_query(e.query): e.question_id for e in dev}
    found = []
    for trace in traces:
        for what, table, text in (
            ("question", questions, normal_question(trace.question)),
            ("query", queries, normal_query(trace.sql)),
        ):
            if text in table:
                found.append(Leak(trace.question_id, table[text], what))
    return found


def normal_question(question: str) -> str:
    """Its words, in lower case.

    >>> normal_question("How many singers,  do we have?")
    'how many singers do we have'
    """
    return " ".join(re.findall(r"\w+", question.lower()))


def normal_query(sql: str) -> str:
    """Its text in one spelling: case, spaces and quotes do not count.

    >>> normal_query("select  Name from Singer where age>3;")
    'select name from singer where age > 3'
    """
    tree = parse(sql)
    try:
        return (
            tree.sql("sqlite").lower().replace('"', "") if tree else " ".join(sql.lower().split())
        )
    except RecursionError:  # too deep to be written
        return " ".join(sql.lower().split())

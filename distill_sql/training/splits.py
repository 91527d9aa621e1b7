"""From traces to a training set: what fits, once, split by database, and not in the dev split.

:func:`training_set` is what every student learns from. Its split by database depends on the traces
alone, not on a recipe, so all sizes and seeds are validated on the same databases.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill_sql.data.datasets import Dataset
from distill_sql.prompting.tokenizer import SPECIAL_TOKENS, ChatTokenizer
from distill_sql.sql.parsing import parse
from distill_sql.teacher.traces import Trace

#: The share of traces whose databases are kept for validation, about.
VALIDATION_SHARE = 0.05
#: The share that validation may take at most: a file of few databases can spare none.
LARGEST_SHARE = 0.2
#: Draws the order in which databases go to validation. No recipe's seed: all seeds learn alike.
SPLIT_SEED = 42


@dataclass(frozen=True)
class TrainingSet:
    """The traces to train on and to validate with, no database in both, and what was left out."""

    train: tuple[Trace, ...]
    validation: tuple[Trace, ...]
    too_long: int
    near_duplicates: int

    @property
    def left_out(self) -> dict[str, int]:
        """How many traces were left out, by reason, as a run's record has it."""
        return {"near_duplicates": self.near_duplicates, "too_long": self.too_long}


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
    max_tokens: int,
    validation_share: float = VALIDATION_SHARE,
    seed: int = SPLIT_SEED,
) -> TrainingSet:
    """Leave out what is said twice or too long, and set whole databases apart for validation.

    Two traces on one database are near duplicates if their questions have the same words and their
    answers the same query. ``max_tokens`` is a recipe's ``length``: tokens of the student's
    ``tokenizer`` in prompt and completion together.

    Databases go to validation in an order drawn by ``seed`` until they hold ``validation_share`` of
    the distinct traces. One that would bring them above :data:`LARGEST_SHARE` stays for training,
    so a file of few databases may have no validation at all. Databases are drawn before the long
    traces are left out: the split is the same for every tokenizer and length.
    """
    distinct: dict[tuple[str, str, str], Trace] = {}
    for trace in traces:
        identity = trace.db_id, normal_question(trace.question), normal_query(trace.sql)
        distinct.setdefault(identity, trace)
    kept = list(distinct.values())
    held = _validation_databases(kept, validation_share, seed)
    fitting = [trace for trace in kept if length(trace, tokenizer) <= max_tokens]
    return TrainingSet(
        tuple(trace for trace in fitting if trace.db_id not in held),
        tuple(trace for trace in fitting if trace.db_id in held),
        too_long=len(kept) - len(fitting),
        near_duplicates=len(traces) - len(kept),
    )


def _validation_databases(traces: Sequence[Trace], share: float, seed: int) -> set[str]:
    sizes = Counter(trace.db_id for trace in traces)
    db_ids = sorted(sizes)
    random.Random(seed).shuffle(db_ids)
    held: set[str] = set()
    count = 0
    for db_id in db_ids:
        if count >= share * len(traces):
            break
        if count + sizes[db_id] <= max(share, LARGEST_SHARE) * len(traces):
            held.add(db_id)
            count += sizes[db_id]
    return held


def length(trace: Trace, tokenizer: ChatTokenizer) -> int:
    """The tokens of a trace as a student reads it: prompt, completion, and the mark of its end."""
    prompt = tokenizer.count(tokenizer.render(trace.messages))
    return prompt + tokenizer.count(trace.completion.strip() + SPECIAL_TOKENS[-1])


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

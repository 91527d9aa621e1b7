"""From traces to a training set: deduplicated, within the length limit, split by database.

Every student is trained on a :func:`training_set`. Its validation databases depend on the traces
only, so students of all sizes and seeds are validated on the same databases. :func:`leaks` finds
traces that also occur in the dev split.
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

#: The approximate share of traces whose databases are used for validation.
VALIDATION_SHARE = 0.05
#: The largest share of traces for validation. If every database exceeds it, there is no validation.
LARGEST_SHARE = 0.2
#: The seed of the split, independent of a recipe's seed: all seeds have the same training set.
SPLIT_SEED = 42


@dataclass(frozen=True)
class TrainingSet:
    """Traces for training and validation, on different databases, and counts of the others."""

    train: tuple[Trace, ...]
    validation: tuple[Trace, ...]
    too_long: int
    near_duplicates: int

    @property
    def left_out(self) -> dict[str, int]:
        """The number of traces left out by reason, for a run's record."""
        return {"near_duplicates": self.near_duplicates, "too_long": self.too_long}


@dataclass(frozen=True)
class Leak:
    """A trace with the question or the query of a dev question."""

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
    """Leave out near duplicates and long traces, and hold out whole databases for validation.

    Two traces on one database are near duplicates if their questions have the same words and their
    queries are the same. ``max_tokens`` is a recipe's ``length``, the limit of prompt and
    completion together in tokens of the student's ``tokenizer``.

    Databases are held out in random order until they have ``validation_share`` of the distinct
    traces. A database that would exceed :data:`LARGEST_SHARE` stays in training, so with few
    databases there may be no validation. Databases are drawn before long traces are left out, so
    the split is the same for every tokenizer and length.
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
    """The tokens of a trace: prompt, completion and end marker."""
    prompt = tokenizer.count(tokenizer.render(trace.messages))
    return prompt + tokenizer.count(trace.completion.strip() + SPECIAL_TOKENS[-1])


def leaks(traces: Iterable[Trace], dev: Dataset) -> list[Leak]:
    """The traces whose normalised question or query is that of a dev question."""
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
    """The words of a question, in lower case.

    >>> normal_question("How many singers,  do we have?")
    'how many singers do we have'
    """
    return " ".join(re.findall(r"\w+", question.lower()))


def normal_query(sql: str) -> str:
    """A query with normalised case, spaces and quotes.

    >>> normal_query("select  Name from Singer where age>3;")
    'select name from singer where age > 3'
    """
    tree = parse(sql)
    try:
        return (
            tree.sql("sqlite").lower().replace('"', "") if tree else " ".join(sql.lower().split())
        )
    except RecursionError:  # too deeply nested to be written
        return " ".join(sql.lower().split())

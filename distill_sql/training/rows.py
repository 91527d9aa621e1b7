"""Training rows: the token ids and their order, which are the same on both back ends.

A row is a trace as token ids: the rendered prompt, the completion and its end marker. The loss is
on completion and end marker. Rows are shuffled and cut into stretches; each stretch is sorted by
length, so that the rows of an update have similar lengths and need little padding.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from distill_sql.errors import TrainingError
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.teacher.traces import Trace

#: Updates per stretch, whose rows are sorted by length.
STRETCH = 32
#: The end marker of an answer in Qwen's chat format.
END = "<|im_end|>"


@dataclass(frozen=True)
class TokenRow:
    """Token ids of one trace; the first ``prompt`` of them are outside the loss."""

    ids: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Rows:
    """The rows of a run in the order of training; ``too_long`` traces were left out."""

    rows: tuple[TokenRow, ...]
    too_long: int

    @property
    def tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def learned(self) -> int:
        """Tokens in the loss."""
        return sum(len(row.ids) - row.prompt for row in self.rows)


def make_rows(traces: Iterable[Trace], tokenizer: ChatTokenizer, recipe: Recipe) -> Rows:
    """The rows that ``recipe`` trains on, repeated for each epoch in a new order.

    A trace of more than ``recipe.length`` tokens is left out and counted. It is not truncated, or
    truncated queries would be learned. Raises :class:`TrainingError` for an empty completion, or if
    less than a batch is left.
    """
    rows: list[TokenRow] = []
    databases: list[str] = []
    too_long = seen = 0
    for trace in traces:
        if recipe.modes == "direct" and trace.mode != "direct":
            continue
        seen += 1
        row = make_row(trace, tokenizer)
        if len(row.ids) > recipe.length:
            too_long += 1
        else:
            rows.append(row)
            databases.append(trace.db_id)
    if len(rows) < recipe.batch:
        raise TrainingError(
            f"Recipe {recipe.name} has {len(rows)} traces to train on, fewer than a batch of "
            f"{recipe.batch}: of {seen} in mode {recipe.modes!r}, {too_long} exceed "
            f"{recipe.length} tokens. Make more traces, or raise length."
        )
    order = random.Random(recipe.seed)
    if recipe.grouping == "database":
        epochs = [_by_database(rows, databases, recipe.batch, order) for _ in range(recipe.epochs)]
    else:
        epochs = [_in_batches(rows, recipe.batch, order) for _ in range(recipe.epochs)]
    return Rows(tuple(chain.from_iterable(epochs)), too_long)


def make_row(trace: Trace, tokenizer: ChatTokenizer) -> TokenRow:
    """One trace as token ids; :class:`TrainingError` if its completion is empty."""
    if not trace.completion.strip():
        raise TrainingError(
            f"Trace {trace.question_id} on {trace.db_id} has an empty completion. Make the traces "
            "again, or delete the line."
        )
    prompt = tokenizer.encode(tokenizer.render(trace.messages))
    completion = tokenizer.encode(trace.completion.strip() + END)
    return TokenRow((*prompt, *completion), len(prompt))


def updates(recipe: Recipe, rows: Rows) -> int:
    """The optimizer updates of a run. The last batch of an epoch may be smaller."""
    per_epoch = len(rows.rows) // recipe.epochs
    return recipe.epochs * -(-per_epoch // recipe.batch)


def rows_of_updates(recipe: Recipe, rows: Rows) -> Iterator[Sequence[TokenRow]]:
    """The batches of a run; no batch has rows of two epochs."""
    per_epoch = len(rows.rows) // recipe.epochs
    for start in range(0, len(rows.rows), per_epoch):
        epoch = rows.rows[start : start + per_epoch]
        for first in range(0, per_epoch, recipe.batch):
            yield epoch[first : first + recipe.batch]


def share_of_batch(recipe: Recipe, processes: int, micro_batch: int | None = None) -> int:
    """The rows that each of ``processes`` devices holds at once; an update is a whole batch."""
    if recipe.batch % processes:
        raise TrainingError(
            f"Recipe {recipe.name} has batches of {recipe.batch} examples, which {processes} "
            f"devices cannot share evenly. Use a number of devices that divides {recipe.batch}."
        )
    share = recipe.batch // processes
    if micro_batch is None:
        return share
    if micro_batch < 1 or share % micro_batch:
        raise TrainingError(
            f"A micro batch of {micro_batch} does not divide the {share} examples that each device "
            "has in an update. Use a divisor."
        )
    return micro_batch


def _in_batches(rows: Sequence[TokenRow], batch: int, order: random.Random) -> list[TokenRow]:
    shuffled = order.sample(rows, len(rows))
    stretch = batch * STRETCH
    batches = []
    for start in range(0, len(shuffled), stretch):
        alike = sorted(shuffled[start : start + stretch], key=lambda row: len(row.ids))
        batches += [alike[place : place + batch] for place in range(0, len(alike), batch)]
    return _shuffled(batches, batch, order)


def _by_database(
    rows: Sequence[TokenRow], databases: Sequence[str], batch: int, order: random.Random
) -> list[TokenRow]:
    """Rows in batches of one database each; what is left of several databases shares batches."""
    members: dict[str, list[TokenRow]] = {}
    for row, db_id in zip(rows, databases, strict=True):
        members.setdefault(db_id, []).append(row)
    whole: list[list[TokenRow]] = []
    left: list[TokenRow] = []
    for db_id in order.sample(sorted(members), len(members)):
        mine = order.sample(members[db_id], len(members[db_id]))
        full = len(mine) - len(mine) % batch
        whole += [mine[place : place + batch] for place in range(0, full, batch)]
        left += mine[full:]
    whole += [left[place : place + batch] for place in range(0, len(left), batch)]
    return _shuffled(whole, batch, order)


def _shuffled(
    batches: Sequence[Sequence[TokenRow]], batch: int, order: random.Random
) -> list[TokenRow]:
    """The rows of batches in random order; a partial batch stays last.

    Epochs are cut into batches again later.
    """
    full = [one for one in batches if len(one) == batch]
    rest = [one for one in batches if len(one) < batch]
    return list(chain.from_iterable([*order.sample(full, len(full)), *rest]))

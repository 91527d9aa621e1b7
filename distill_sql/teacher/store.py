"""The cache of answers and the ledger of spending, in one SQLite file that survives kill -9.

An answer is stored before it is used. The maximum cost of a request is booked before it is sent and
corrected when the answer arrives. If the outcome is unknown (the process was killed, the connection
dropped), the maximum stays booked, so the ledger never shows less than was spent. Several processes
may share the file: the cap holds for all of them together.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_sql.errors import TeacherError
from distill_sql.files import clean
from distill_sql.settings import cache_dir
from distill_sql.teacher.claims import Claims
from distill_sql.teacher.layout import open_cache


@dataclass(frozen=True)
class Sample:
    """One answer. ``finish`` is the endpoint's finish reason, or ``refusal``.

    Tokens and ``cost`` (nano-dollars) are this sample's share of its request. The prompt tokens of
    a request for several samples are counted with the first one.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost: int


def default_path() -> Path:
    """The default path of the cache of answers."""
    return cache_dir() / "teacher.sqlite"


def request_key(body: Mapping[str, Any], base_url: str) -> bytes:
    """The digest of everything that determines an answer, except the sample's number."""
    text = json.dumps([base_url.rstrip("/"), body], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def _sample_key(request: bytes, number: int) -> bytes:
    return hashlib.sha256(request + number.to_bytes(4, "big")).digest()


class Store:
    """The cache of answers and the ledger; use it as a context manager."""

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.path = path or default_path()
        self._db = open_cache(self.path, read_only=read_only)
        self._claims = Claims(self._db, self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release all claims."""
        self._claims.close()
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the file.

        Raises :class:`TeacherError` if it cannot be written.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise TeacherError(
                f"{self.path} cannot be written ({error}). Check that the disk has room, and that "
                "no other program holds the file; the answers so far are kept."
            ) from error

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises :class:`TeacherError` if they cannot be read."""
        return list(self._each(query, values))

    def _each(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise TeacherError(
                f"{self.path} cannot be read ({error}). If it is corrupt, move it aside, or try "
                "`sqlite3 FILE .recover`, since it holds what was paid for."
            ) from error

    # --- Answers ------------------------------------------------------------------------------

    def samples(self, request: bytes, count: int) -> list[Sample | None]:
        """The first ``count`` samples of a request, None for missing ones."""
        keys = [_sample_key(request, number) for number in range(count)]
        marks = ", ".join("?" * count)
        rows = self.rows(
            "SELECT key, text, finish, prompt_tokens, completion_tokens, cost FROM sample "
            f"WHERE key IN ({marks})",
            keys,
        )
        found = {key: Sample(*rest) for key, *rest in rows}
        return [found.get(key) for key in keys]

    def missing(self, request: bytes, count: int) -> list[int]:
        """The numbers of the missing samples."""
        return [n for n, sample in enumerate(self.samples(request, count)) if sample is None]

    def settle(
        self,
        request: bytes,
        body: Mapping[str, Any],
        samples: Mapping[int, Sample],
        *,
        bound: int,
    ) -> None:
        """Store a request's answers and correct the booked ``bound`` to their cost.

        The cost may exceed the bound: the ledger holds what was really charged.
        """
        with self.transaction() as db:
            keep(db, request, body, samples, bound=bound)

    # --- Claims ------------------------------------------------------------------------

    def claim(self, request_key: bytes) -> bool:
        """Claim a request before it is sent; returns whether it may be sent.

        True if it was free, is already ours, or was claimed by a dead process. False while another
        open store holds it, in this process or another. Check :meth:`missing` and :meth:`batch_of`
        after claiming, since the previous holder may have got the answer.
        """
        with self.transaction():
            return self._claims.take(request_key)

    def unclaim(self, request_key: bytes) -> None:
        """Release a claimed request after it was answered or given up."""
        with self.transaction():
            self._claims.drop(request_key)

    def batch_of(self, request_key: bytes) -> str | None:
        """The id of the open batch with a request, None if there is none."""
        rows = self.rows(
            "SELECT coalesce(nullif(name, ''), id) FROM batch_request JOIN batch ON id = batch "
            "WHERE key = ? AND batch.state IN ('sending', 'open') AND batch_request.state = 'open'",
            (request_key,),
        )
        return str(rows[0][0]) if rows else None

    # --- The ledger ---------------------------------------------------------------------------

    def spent(self) -> int:
        """Everything that was or may have been spent, in nano-dollars, over all runs."""
        [(total,)] = self.rows("SELECT total FROM spend")
        return int(total)

    def reserve(self, bound: int, cap: int | None) -> bool:
        """Book ``bound`` nano-dollars if the total stays within ``cap``; returns whether it did."""
        if cap is None:
            self._db.execute("UPDATE spend SET total = total + ?", (bound,))
            return True
        changed = self._db.execute(
            "UPDATE spend SET total = total + ?1 WHERE total + ?1 <= ?2", (bound, cap)
        )
        return changed.rowcount == 1

    def release(self, amount: int) -> None:
        """Release the booking of a request that was certainly not charged."""
        self._db.execute("UPDATE spend SET total = total - ?", (amount,))

    # --- Reports ---------------------------------------------------------------------------

    def stats(self) -> list[dict[str, Any]]:
        """One record per model: samples, requests, tokens, cost."""
        rows = self.rows(
            "SELECT model, count(*), count(DISTINCT request), sum(prompt_tokens), "
            "sum(completion_tokens), sum(cost) FROM sample GROUP BY model ORDER BY model"
        )
        names = ("model", "samples", "requests", "prompt_tokens", "completion_tokens", "cost")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def export(self) -> Iterator[dict[str, Any]]:
        """Every answer with its request, as one record each, in a fixed order."""
        rows = self._each(
            "SELECT body, text, finish, prompt_tokens, completion_tokens, cost FROM sample "
            "JOIN request ON request.key = sample.request ORDER BY sample.request, sample.key"
        )
        for body, *rest in rows:
            names = ("text", "finish", "prompt_tokens", "completion_tokens", "cost")
            yield {"request": json.loads(body), **dict(zip(names, rest, strict=True))}

    def prune(self, models: Sequence[str]) -> int:
        """Delete the answers of some models; their cost stays in the ledger."""
        return sum(self._prune(model) for model in models)

    def _prune(self, model: str) -> int:
        gone = self._db.execute("DELETE FROM sample WHERE model = ?", (model,)).rowcount
        self._db.execute(
            "DELETE FROM request WHERE key NOT IN (SELECT request FROM sample) "
            "AND key NOT IN (SELECT key FROM batch_request)"
        )
        return gone


def keep(
    db: sqlite3.Connection,
    request: bytes,
    body: Mapping[str, Any],
    samples: Mapping[int, Sample],
    *,
    bound: int,
) -> None:
    """Write what :meth:`Store.settle` stores; call in a transaction."""
    now = time.time()
    rows = [
        (
            _sample_key(request, number), request, str(body["model"]), clean(sample.text),
            clean(sample.finish), sample.prompt_tokens, sample.completion_tokens, sample.cost, now,
        )
        for number, sample in samples.items()
    ]  # fmt: skip
    db.executemany("INSERT OR IGNORE INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    keep_body(db, request, body)
    cost = sum(sample.cost for sample in samples.values())
    db.execute("UPDATE spend SET total = total + ?", (cost - bound,))


def keep_body(db: sqlite3.Connection, request: bytes, body: Mapping[str, Any]) -> None:
    """Write the body of a request."""
    text = json.dumps(body, ensure_ascii=False)
    db.execute("INSERT OR IGNORE INTO request VALUES (?, ?)", (request, text))


def share(
    texts: Iterable[tuple[int, str, str]], prompt_tokens: int, completion_tokens: int, cost: int
) -> dict[int, Sample]:
    """The samples of one answered request, with its tokens and cost divided among them.

    ``texts`` has number, text and finish reason of each sample. Completion tokens and cost are
    divided by text length; the sums are exact.
    """
    items = list(texts)
    weights = [len(text) + 1 for _, text, _ in items]
    samples = {}
    tokens_left, cost_left, weight_left = completion_tokens, cost, sum(weights)
    for place, ((number, text, finish), weight) in enumerate(zip(items, weights, strict=True)):
        tokens = tokens_left * weight // weight_left
        money = cost_left * weight // weight_left
        samples[number] = Sample(text, finish, 0 if place else prompt_tokens, tokens, money)
        tokens_left, cost_left, weight_left = (
            tokens_left - tokens,
            cost_left - money,
            weight_left - weight,
        )
    return samples

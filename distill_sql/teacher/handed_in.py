"""The record of what was submitted to the Batch API, in the same file as the answers.

A batch is recorded with its requests and the amount booked for each before it is sent. So its
answers are fetched and settled by the record, whatever questions the current command asks. Every
booked amount that is not the cost of an answer is the ``bound`` of a request here.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from distill_sql.teacher.prices import Price
from distill_sql.teacher.store import Sample, Store, keep, keep_body

#: Seconds for which a failed batch makes later ones smaller; limits of an account change.
MEMORY = 86_400.0


@dataclass(frozen=True)
class Item:
    """One request of a batch: the numbers of its samples, and the booked amount (nano-dollars).

    ``tokens`` is the estimated number of prompt tokens.
    """

    key: bytes
    numbers: tuple[int, ...]
    bound: int
    body: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 0


@dataclass(frozen=True)
class Batch:
    """A batch whose answers were not fetched yet.

    ``file`` and ``name`` are the endpoint's ids of the file of requests and of the batch, empty
    until they are known. ``booked`` is the total booked amount. A batch of layout 1 has no ``url``,
    no ``price`` and no requests until :meth:`HandedIn.describe`.
    """

    id: str
    file: str
    name: str
    url: str
    booked: int
    price: Price | None
    created: float


class HandedIn:
    """The submitted batches in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- Submitting ---------------------------------------------------------------------------

    def start(
        self, number: str, items: Sequence[Item], *, url: str, price: Price, cap: int | None
    ) -> bool:
        """Book and record a batch before it is sent; False if it would exceed ``cap``."""
        tokens = sum(item.tokens for item in items)
        model = str(items[0].body["model"])
        with self._store.transaction() as db:
            if not self._store.reserve(sum(item.bound for item in items), cap):
                return False
            db.execute(
                "INSERT INTO batch (id, bound, state, url, model, price, tokens, queued, created) "
                "VALUES (?, 0, 'sending', ?, ?, ?, ?, ?, ?)",
                (number, url, model, _text(price), tokens, self._queued(url, model) + tokens,
                 time.time()),
            )  # fmt: skip
            _add(db, number, items)
        return True

    def uploaded(self, number: str, file: str) -> None:
        """Record that the endpoint has the file of requests; the batch may exist from now on."""
        with self._store.transaction() as db:
            db.execute("UPDATE batch SET file = ? WHERE id = ?", (file, number))

    def sent(self, number: str, name: str) -> None:
        """Record that the endpoint accepted the batch under the id ``name``."""
        with self._store.transaction() as db:
            db.execute("UPDATE batch SET name = ?, state = 'open' WHERE id = ?", (name, number))

    def forget(self, number: str) -> None:
        """Delete a batch that the endpoint never accepted, and release its booking."""
        self.close(number)
        with self._store.transaction() as db:
            db.execute("DELETE FROM batch WHERE id = ?", (number,))

    def room(self, url: str, model: str, limit: int) -> tuple[int, bool]:
        """The token limit of the next batch, and whether no batch is pending.

        The endpoint's queue has room for ``limit`` tokens of a model over all batches. After a
        batch failed, the next ones have at most half its size, and the queue is assumed to be
        smaller by the same amount.
        """
        queued = self._queued(url, model)
        [(most, queue)] = self._store.rows(
            "SELECT min(tokens / 2), min(queued - tokens + tokens / 2) FROM batch "
            "WHERE state = 'failed' AND url = ? AND model = ? AND created > ?",
            (url, model, time.time() - MEMORY),
        )
        if most is None:
            most, queue = limit, limit
        return min(most, min(limit, queue) - queued), not queued

    def _queued(self, url: str, model: str) -> int:
        [(tokens,)] = self._store.rows(
            "SELECT coalesce(sum(tokens), 0) FROM batch "
            "WHERE state IN ('sending', 'open') AND url = ? AND model = ?",
            (url, model),
        )
        return int(tokens)

    # --- Fetching -----------------------------------------------------------------------------

    def under_way(self) -> list[Batch]:
        """The batches whose answers were not fetched yet, in the order of submission."""
        rows = self._store.rows(
            "SELECT id, file, name, url, bound + (SELECT coalesce(sum(bound), 0) "
            "FROM batch_request WHERE batch = id AND batch_request.state = 'open'), "
            "price, created FROM batch "
            "WHERE state IN ('sending', 'open') ORDER BY rowid"
        )
        return [
            Batch(number, file, name, url, booked, _price(price), created)
            for number, file, name, url, booked, price, created in rows
        ]

    def describe(self, number: str, items: Sequence[Item], *, url: str, price: Price) -> None:
        """Record the requests of a batch of layout 1, and move its booking to them."""
        with self._store.transaction() as db:
            changed = db.execute(
                "UPDATE batch SET url = ?, price = ?, bound = 0 "
                "WHERE id = ? AND state = 'open' AND url = ''",
                (url, _text(price), number),
            )
            if changed.rowcount:  # else another process did it
                _add(db, number, items)

    def items(self, number: str) -> dict[bytes, Item | None]:
        """The requests of a batch, without their bodies; None for settled ones."""
        rows = self._store.rows(
            "SELECT key, numbers, bound, state FROM batch_request WHERE batch = ?", (number,)
        )
        return {
            key: Item(key, tuple(json.loads(numbers)), bound) if state == "open" else None
            for key, numbers, bound, state in rows
        }

    def body(self, key: bytes) -> dict[str, Any]:
        """The body of a request."""
        [(text,)] = self._store.rows("SELECT body FROM request WHERE key = ?", (key,))
        body: dict[str, Any] = json.loads(text)
        return body

    def settle(
        self, number: str, item: Item, body: Mapping[str, Any], samples: Mapping[int, Sample]
    ) -> None:
        """Store the answers to one request and book their cost; a repeated call does nothing."""
        with self._store.transaction() as db:
            changed = db.execute(
                "UPDATE batch_request SET state = 'done', bound = 0 "
                "WHERE key = ? AND batch = ? AND state = 'open'",
                (item.key, number),
            )
            if changed.rowcount:
                keep(db, item.key, body, samples, bound=item.bound)

    def close(
        self,
        number: str,
        *,
        charged: Collection[bytes] = (),
        unknown: int = 0,
        failed: bool = False,
    ) -> list[Item]:
        """Close a finished batch and release what was not charged; returns requests without answer.

        The requests in ``charged`` have unusable answers and stay booked at their bounds.
        ``unknown`` is the number of answers that cannot be assigned: as many of the other requests
        stay booked, too, the most expensive ones.
        """
        with self._store.transaction() as db:
            found = self._store.rows("SELECT state, bound FROM batch WHERE id = ?", (number,))
            if not found or found[0][0] not in ("sending", "open"):  # another process closed it
                return []
            rest = [item for item in self.items(number).values() if item]
            others = [item for item in rest if item.key not in charged]
            others.sort(key=lambda item: (-item.bound, item.key))
            db.executemany(
                "UPDATE batch_request SET state = 'lost' WHERE key = ? AND batch = ?",
                [(item.key, number) for item in rest if item.key in charged]
                + [(item.key, number) for item in others[:unknown]],
            )
            db.execute("DELETE FROM batch_request WHERE batch = ? AND state != 'lost'", (number,))
            self._store.release(found[0][1] + sum(item.bound for item in others[unknown:]))
            db.execute(
                "UPDATE batch SET state = ?, bound = 0 WHERE id = ?",
                ("failed" if failed else "done", number),
            )
        return rest


def _add(db: sqlite3.Connection, number: str, items: Sequence[Item]) -> None:
    for item in items:
        keep_body(db, item.key, item.body)
        db.execute(
            "INSERT INTO batch_request VALUES (?, ?, ?, ?, 'open')",
            (item.key, number, json.dumps(item.numbers), item.bound),
        )


def _text(price: Price) -> str:
    return f"{Fraction(price.prompt)} {Fraction(price.completion)}"


def _price(text: str) -> Price | None:
    return Price(*map(Fraction, text.split())) if text else None

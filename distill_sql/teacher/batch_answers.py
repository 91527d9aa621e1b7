"""Fetches the answers of one batch, and computes the cost of each line.

The cost of an answer follows from its reported usage, or from the maximum usage if the report is
unusable. An unusable answer stays booked at its bound. A request that was refused, or that is in no
file, is free: an expired batch charges only for its answers.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distill_sql.errors import TeacherError
from distill_sql.files import parse_json
from distill_sql.teacher.answers import Answer
from distill_sql.teacher.batch_api import BatchApi, RefusedError
from distill_sql.teacher.batch_lines import Line, read_line
from distill_sql.teacher.handed_in import Batch, HandedIn, Item
from distill_sql.teacher.prices import Price
from distill_sql.teacher.store import share
from distill_sql.teacher.work import MESSAGE_TOKENS

#: Seconds after which the files of a batch may be deleted; OpenAI keeps them for 30 days.
FILES_LAST = 30 * 86_400.0
#: Maximum number of kinds of problems that are shown for one batch.
SHOWN = 3

_OVER = ("completed", "failed", "expired", "cancelled")
#: Messages about a batch that is too large for the endpoint or its queue, but not about credit.
_TOO_LARGE = re.compile(r"limit|enqueued|exceed|too[ _](large|many|big|long)", re.IGNORECASE)
_NO_MONEY = re.compile(r"billing|quota|credit", re.IGNORECASE)


@dataclass
class _Found:
    """Everything in the files of a batch except usable answers.

    ``charged`` are requests with an unusable answer, ``unknown`` counts answers to unknown
    requests, ``dear`` counts answers that cost more than their bound, and ``problems`` counts lines
    by error.
    """

    charged: set[bytes] = field(default_factory=set)
    unknown: int = 0
    dear: int = 0
    problems: Counter[str] = field(default_factory=Counter)


class Fetcher:
    """Fetches submitted batches. ``price`` is the price of batches of layout 1."""

    def __init__(
        self,
        handed: HandedIn,
        api: BatchApi,
        *,
        base_url: str,
        price: Price,
        say: Callable[[str], None],
    ) -> None:
        self._handed = handed
        self._api = api
        self._base_url = base_url
        self._price = price
        self._say = say

    def fetch(self, batch: Batch) -> list[Item] | None:
        """Fetch the answers of a batch; returns the requests without one, or None if it is pending.

        Raises :class:`TeacherError` if the batch cannot be fetched now, which leaves it open, or if
        it failed in a way that a smaller batch would, too.
        """
        state = self._api.state(batch.name)
        status, counts = str(state.get("status")), state.get("request_counts")
        done = ""
        if isinstance(counts, dict):
            done = f", {counts.get('completed')} of {counts.get('total')} answered"
        self._say(self._api.line(f"batch {batch.name}: {status}{done}"))
        if status not in _OVER:
            return None
        if not batch.url and state.get("output_file_id"):
            self._describe(batch, state)
        is_failed = status == "failed"
        found = self._read(batch, state)
        rest = self._handed.close(
            batch.id, charged=found.charged, unknown=found.unknown, failed=is_failed
        )
        for problem, times in found.problems.most_common(SHOWN):
            self._say(f"  {times:,} lines: {problem}")
        if is_failed:
            self._failed(batch, state, len(rest))
            return []
        if rest:
            self._say(
                f"  {len(rest):,} requests have no answer; the next command submits them again"
            )
        if found.dear:
            raise TeacherError(
                f"{found.dear:,} requests of batch {batch.name} cost more than the expected "
                "maximum, so no budget can be kept. Their cost is booked. Raise --max-tokens if "
                "the model reasons before it answers; otherwise use another endpoint."
            )
        return rest

    def _read(self, batch: Batch, state: dict[str, Any]) -> _Found:
        """Settle every answer in the files of a finished batch; returns everything else in them."""
        items = self._handed.items(batch.id)
        found = _Found()
        for name, is_output in (("output_file_id", True), ("error_file_id", False)):
            file = state.get(name)
            if not isinstance(file, str) or not file:
                continue
            try:
                for line in filter(None, map(read_line, self._api.lines(file))):
                    self._take(line, batch, items, found, is_output=is_output)
            except RefusedError as error:
                if error.status != 404 or time.time() - batch.created < FILES_LAST:
                    raise
                found.problems["and more are lost: the endpoint deleted the file"] += 1
                found.unknown += is_output and len(items)
        return found

    def _take(
        self,
        line: Line,
        batch: Batch,
        items: dict[bytes, Item | None],
        found: _Found,
        *,
        is_output: bool,
    ) -> None:
        keys = [key for key in line.keys if key in items]
        is_charged = line.answer is not None or (line.is_charged and is_output)
        if not keys:
            found.unknown += is_charged
            found.problems["about a request that was not submitted"] += 1
        elif line.answer is None:
            found.problems[self._api.line(line.problem)] += 1
            found.charged.update(keys if is_charged else ())
        elif item := items[keys[0]]:
            found.dear += not self._settle(batch, item, line.answer)
            items[item.key] = None

    def _settle(self, batch: Batch, item: Item, answer: Answer) -> bool:
        """Store an answer; returns whether its cost is within the bound."""
        body = self._handed.body(item.key)
        most_prompt = sum(len(m["content"].encode()) + MESSAGE_TOKENS for m in body["messages"])
        most_completion = len(item.numbers) * int(body["max_tokens"])
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if prompt is None:
            prompt = most_prompt
        if completion is None:
            completion = most_completion
        texts = [
            (number, *choice) for number, choice in zip(item.numbers, answer.choices, strict=False)
        ]
        cost = (batch.price or self._price).cost(prompt, completion)
        self._handed.settle(batch.id, item, body, share(texts, prompt, completion, cost))
        return prompt <= most_prompt and completion <= most_completion

    def _failed(self, batch: Batch, state: dict[str, Any], count: int) -> None:
        """Show why a batch failed; raises an error unless a smaller batch may succeed."""
        errors = state.get("errors")
        found = errors.get("data") if isinstance(errors, dict) else errors
        said = Counter(
            " ".join(str(error.get(name)) for name in ("code", "message") if error.get(name))
            if isinstance(error, dict) else str(error)
            for error in (found if isinstance(found, list) else [])
        )  # fmt: skip
        for text, times in said.most_common(SHOWN):
            self._say(self._api.line(f"  {times:,} errors: {text}"))
        text = " ".join(said)
        if count > 1 and (not said or (_TOO_LARGE.search(text) and not _NO_MONEY.search(text))):
            self._say("  For a day, batches are half as large.")
            return
        why = self._api.line(next(iter(said), "no reason given"))
        raise TeacherError(
            f"Batch {batch.name} of {count:,} requests failed: {why}. Nothing was charged. Fix the "
            "cause; the same command submits the requests again."
        )

    def _describe(self, batch: Batch, state: dict[str, Any]) -> None:
        """Read the requests of a batch of layout 1 from its file at the endpoint."""
        bodies: dict[bytes, tuple[tuple[int, ...], dict[str, Any]]] = {}
        for text in self._api.lines(str(state.get("input_file_id"))):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                record = parse_json(text)
                key, _, numbers = record["custom_id"].partition(":")
                body = {name: value for name, value in record["body"].items() if name != "n"}
                bodies[bytes.fromhex(key)] = tuple(map(int, numbers.split(","))), body
        if not bodies:
            raise TeacherError(
                f"The file of batch {batch.name} at the endpoint has no requests, so its answers "
                "cannot be assigned. Nothing was changed; try again later."
            )
        each, more = divmod(batch.booked, len(bodies))
        items = [
            Item(key, numbers, each + (place < more), body)
            for place, (key, (numbers, body)) in enumerate(bodies.items())
        ]
        self._handed.describe(batch.id, items, url=self._base_url, price=self._price)

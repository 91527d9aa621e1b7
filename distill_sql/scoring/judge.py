"""Judging predictions in parallel, by executing them and the gold queries."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

from distill_sql.data.datasets import Dataset, Example
from distill_sql.data.neighbours import has_ties, tie_query
from distill_sql.errors import GoldQueryError
from distill_sql.scoring.clock import Clock, OutOfTime
from distill_sql.scoring.exact import exact_set_match
from distill_sql.scoring.execution import (
    order_matters,
    prediction_text,
    prepare,
    prepare_gold,
    rows_equal,
)
from distill_sql.scoring.hardness import hardness
from distill_sql.scoring.plugging import fillings
from distill_sql.scoring.spider_query import SpiderSqlError
from distill_sql.scoring.verdicts import FailureMode, Rules, Verdict, gives_table, gold_error
from distill_sql.sql.sandbox import DEADLINE, Result, Row, Sandbox


class Judge:
    """Judges predictions on a dataset in parallel; use it as a context manager.

    Workers and gold results are kept between calls, so a second file costs less than the first.
    ``jobs`` worker processes run the queries (default: one per core). ``deadline`` is in seconds
    per prediction, for all databases together. The time for parsing texts and comparing rows
    counts, too; that work stops at most one second after the deadline. A prediction must be right
    on every ``*.sqlite`` file in its database's folder, so a folder with the official test suite
    gives test-suite accuracy. It must also be right on the databases that ``neighbours`` lists for
    its db_id, except those on which the gold query fails.
    """

    def __init__(
        self,
        dataset: Dataset,
        rules: Rules | None = None,
        *,
        neighbours: Mapping[str, Sequence[Path]] | None = None,
        jobs: int | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self.dataset = dataset
        self._neighbours = neighbours or {}
        #: The largest number of neighbours of a database.
        self.neighbour_count = max(map(len, self._neighbours.values()), default=0)
        self._neighbour_paths = {path for paths in self._neighbours.values() for path in paths}
        self.rules = rules or Rules()
        self._keep_distinct = self.rules.keep_distinct or self.rules.strict
        self._jobs = jobs or os.cpu_count() or 1
        self._deadline = deadline
        self._stopped = f"stopped after {deadline:g} s"
        self._pool = ThreadPoolExecutor(self._jobs)
        self._local = threading.local()
        self._sandboxes: list[Sandbox] = []
        self._gold_result = lru_cache(maxsize=4096)(self._run_gold)
        self._is_decisive = lru_cache(maxsize=65536)(self._find_decisive)
        self._suite = lru_cache(maxsize=None)(self._find_suite)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers."""
        self._pool.shutdown(cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()

    def verdicts(self, pairs: Iterable[tuple[Example, str]]) -> Iterator[Verdict]:
        """The verdict on each pair of an example and a prediction, in order.

        Pairs are read only a few ahead of the verdicts, so memory does not grow with their number.
        Raises :class:`GoldQueryError` if a gold query fails, unless the rules skip such questions.
        """
        waiting: deque[Future[Verdict]] = deque()
        try:
            for example, pred_sql in pairs:
                waiting.append(self._pool.submit(self.verdict, example, pred_sql))
                if len(waiting) >= 64 * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def verdict(self, example: Example, pred_sql: str) -> Verdict:
        """The verdict on one prediction; thread-safe."""
        level = hardness(example.query)
        notes = [] if level else ["no level of hardness, since the gold query cannot be parsed"]
        exact = None
        clock = Clock(self._deadline)
        if self.rules.etype != "exec":
            exact, reason = self._exact(example, pred_sql)
            notes += reason
        verdict = Verdict(
            question_id=example.question_id,
            db_id=example.db_id,
            hardness=level,
            gold_sql=example.query,
            pred_sql=pred_sql,
            exact=exact,
            note="; ".join(notes),
        )
        if self.rules.etype == "match":
            return verdict
        database = self.dataset.database_path(example.db_id)
        try:
            text = self._text(pred_sql, clock)
            passed, judged = self._passes(example, text, clock)
            gold = self._gold(database, self._prepare(example.query), example)
        except GoldQueryError as error:
            if not self.rules.skip_failing_gold:
                raise
            return replace(verdict, exact=None, skipped=True, note=str(error))
        return replace(
            verdict,
            exec=passed,
            failure_mode=self._failure_mode(example, pred_sql, text, judged, clock),
            error=judged.error,
            gold_is_empty=not gold.rows,
        )

    def execute(self, db_id: str, sql: str) -> Result:
        """Run a query on the main database within the deadline; thread-safe."""
        return self._sandbox.run(self.dataset.database_path(db_id), sql)

    def _exact(self, example: Example, pred_sql: str) -> tuple[bool | None, list[str]]:
        """The verdict of exact set match, or None and the reason."""
        schema = self.dataset.schema(example.db_id)
        try:
            return exact_set_match(pred_sql, example.query, schema), []
        except SpiderSqlError as error:
            return None, [
                f"no exact set match, since Spider's parser rejects the gold query: {error}"
            ]

    def _prepare(self, gold_sql: str) -> str:
        return prepare_gold(gold_sql, keep_distinct=self._keep_distinct)

    def _text(self, pred_sql: str, clock: Clock) -> str:
        """The text that is executed; the prediction itself if preparing it takes too long."""
        text = prediction_text(pred_sql, strict=self.rules.strict)
        try:
            return prepare(text, keep_distinct=self._keep_distinct, clock=clock)
        except OutOfTime:
            return text

    def passes(
        self, example: Example, pred_sql: str, *, clock: Clock | None = None
    ) -> tuple[bool, Result]:
        """Whether a prediction gives the gold rows on all databases, and its main result.

        The deadline covers all work here; pass a ``clock`` if several queries share one. If the
        prediction times out on any database, that timeout is its main result. Only as many rows of
        a wrong result are fetched as are needed to tell it from the gold rows. Raises
        :class:`GoldQueryError` if the gold query fails.
        """
        clock = clock or Clock(self._deadline)
        return self._passes(example, self._text(pred_sql, clock), clock)

    def _passes(self, example: Example, text: str, clock: Clock) -> tuple[bool, Result]:
        database = self.dataset.database_path(example.db_id)
        gold_sql = self._prepare(example.query)
        ordered = order_matters(example.query)
        judged = Result("timeout", error=self._stopped)
        try:
            for number, candidate in enumerate(self._candidates(gold_sql, text, clock)):
                for path in self._suite(example.db_id):
                    began = time.monotonic()
                    if not self._is_decisive(path, gold_sql):
                        continue
                    gold = self._gold(path, gold_sql, example)
                    clock.give_back(time.monotonic() - began)  # gold has its own deadline
                    if not clock.left:
                        return False, judged
                    began = time.monotonic()
                    result = self._run(path, candidate, gold, clock)
                    # For thousands of fillings, the round trip to the worker takes longer than the
                    # queries, so it counts. The first candidate's round trip does not, since it may
                    # include the worker's start.
                    if number == 0:
                        clock.give_back(time.monotonic() - began - result.seconds)
                        if path == database or result.kind == "timeout":
                            judged = result
                    if not clock.left or result.kind == "timeout":
                        return False, judged
                    if not result.ok or not rows_equal(
                        gold.rows, result.rows, ordered=ordered, clock=clock
                    ):
                        break
                else:
                    return True, judged
        except OutOfTime:
            pass
        return False, judged

    def _find_suite(self, db_id: str) -> tuple[Path, ...]:
        return (*suite(self.dataset.database_path(db_id)), *self._neighbours.get(db_id, ()))

    def _find_decisive(self, path: Path, gold_sql: str) -> bool:
        """Whether a database is used: on a neighbour, gold must have a result and no ties."""
        if path not in self._neighbour_paths:
            return True
        if not gives_table(self._gold_result(path, gold_sql)):
            return False
        if (found := tie_query(gold_sql)) is None:
            return True
        sql, keys = found
        result = self._sandbox.run(path, sql)
        return not (result.ok and has_ties(result.rows, keys))

    def _candidates(self, gold_sql: str, text: str, clock: Clock) -> Iterator[str]:
        if not self.rules.plug_value:
            return iter([text])
        return chain([text], fillings(gold_sql, text, clock))

    def _failure_mode(
        self, example: Example, pred_sql: str, text: str, judged: Result, clock: Clock
    ) -> FailureMode:
        """The failure mode by a strict comparison: unchanged texts, columns in order."""
        if not pred_sql.strip():
            return "empty"
        if judged.kind == "timeout":
            return "timeout"
        database = self.dataset.database_path(example.db_id)
        gold = self._gold_result(database, example.query)
        if not gives_table(gold):  # SQLite rejects ``> =`` and YEAR(CURDATE())
            gold = self._gold(database, self._prepare(example.query), example)
        result = judged if text == pred_sql else self._run(database, pred_sql, gold, clock)
        if not result.ok:
            return result.kind if result.kind in ("parse", "timeout") else "execution"
        try:
            same = len(gold.rows) == len(result.rows) and (
                _as_text(gold.rows, clock) == _as_text(result.rows, clock)
            )
        except OutOfTime:
            return "timeout"
        return "ok" if same else "wrong-result"

    def _run(self, path: Path, sql: str, gold: Result, clock: Clock) -> Result:
        """Run a prediction, fetching only as many rows as are needed to tell it from gold."""
        rows = max(len(gold.rows), 1)
        result = self._sandbox.run(path, sql, deadline=clock.left, max_rows=rows)
        if result.kind == "timeout":
            return replace(result, error=self._stopped)
        if result.kind == "too_large" and result.error == f"more than {rows} rows":
            return Result("ok", [*gold.rows, ()], error=result.error, seconds=result.seconds)
        return result

    def _gold(self, path: Path, sql: str, example: Example) -> Result:
        """The result of a gold query; :class:`GoldQueryError` if it has none."""
        result = self._gold_result(path, sql)
        if not gives_table(result):
            raise gold_error(self.dataset, example, path, result)
        return result

    def _run_gold(self, path: Path, sql: str) -> Result:
        return self._sandbox.run(path, sql, deadline=max(60.0, self._deadline))

    @property
    def _sandbox(self) -> Sandbox:
        sandbox: Sandbox | None = getattr(self._local, "sandbox", None)
        if sandbox is None:
            sandbox = self._local.sandbox = Sandbox(deadline=self._deadline)
            self._sandboxes.append(sandbox)
        return sandbox


def suite(database: Path) -> tuple[Path, ...]:
    """The databases of a verdict: this one, then all other ``.sqlite`` files in its folder.

    Hidden files and those that SQLite itself creates (``-wal``, ``-journal``) are left out.
    """
    beside = sorted(
        path for path in database.parent.iterdir() if _SUITE.search(path.name) and path.is_file()
    )
    return (database, *(path for path in beside if path.name != database.name))


_SUITE = re.compile(r"^[^.].*\.sqlite(?!-)")


def _as_text(rows: Sequence[Row], clock: Clock) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for first in range(0, len(rows), 1000):
        clock.check()
        found.update([tuple(map(str, row)) for row in rows[first : first + 1000]])
    return found

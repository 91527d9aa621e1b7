"""Traces: answers of the teacher that execution shows to be right, and why the others are dropped.

A sample passes if its SQL returns the gold rows on the database and on neighbours of it, where a
query that is right by chance fails. Rows are compared as multisets for some order of the columns,
and in order if the gold query orders them. Of the passing samples of a question, the one whose
result has the most votes is kept; among equals, the shortest. A sample is never kept just because
it executes.

Without gold queries the samples vote: a result that more than half of the samples agree on is kept.
This is self-consistency (Wang et al. 2023). It is weaker: it keeps what the teacher is sure of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.errors import GoldQueryError, TeacherError
from distill_sql.files import check_output, parse_json, resume_lines, write_json_lines
from distill_sql.prompting.prompts import extract_sql
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.verdicts import Rules
from distill_sql.sql.sandbox import DEADLINE, Result
from distill_sql.teacher.records import (
    Trace,
    chapter_file,
    chapter_traces,
    read_traces,
    reprompted,
    trace_of,
)
from distill_sql.teacher.store import Sample, Store
from distill_sql.teacher.work import Request, Settings, requests_for

__all__ = [
    "REASONS",
    "Judged",
    "Sieve",
    "Trace",
    "chapter_file",
    "chapter_traces",
    "read_traces",
    "reprompted",
    "write_traces",
]

#: Every reason to drop a sample, in the order in which they are checked.
REASONS: Mapping[str, str] = {
    "gold fails": "the gold query itself fails, so there is nothing to compare with",
    "refusal": "the teacher declined to answer",
    "cut short": "the answer reached the token limit before its query ended",
    "no SQL": "the answer has no query",
    "parse": "the query cannot be parsed",
    "unknown table": "the query reads a table that the database does not have",
    "execution": "the query fails on the database, most often at an unknown column",
    "timeout": "the query did not end within the time limit",
    "empty": "the query returns no rows, and the gold query does",
    "wrong rows": "the query returns other rows than the gold query",
    "lucky": "the query returns the gold rows on the database, but not on a neighbour",
    "outvoted": "most samples return other rows (without gold queries)",
    "not the best": "the query is right, but another sample of the question was kept",
}


@dataclass(frozen=True)
class Judged:
    """The verdict on all samples of one question.

    ``texts``, ``sqls`` and ``reasons`` have one entry per sample: the answer, its query, and the
    reason why it was dropped, empty if it was kept. ``agreement`` is the most samples with the same
    result. ``kept`` has at most one trace, or one per distinct query if all passing ones are kept.
    """

    question_id: int
    db_id: str
    mode: str
    texts: tuple[str, ...]
    sqls: tuple[str, ...]
    reasons: tuple[str, ...]
    agreement: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    kept: tuple[Trace, ...] = ()

    @property
    def n_passed(self) -> int:
        """The number of samples that are right, kept or not."""
        return sum(reason in ("", "not the best") for reason in self.reasons)


class Sieve:
    """Judges the samples of many questions; use it as a context manager.

    ``neighbours`` comes from :func:`distill_sql.data.neighbours.build_neighbours`. ``gold`` says
    whether samples are compared with gold queries or vote; ``all_passing`` keeps every distinct
    query that passes. ``deadline`` is in seconds per query. ``count`` is that of
    :func:`~distill_sql.teacher.requests_for`.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        *,
        neighbours: Mapping[str, Sequence[Path]] | None = None,
        gold: bool = True,
        all_passing: bool = False,
        jobs: int | None = None,
        deadline: float = DEADLINE,
        count: Callable[[str], int] | None = None,
    ) -> None:
        self.dataset = dataset
        self.settings = settings
        self._gold = gold
        self._all_passing = all_passing
        self._count = count
        self._jobs = jobs or os.cpu_count() or 1
        rules = Rules(etype="exec", strict=True)
        self._judge = Judge(dataset, rules, deadline=deadline)
        self._wide = Judge(dataset, rules, neighbours=neighbours, deadline=deadline)
        self._close = ExitStack()

    def __enter__(self) -> Sieve:
        self._close.enter_context(self._judge)
        self._close.enter_context(self._wide)
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def judge_all(
        self, store: Store, *, done: Mapping[int, tuple[str, Judged]] | None = None
    ) -> Iterator[tuple[str, Judged]]:
        """Judge every question whose samples are all in the store, in the dataset's order.

        Yields the digest of the samples with each verdict. A question that is in ``done`` with the
        same digest is not judged again. Questions with missing samples are skipped.
        """
        waiting: deque[tuple[str, Future[Judged]]] = deque()
        with ThreadPoolExecutor(self._jobs) as pool:
            for request in requests_for(self.dataset, self.settings, count=self._count):
                samples = store.samples(request.key, self.settings.samples)
                whole = [sample for sample in samples if sample is not None]
                if len(whole) < len(samples):
                    continue
                digest = _digest(request, whole)
                known = (done or {}).get(request.example.question_id)
                if known and known[0] == digest:
                    future: Future[Judged] = Future()
                    future.set_result(known[1])
                else:
                    future = pool.submit(self.judge, request, whole)
                waiting.append((digest, future))
                if len(waiting) >= 64 * self._jobs:
                    digest, future = waiting.popleft()
                    yield digest, future.result()
            for digest, future in waiting:
                yield digest, future.result()

    def judge(self, request: Request, samples: Sequence[Sample]) -> Judged:
        """Judge the samples of one question; may be called from any thread."""
        sqls = [extract_sql(sample.text) or "" for sample in samples]
        found: dict[str, tuple[str, Result | None]] = {}
        for sql, sample in zip(sqls, samples, strict=True):
            if sql not in found:
                found[sql] = self._found(request, sql, sample)
        reasons = [found[sql][0] for sql in sqls]
        votes = _votes([found[sql][1] for sql in sqls])
        if not self._gold:
            reasons = [
                reason or ("" if count * 2 > len(samples) else "outvoted")
                for reason, count in zip(reasons, votes, strict=True)
            ]
        passed = [place for place, reason in enumerate(reasons) if not reason]
        kept = self._best(passed, sqls, votes)
        for place in set(passed).difference(kept):
            reasons[place] = "not the best"
        usage = {
            "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
            "completion_tokens": sum(sample.completion_tokens for sample in samples),
            "cost": sum(sample.cost for sample in samples),
        }
        example = request.example
        traces = (
            Trace(
                example.question_id, example.db_id, example.question, example.query, request.mode,
                request.messages, samples[place].text, sqls[place], len(samples), len(passed),
                self.settings.model, **usage, schema_tokens=self.settings.schema_tokens,
            )
            for place in kept
        )  # fmt: skip
        return Judged(
            example.question_id, example.db_id, request.mode,
            tuple(sample.text for sample in samples), tuple(sqls), tuple(reasons),
            max(votes, default=0), **usage, kept=tuple(traces),
        )  # fmt: skip

    def _best(self, passed: Sequence[int], sqls: Sequence[str], votes: Sequence[int]) -> list[int]:
        """The samples to keep of those that passed, by place, the best first."""
        best = sorted(passed, key=lambda place: (-votes[place], len(sqls[place]), place))
        if not self._all_passing:
            return best[:1]
        distinct = {sqls[place].lower(): place for place in reversed(best)}
        return list(distinct.values())[::-1]

    def _found(self, request: Request, sql: str, sample: Sample) -> tuple[str, Result | None]:
        """The reason to drop a query, empty if there is none, and its result if it was executed."""
        if not sql:
            if sample.finish == "refusal":
                return "refusal", None
            return ("cut short" if sample.finish == "length" else "no SQL"), None
        if not self._gold:
            result = self._judge.execute(request.example.db_id, sql)
            return _reason(result), result
        try:
            passed, result = self._judge.passes(request.example, sql)
            if not passed:
                return _reason(result) or ("wrong rows" if result.rows else "empty"), result
            lucky = not self._wide.passes(request.example, sql)[0]
        except GoldQueryError:
            return "gold fails", None
        return ("lucky" if lucky else ""), result


def _reason(result: Result) -> str:
    if result.ok:
        return ""
    if result.kind in ("parse", "timeout"):
        return result.kind
    return "unknown table" if "no such table" in result.error else "execution"


def _votes(results: Sequence[Result | None]) -> list[int]:
    """For each result, how many of the results have the same rows; 0 for one that failed."""
    rows = [repr(result.rows) if result and result.ok else None for result in results]
    counts = Counter(rows)
    return [counts[one] if one is not None else 0 for one in rows]


def _digest(request: Request, samples: Sequence[Sample]) -> str:
    answers = [[sample.text, sample.finish] for sample in samples]
    text = json.dumps([request.key.hex(), request.example.query, answers])
    return hashlib.sha256(text.encode()).hexdigest()


def write_traces(
    sieve: Sieve, store: Store, path: Path, *, options: str = "", progress: bool = False
) -> list[Judged]:
    """Judge all questions and write the kept traces to ``path``, as JSON Lines.

    Dropped samples go to ``<path>.dropped.jsonl`` with their reasons. Each verdict is written to
    ``<path>.judged.jsonl`` at once, so a run that was killed resumes, and a run with a few new
    samples judges only those. The other two files have the same bytes either way. ``options``
    describes what else the verdicts depend on; if it changes, all questions are judged again.
    """
    check_output(path, beside=True)
    verdicts_path = path.with_name(f"{path.name}.judged.jsonl")
    done = _read_verdicts(verdicts_path, options)
    judged = []
    with verdicts_path.open("a" if done else "w", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps({"options": options}) + "\n")
        verdicts = sieve.judge_all(store, done=done)
        for digest, one in tqdm(verdicts, desc="judging", unit="question", disable=not progress):
            judged.append(one)
            if done.get(one.question_id, ("",))[0] != digest:
                file.write(json.dumps({"digest": digest, "judged": asdict(one)}) + "\n")
                file.flush()
    if not judged and path.exists() and path.stat().st_size:
        raise TeacherError(
            f"No question has all its samples, so there is nothing to judge; the traces in {path} "
            "are left as they are. Ask the teacher first, or give the model, the endpoint and the "
            "settings with which it was asked."
        )
    dropped = (
        {"question_id": j.question_id, "db_id": j.db_id, "mode": j.mode, "sample": place,
         "reason": reason, "sql": sql}
        for j in judged
        for place, (reason, sql) in enumerate(zip(j.reasons, j.sqls, strict=True))
        if reason
    )  # fmt: skip
    write_json_lines(path.with_name(f"{path.name}.dropped.jsonl"), dropped)
    write_json_lines(path, (asdict(trace) for j in judged for trace in j.kept))
    return judged


def _read_verdicts(path: Path, options: str) -> dict[int, tuple[str, Judged]]:
    """The verdicts of an earlier run by question; lines that cannot be read are left out."""
    done: dict[int, tuple[str, Judged]] = {}
    first, *rest = resume_lines(path) or [""]
    if first != json.dumps({"options": options}):
        return done
    for line in rest:
        with suppress(ValueError, KeyError, TypeError):
            record = parse_json(line)
            fields = record["judged"]
            for name in ("texts", "sqls", "reasons"):
                fields[name] = tuple(fields[name])
            fields["kept"] = tuple(map(trace_of, fields["kept"]))
            done[fields["question_id"]] = record["digest"], Judged(**fields)
    return done

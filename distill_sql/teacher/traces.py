"""Traces: the teacher's answers that are proven by execution, and why the others were dropped.

A sample passes if its SQL, run as it stands, gives the gold rows (a multiset for some order of the
columns, in order where the gold query orders), and gives them on neighbour databases too, where
luck shows. Of the samples of a question that pass, the one whose result has most votes is kept, and
of those the shortest. A sample that merely runs is never kept.

Without gold queries the samples vote: the result that more than half of them agree on is kept. This
is self-consistency proper (Wang et al. 2023), and weaker: it keeps what the teacher is sure of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.errors import GoldQueryError, ParameterError, TeacherError
from distill_sql.files import (
    check_output,
    parse_json,
    read_json_lines,
    resume_lines,
    write_json_lines,
)
from distill_sql.prompting.prompts import Mode, check_schema_tokens, extract_sql, prompt_messages
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import Message
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.verdicts import Rules
from distill_sql.settings import work_folder
from distill_sql.sql.sandbox import DEADLINE, Result
from distill_sql.teacher.store import Sample, Store
from distill_sql.teacher.work import Request, Settings, requests_for

#: Every reason to drop a sample, in the order in which they are found.
REASONS: Mapping[str, str] = {
    "gold fails": "the gold query itself fails, so that nothing can be proven",
    "refusal": "the teacher declined to answer",
    "cut short": "it ended at the token limit before its query did",
    "no SQL": "there is no query in it",
    "parse": "its query is not SQL",
    "unknown table": "it reads a table that the database does not have",
    "execution": "the database refuses it: an unknown column, most often",
    "timeout": "it did not end within the deadline",
    "empty": "it gives no rows, and the gold query does",
    "wrong rows": "it gives other rows than the gold query",
    "lucky": "it gives the gold rows on the database, and not on a neighbour",
    "outvoted": "most samples give other rows (without gold queries)",
    "not the best": "it is right, and another sample of the question was kept",
}

_TEXTS = ("db_id", "question", "query", "mode", "completion", "sql", "model")


@dataclass(frozen=True)
class Trace:
    """One question with the answer that was kept. ``cost`` is in nano-dollars, for all samples.

    ``schema_tokens`` is the most that the schema in ``messages`` may take, 0 for all of it; files
    of earlier versions, which lack it, hold whole schemas.
    """

    question_id: int
    db_id: str
    question: str
    query: str
    mode: str
    messages: tuple[Message, ...]
    completion: str
    sql: str
    n_samples: int
    n_passed: int
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost: int
    schema_tokens: int = 0


@dataclass(frozen=True)
class Judged:
    """One question with all its samples: what was kept, and each sample's reason if it was not.

    ``reasons`` has an entry per sample, empty for one that was kept, and ``sqls`` the queries.
    ``kept`` holds one trace at most, or one per distinct query if all that pass are kept.
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
        """How many samples are right, kept or not."""
        return sum(reason in ("", "not the best") for reason in self.reasons)


class Sieve:
    """Judges the samples of many questions; use it as a context manager.

    ``neighbours`` are those of :func:`distill_sql.data.neighbours.build_neighbours`; ``gold`` is
    whether gold queries decide, ``all_passing`` whether every distinct query that passes is kept.
    ``count`` is that of :func:`~distill_sql.teacher.requests_for`.
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
        """Every question whose samples are all in the store, in the dataset's order.

        Each with the digest of its samples; a question that is in ``done`` with the same digest is
        not judged again. Questions that lack samples are passed over.
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
        """Judge the samples of one question; any thread may call."""
        sqls = [extract_sql(sample.text) or "" for sample in samples]
        found: dict[str, tuple[str, Result | None]] = {}
        for sql, sample in zip(sqls, samples, strict=True):
            if sql not in found:
                found[sql] = self._found(request, sql, sample)
        reasons = [found[sql][0] for sql in sqls]
        results = [found[sql][1] for sql in sqls]
        votes = Counter(_key(result) for result in results if result is not None and result.ok)
        if not self._gold:
            reasons = [
                reason or ("" if votes[_key(result)] * 2 > len(samples) else "outvoted")
                for reason, result in zip(reasons, results, strict=True)
            ]
        passed = [place for place, reason in enumerate(reasons) if not reason]
        best = sorted(
            passed,
            key=lambda place: (-votes[_key(results[place])], len(sqls[place]), place),
        )
        if not self._all_passing:
            kept = best[:1]
        else:
            kept = list({sqls[place].lower(): place for place in reversed(best)}.values())[::-1]
        for place in passed:
            if place not in kept:
                reasons[place] = "not the best"
        usage = {
            "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
            "completion_tokens": sum(sample.completion_tokens for sample in samples),
            "cost": sum(sample.cost for sample in samples),
        }
        example = request.example
        traces = tuple(
            Trace(
                example.question_id, example.db_id, example.question, example.query, request.mode,
                request.messages, samples[place].text, sqls[place], len(samples), len(passed),
                self.settings.model, **usage,
                schema_tokens=self.settings.schema_tokens,
            )
            for place in kept
        )  # fmt: skip
        return Judged(
            example.question_id,
            example.db_id,
            request.mode,
            tuple(sample.text for sample in samples),
            tuple(sqls),
            tuple(reasons),
            max(votes.values(), default=0),
            **usage,
            kept=traces,
        )

    def _found(self, request: Request, sql: str, sample: Sample) -> tuple[str, Result | None]:
        """The reason to drop a query, empty if there is none, and its result if it was run."""
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


def _key(result: Result | None) -> str:
    return repr(result.rows) if result is not None else ""


def _digest(request: Request, samples: Sequence[Sample]) -> str:
    answers = [[sample.text, sample.finish] for sample in samples]
    text = json.dumps([request.key.hex(), request.example.query, answers])
    return hashlib.sha256(text.encode()).hexdigest()


def reprompted(
    traces: Iterable[Trace],
    dataset: Dataset,
    *,
    style: Style,
    schema_tokens: int = 0,
    count: Callable[[str], int] | None = None,
) -> list[Trace]:
    """The same answers to the same questions, with prompts of another style or schema budget.

    So a student can be taught as it will be asked, by traces that were asked otherwise; completion
    and mode stay. ``dataset`` is the split that the traces answer; the rest is as in
    :func:`~distill_sql.prompting.prompts.prompt_messages`. Raises :class:`TeacherError` for a trace
    whose question is not in ``dataset``.
    """
    examples = {(e.question_id, e.db_id, e.question): e for e in dataset}
    made = []
    for trace in traces:
        example = examples.get((trace.question_id, trace.db_id, trace.question))
        if example is None:
            raise TeacherError(
                f"Trace {trace.question_id} on {trace.db_id} answers {trace.question!r}, which is "
                f"no question of {dataset.name} {dataset.split}: give the split that was asked."
            )
        messages = prompt_messages(
            dataset, example, mode=cast(Mode, trace.mode), style=style,
            schema_tokens=schema_tokens, count=count,
        )  # fmt: skip
        made.append(replace(trace, messages=tuple(messages), schema_tokens=schema_tokens))
    return made


# --- Files --------------------------------------------------------------------------------------


def write_traces(
    sieve: Sieve, store: Store, path: Path, *, options: str = "", progress: bool = False
) -> list[Judged]:
    """Judge all questions and write the traces that are kept to ``path``, as JSON Lines.

    Dropped samples go to ``<path>.dropped.jsonl`` with their reasons. Verdicts are put down at once
    in ``<path>.judged.jsonl``, so a run that was killed goes on where it was and one with a few new
    samples judges only those; the other two files are the same bytes either way. ``options`` names
    what else the verdicts depend on; with others, all are judged again.
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
            "are left as they are. Ask first, or give the model, the endpoint and the settings "
            "that were asked with."
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
    """The verdicts of an earlier run; what cannot be read is judged again."""
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
            fields["kept"] = tuple(map(_trace, fields["kept"]))
            done[fields["question_id"]] = record["digest"], Judged(**fields)
    return done


def _trace(record: Mapping[str, Any]) -> Trace:
    """A trace from its record; ValueError or TypeError where a field is missing or no such value.

    Text is where text belongs: what trains a student is not guessed at.
    """
    trace = Trace(**{**record, "messages": tuple(record["messages"])})
    texts = [getattr(trace, name) for name in _TEXTS]
    texts += [text for one in trace.messages for text in (one["role"], one["content"])]
    if strange := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"found {strange[0]!r} where a text belongs")
    if not isinstance(trace.question_id, int):
        raise ValueError(f"question_id is {trace.question_id!r}, no whole number")
    try:
        check_schema_tokens(trace.schema_tokens)
    except ParameterError:
        raise ValueError(f"schema_tokens is {trace.schema_tokens!r}, no number of tokens") from None
    return trace


def chapter_file(dataset: str) -> Path:
    """Where the teacher chapter leaves the traces of a dataset, by its name or its folder."""
    return work_folder() / "traces" / f"{Path(dataset).name}.jsonl"


def chapter_traces(given: str, dataset: str) -> list[Trace]:
    """The traces of the file that was ``given``, or else the teacher chapter's; none if it left
    none."""
    path = Path(given) if given else chapter_file(dataset)
    return read_traces(path) if given or path.exists() else []


def read_traces(path: Path) -> list[Trace]:
    """The traces of a file; raises :class:`TeacherError` naming the first line that is none."""
    if not path.exists():
        raise TeacherError(f"No traces at {path}. Make them: distill-sql teacher traces.")
    fix = "Expected a line of `distill-sql teacher traces`; make the file again."
    traces = []
    for number, record in read_json_lines(path, error=TeacherError, fix=fix):
        try:
            traces.append(_trace(record))
        except (ValueError, TypeError, KeyError) as error:
            raise TeacherError(
                f"{path}, line {number}: no trace ({type(error).__name__}: {error}). {fix}"
            ) from error
    return traces

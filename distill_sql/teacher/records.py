"""The record of a trace, and the files that traces are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from distill_sql.data.datasets import Dataset
from distill_sql.errors import ParameterError, TeacherError
from distill_sql.files import read_json_lines
from distill_sql.prompting.prompts import Mode, check_schema_tokens, prompt_messages
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import Message
from distill_sql.settings import work_folder

_TEXTS = ("db_id", "question", "query", "mode", "completion", "sql", "model")


@dataclass(frozen=True)
class Trace:
    """One question with the answer that was kept.

    ``prompt_tokens``, ``completion_tokens`` and ``cost`` (nano-dollars) are sums over all samples
    of the question. ``schema_tokens`` is the token limit of the schema in ``messages``, 0 for the
    whole schema. Files of earlier versions lack this field; their schemas are whole.
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


def trace_of(record: Mapping[str, Any]) -> Trace:
    """A trace from its JSON object.

    Raises KeyError, TypeError or ValueError if a field is missing or has a value of the wrong type:
    training data is never guessed.
    """
    trace = Trace(**{**record, "messages": tuple(record["messages"])})
    texts = [getattr(trace, name) for name in _TEXTS]
    texts += [text for one in trace.messages for text in (one["role"], one["content"])]
    if strange := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"expected text, found {strange[0]!r}")
    if not isinstance(trace.question_id, int):
        raise ValueError(f"question_id is {trace.question_id!r}; expected an integer")
    try:
        check_schema_tokens(trace.schema_tokens)
    except ParameterError:
        raise ValueError(
            f"schema_tokens is {trace.schema_tokens!r}; expected a number of tokens"
        ) from None
    return trace


def read_traces(path: Path) -> list[Trace]:
    """The traces of a file; raises :class:`TeacherError` for the first line that is not a trace."""
    if not path.exists():
        raise TeacherError(f"No traces at {path}. To make them: distill-sql teacher traces.")
    fix = "Expected a line of `distill-sql teacher traces`; make the file again."
    traces = []
    for number, record in read_json_lines(path, error=TeacherError, fix=fix):
        try:
            traces.append(trace_of(record))
        except (ValueError, TypeError, KeyError) as error:
            raise TeacherError(
                f"{path}, line {number}: not a trace ({type(error).__name__}: {error}). {fix}"
            ) from error
    return traces


def chapter_file(dataset: str) -> Path:
    """The file to which the teacher chapter writes the traces of a dataset, by name or folder."""
    return work_folder() / "traces" / f"{Path(dataset).name}.jsonl"


def chapter_traces(given: str, dataset: str) -> list[Trace]:
    """The traces of the file ``given``, or of the teacher chapter if it is empty.

    The list is empty if the teacher chapter has written none.
    """
    path = Path(given) if given else chapter_file(dataset)
    return read_traces(path) if given or path.exists() else []


def reprompted(
    traces: Iterable[Trace],
    dataset: Dataset,
    *,
    style: Style,
    schema_tokens: int = 0,
    count: Callable[[str], int] | None = None,
) -> list[Trace]:
    """The same traces with prompts of another style or schema limit.

    So the traces can train a student that will be asked with such prompts. Completions and modes do
    not change. ``dataset`` is the split that the traces answer; the other arguments are those of
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
                f"not a question of {dataset.name} {dataset.split}. Give the split that the traces "
                "were made from."
            )
        messages = prompt_messages(
            dataset, example, mode=cast(Mode, trace.mode), style=style,
            schema_tokens=schema_tokens, count=count,
        )  # fmt: skip
        made.append(replace(trace, messages=tuple(messages), schema_tokens=schema_tokens))
    return made

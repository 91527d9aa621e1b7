"""Predictions of an endpoint: every question of a split asked once, and the answers as a file.

Answers come through the teacher's own client and are kept in its cache, so a run that was stopped
goes on, a second one costs nothing, and the budget holds for all of them together. The file is
written only when every question has its answer, as one of a student is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distill_sql.data.datasets import Dataset
from distill_sql.data.predictions import Prediction
from distill_sql.files import write_json, write_json_lines
from distill_sql.prompting.prompts import Mode, extract_sql
from distill_sql.prompting.rendering import Style
from distill_sql.provenance import manifest
from distill_sql.teacher.addresses import split_login
from distill_sql.teacher.prices import NANO
from distill_sql.teacher.store import Sample, Store
from distill_sql.teacher.work import Request, Settings, requests_for


def asking_once(
    *,
    model: str,
    base_url: str,
    mode: Mode = "direct",
    style: Style = "full",
    schema_tokens: int = 0,
    temperature: float = 0.0,
    max_tokens: int = Settings.max_tokens,
) -> Settings:
    """The settings of asking every question once, and all in the same mode.

    Raises :class:`~distill_sql.errors.TeacherError` for values that no endpoint takes.
    """
    return Settings(
        model=model,
        base_url=split_login(base_url)[0],
        samples=1,
        # As a float: an answer at 0 and one at 0.0 would be filed under different keys.
        temperature=float(temperature),
        max_tokens=max_tokens,
        reasoning_share=float(mode == "reasoning"),
        style=style,
        schema_tokens=schema_tokens,
    )


def check_databases(dataset: Dataset) -> None:
    """Raise :class:`~distill_sql.errors.DatasetError` if a database is missing: its questions
    cannot be asked, and predictions are for all questions."""
    for db_id in dataset.db_ids:
        dataset.database_path(db_id)


def unanswered(dataset: Dataset, settings: Settings, store: Store) -> int:
    """How many questions have no answer in the store yet."""
    return sum(bool(store.missing(r.key, 1)) for r in requests_for(dataset, settings))


def write_predictions(
    dataset: Dataset, settings: Settings, store: Store, out: Path, *, seconds: float
) -> Path:
    """Write the answers of the store to ``out`` as predictions, and the record beside them.

    All questions must have an answer. The record is ``<out>.manifest.json``: model, host, settings,
    dataset, tokens and cost; ``seconds`` is what this run took. An answer without SQL, such as a
    refusal, is a prediction without SQL.
    """
    pairs = [
        (request, sample)
        for request in requests_for(dataset, settings)
        for sample in store.samples(request.key, 1)
        if sample is not None
    ]
    write_json_lines(out, (_prediction(*pair).record() for pair in pairs))
    samples = [sample for _, sample in pairs]
    write_json(
        out.with_name(f"{out.name}.manifest.json"),
        manifest(
            dataset=dataset.description(),
            model=settings.model,
            wall_time_s=seconds,
            host=urlsplit(settings.base_url).hostname,
            settings=_shown(settings),
            usage=_usage(samples),
        ),
    )
    return out


def _prediction(request: Request, sample: Sample) -> Prediction:
    """Tokens are the endpoint's count, or an upper bound where it gave none; the latency is not
    known."""
    return Prediction(
        request.example.question_id,
        request.example.db_id,
        extract_sql(sample.text) or "",
        raw_text=sample.text,
        n_prompt_tokens=sample.prompt_tokens,
        n_output_tokens=sample.completion_tokens,
    )


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings that decide the answers, without the address: only its host is recorded."""
    return {
        "mode": "reasoning" if settings.reasoning_share else "direct",
        "style": settings.style,
        "schema_tokens": settings.schema_tokens,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }


def _usage(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
        "completion_tokens": sum(sample.completion_tokens for sample in samples),
        "cost_dollars": sum(sample.cost for sample in samples) / NANO,
    }

"""Chapter 2: the teacher's prompts, what asking costs, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from distill_sql.book import survey
from distill_sql.book.pages.teacher_traces import traces_of
from distill_sql.book.shown import Table
from distill_sql.data.datasets import Dataset, has_split, reported_split
from distill_sql.prompting.prompts import (
    COMPACT_INSTRUCTIONS,
    INSTRUCTIONS,
    prompt_messages,
    trace_mode,
)
from distill_sql.prompting.rendering import Style
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.teacher import Settings, Store, estimate_cost, price_of, requests_for
from distill_sql.teacher.client import Outcome
from distill_sql.teacher.open_model import BITS, OpenModel, open_model
from distill_sql.teacher.prices import AS_OF, OPENAI_URL, dollars
from distill_sql.teacher.sampling import Sampling
from distill_sql.teacher.traces import Judged
from distill_sql.teacher.work import TYPICAL_TOKENS


def split_of(dataset: str) -> str:
    """The split whose prompts the chapter shows: the training split, where there is one."""
    return "train" if has_split(dataset, "train") else reported_split(dataset)


# --- What is asked, and what it costs -------------------------------------------------------------


def teacher_note(sampling: Sampling) -> str:
    """What the teacher on this machine is, where one is asked."""
    if sampling.is_open:
        return _open_note(open_model(sampling.settings.model))
    if not sampling.is_embedded:
        return ""
    return (
        "**The teacher of this build is small.** It is a model that the package carries, "
        f"`{sampling.settings.model}`. It is asked through the same endpoint protocol, cache, "
        "budget and sieve as GPT-4o-mini would be. Its training set has neither the questions "
        "asked here nor any database of the benchmark, but it has the benchmark's kinds of "
        "question, on made-up databases; so have those of the students' base models. It has more "
        "layers than the students, and the queries it was trained on select exactly what the "
        "question asks for. The pretraining appendix shows this, and measures what the benchmark's "
        "kinds of question are worth. So the figures here measure the procedure, not the knowledge "
        "of a large teacher."
    )


def _open_note(model: OpenModel) -> str:
    """What an open teacher is: its weights, and the server that computes with them."""
    if model.file:
        weights = (
            f"the official file `{model.file}` (SHA-256 `{model.digest}`), which holds "
            f"{BITS[model.file]} bits per weight"
        )
    else:
        weights = f"the weights of `{model.recipe.base}` (digest `{model.digest}`)"
    server = {
        "llama.cpp": "llama.cpp's server, which computes with the file's own weights",
        "torch": "PyTorch, which computes with the weights of the file in 16 or 32 bits"
        if model.file
        else "PyTorch",
    }[model.server]
    return (
        f"**The teacher of this build is open.** It is the base of the recipe "
        f"`{model.recipe.name}`: {weights}. It runs on this machine behind {server}. It is asked "
        "through the same endpoint protocol, cache and sieve as GPT-4o-mini would be, with the "
        f"same prompts, and it needs no key. Its answers are stored under `{model.name}`."
        + " The completion tokens below are those of the first sample of each request: this server "
        "counts no others." * (model.server == "llama.cpp")
    )


def data_notes(dataset: Dataset, tokenizer: ChatTokenizer) -> list[str]:
    """What the reader must know about the questions and the tokenizer, if anything."""
    asked_nothing = (
        f"{dataset.name} has no training questions here. Prompts and prices are those of its "
        f"{dataset.split} questions, and nothing is asked."
    )
    return [
        "" if dataset.split == "train" else asked_nothing,
        survey.left_out(dataset),
        tokenizer.note,
    ]


def prompts_table(dataset: Dataset, settings: Settings, tokenizer: ChatTokenizer) -> Table:
    """Number and length of the prompts of each mode."""
    lengths: dict[str, list[int]] = {}
    for example in dataset:
        mode = trace_mode(example, reasoning_share=settings.reasoning_share, seed=settings.seed)
        messages = prompt_messages(
            dataset, example, mode=mode, style=settings.style,
            schema_tokens=settings.schema_tokens, count=tokenizer.count,
        )  # fmt: skip
        lengths.setdefault(mode, []).append(tokenizer.count(tokenizer.render(messages)))
    return Table(
        [
            {
                "mode": mode,
                "count": len(each),
                "mean": sum(each) / len(each),
                "max": max(each),
                "sum": sum(each),
            }
            for mode, each in sorted(lengths.items())
        ],
        f"Prompts for the {len(dataset):,} {dataset.split} questions of {dataset.name} whose "
        f"database is present, in the {settings.style} style, in tokens of {tokenizer.name}.",
        columns={
            "mode": "mode", "count": "questions", "mean": "mean tokens", "max": "longest",
            "sum": "all tokens",
        },
        formats={"mean": ",.0f", "max": ",d", "sum": ",d", "count": ",d"},
    )  # fmt: skip


def price_note(dataset: Dataset, settings: Settings, count: Callable[[str], int]) -> str:
    """What it would cost to ask GPT-4o-mini all questions, in the style of prompts it would get."""
    asked = Settings(
        samples=settings.samples,
        reasoning_share=settings.reasoning_share,
        seed=settings.seed,
        schema_tokens=settings.schema_tokens,
    )
    with TemporaryDirectory() as folder, Store(Path(folder) / "empty.sqlite") as empty:
        total = estimate_cost(
            requests_for(dataset, asked, count=count), asked, empty,
            price_of(asked.model, OPENAI_URL),
        )  # fmt: skip
    return (
        f"Asking GPT-4o-mini all questions, in the {asked.style} style, takes {total.requests:,} "
        f"requests for {total.samples:,} samples and about **{dollars(total.cost)}** (half of that "
        "through the Batch API). This is an estimate, not a bill. It assumes four bytes per token, "
        f"{TYPICAL_TOKENS['direct']} tokens for a direct answer, {TYPICAL_TOKENS['reasoning']} for "
        f"a reasoned one, and the prices of {AS_OF}. With one sample per request there would be "
        f"{total.samples:,} requests, and each prompt would be paid for {asked.samples} times."
    )


def instructions(style: Style) -> list[str]:
    """The instruction of each mode."""
    by_mode = COMPACT_INSTRUCTIONS if style == "compact" else INSTRUCTIONS
    return [f"**{mode}**: {instruction}" for mode, instruction in by_mode.items()]


# --- What came back -------------------------------------------------------------------------------


def asking_note(
    sampling: Sampling, outcome: Outcome | None, store: Path, *, neighbours: int
) -> str:
    """How the answers came, or why no endpoint was asked; empty if all answers were stored."""
    if outcome is None:
        why = "the budget is 0" if sampling.key else "OPENAI_API_KEY is not set"
        return (
            f"**Nothing was asked in this build**: {why}. The answers shown are those stored in "
            f"{store.name}."
        )
    if not outcome.samples:
        return ""
    return (
        f"{outcome.samples:,} answers to {outcome.requests:,} requests came in "
        f"{outcome.seconds:,.0f} s. Each was judged on its database and on up to {neighbours} "
        "variants of it."
    )


def answers_note(sampling: Sampling, judged: Sequence[Judged], outcome: Outcome | None) -> str:
    """How many questions are answered correctly, and what the answers cost."""
    cost, traces = sum(one.cost for one in judged), traces_of(judged)
    right = sum(bool(one.kept) for one in judged)
    first = sum(one.reasons[0] in ("", "not the best") for one in judged)
    return (
        f"{len(judged):,} of {len(sampling.questions):,} questions have all their samples: "
        f"{sum(one.completion_tokens for one in judged):,} completion tokens, {dollars(cost)}. "
        f"**{right:,} of them have at least one correct sample**"
        + (f"; the first sample alone is correct for {first:,}" if judged else "")
        + (f"; {dollars(cost // len(traces))} per trace." if traces and cost else ".")
        + (f" The run ended early: {outcome.stopped}." if outcome and outcome.stopped else "")
    )

"""Token ids, loss mask and order, which both back ends share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.errors import TrainingError
from distill_sql.models.recipes import Recipe
from distill_sql.prompting.tokenizer import ChatTokenizer, load_tokenizer
from distill_sql.teacher.traces import Trace
from distill_sql.training.rows import make_row, make_rows, rows_of_updates, updates


@pytest.mark.filterwarnings("default")
def test_a_row_is_what_the_model_librarys_own_tokenizer_makes(
    traces: list[Trace], qwen_dir: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra train is not installed")
    theirs = transformers.AutoTokenizer.from_pretrained(qwen_dir)
    ours = load_tokenizer(qwen_dir)
    for trace in traces[:20]:
        row = make_row(trace, ours)
        prompt = theirs.apply_chat_template(
            list(trace.messages), add_generation_prompt=True, tokenize=False
        )
        whole = theirs.apply_chat_template(
            [*trace.messages, {"role": "assistant", "content": trace.completion}], tokenize=False
        )
        assert list(row.ids) == theirs(whole.removesuffix("\n"))["input_ids"]
        assert row.prompt == len(theirs(prompt)["input_ids"])


def test_only_the_completion_and_its_end_are_learned(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer
) -> None:
    row = make_row(traces[1], tiny_tokenizer)
    decode = tiny_tokenizer.backend.decode
    learned = decode(list(row.ids[row.prompt :]), skip_special_tokens=False)
    assert learned == f"{traces[1].completion}<|im_end|>"
    read = decode(list(row.ids[: row.prompt]), skip_special_tokens=False)
    assert read.endswith("<|im_start|>assistant\n")


def test_every_trace_once_an_epoch_in_batches_of_like_length(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    rows = make_rows(traces, tiny_tokenizer, replace(recipe, epochs=2))
    assert len(rows.rows) == 2 * len(traces)
    first, second = rows.rows[: len(traces)], rows.rows[len(traces) :]
    assert Counter(first) == Counter(second)
    assert first != second
    spread = [
        max(len(r.ids) for r in first[n : n + 8]) - min(len(r.ids) for r in first[n : n + 8])
        for n in range(0, len(first), 8)
    ]
    assert sum(spread) / len(spread) < 20
    assert updates(replace(recipe, epochs=2), rows) == 50
    assert rows == make_rows(traces, tiny_tokenizer, replace(recipe, epochs=2))
    assert rows != make_rows(traces, tiny_tokenizer, replace(recipe, epochs=2, seed=1))


def test_updates_by_database_hold_one_database_each_but_for_what_is_left(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    named = [replace(trace, db_id=f"db{number % 3}") for number, trace in enumerate(traces[:62])]
    of = {make_row(trace, tiny_tokenizer): trace.db_id for trace in named}
    named = [one for one in named if of[make_row(one, tiny_tokenizer)] == one.db_id]  # no twins
    grouped = replace(recipe, batch=4, epochs=2, grouping="database")
    made = make_rows(named, tiny_tokenizer, grouped)
    per_epoch = len(named)
    first, second = made.rows[:per_epoch], made.rows[per_epoch:]
    assert Counter(first) == Counter(second) == Counter(list(of))
    assert first != second
    assert make_rows(named, tiny_tokenizer, grouped) == made
    batches = [{of[row] for row in batch} for batch in rows_of_updates(grouped, made)]
    counts = Counter(of.values())
    mixed = sum(len(batch) > 1 for batch in batches)
    assert len(batches) - mixed >= 2 * sum(count // 4 for count in counts.values())
    assert mixed <= 2 * -(-sum(count % 4 for count in counts.values()) // 4)
    mixing = replace(grouped, grouping="mixed")
    random_order = make_rows(named, tiny_tokenizer, mixing)
    assert (
        sum(len({of[row] for row in batch}) > 1 for batch in rows_of_updates(mixing, random_order))
        > 2 * mixed
    )


def test_direct_only_leaves_the_reasoning_out(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    rows = make_rows(traces, tiny_tokenizer, replace(recipe, modes="direct"))
    assert len(rows.rows) == sum(trace.mode == "direct" for trace in traces) < len(traces)


def test_too_long_is_counted_and_never_cut(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    lengths = sorted(len(make_row(trace, tiny_tokenizer).ids) for trace in traces)
    limit = lengths[len(lengths) // 2]
    rows = make_rows(traces, tiny_tokenizer, replace(recipe, length=limit))
    assert rows.too_long == sum(length > limit for length in lengths) > 0
    assert max(len(row.ids) for row in rows.rows) == limit


def test_an_empty_completion_is_an_error(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    broken = [*traces, replace(traces[0], completion=" \n", question_id=77)]
    with pytest.raises(TrainingError, match=r"Trace 77 on .* has an empty completion"):
        make_rows(broken, tiny_tokenizer, recipe)


def test_fewer_traces_than_a_batch_are_an_error(
    traces: list[Trace], tiny_tokenizer: ChatTokenizer, recipe: Recipe
) -> None:
    with pytest.raises(TrainingError, match=r"has 0 traces to train on.*20 exceed 16 tokens"):
        make_rows(traces[:20], tiny_tokenizer, replace(recipe, length=16))

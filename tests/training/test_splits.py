from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.prompting.prompts import tokenizer_for
from distill_sql.prompting.tokenizer import ChatTokenizer
from distill_sql.teacher.traces import Trace
from distill_sql.training.rows import make_row
from distill_sql.training.splits import leaks, length, normal_query, training_set


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return tokenizer_for(load_dataset("pocket", split="train"))


def trace(number: int, db_id: str = "a", question: str = "How many?", sql: str = "") -> Trace:
    messages = ({"role": "user", "content": question},)
    sql = sql or f"SELECT {number}"
    return Trace(number, db_id, question, sql, "direct", messages,  # type: ignore[arg-type]
                 f"```sql\n{sql}\n```", sql, 3, 2, "m", 1, 1, 0)  # fmt: skip


def test_long_traces_and_near_duplicates_are_left_out(tokenizer: ChatTokenizer) -> None:
    one = trace(1)
    again = replace(one, question_id=2, question="how MANY")
    other = trace(3, sql="select 1 , 2")
    long = trace(4, question="why " * 2000)
    traces = [one, again, other, long]
    found = training_set(traces, tokenizer, max_tokens=1024, validation_share=0)
    assert [t.question_id for t in found.train] == [1, 3]
    assert found.left_out == {"near_duplicates": 1, "too_long": 1}


def test_the_limit_counts_prompt_and_completion(tokenizer: ChatTokenizer) -> None:
    one = trace(1)
    tokens = length(one, tokenizer)
    assert tokens > tokenizer.count(one.messages[0]["content"]) + tokenizer.count(one.completion)
    assert training_set([one], tokenizer, max_tokens=tokens).train == (one,)
    assert training_set([one], tokenizer, max_tokens=tokens - 1).too_long == 1


def test_a_trace_is_as_long_as_the_row_that_is_learned(tokenizer: ChatTokenizer) -> None:
    """Otherwise training would leave out traces that the split kept, and counts would differ."""
    for one in (trace(1), replace(trace(2), completion="Reason first.\n```sql\nSELECT 2\n```\n ")):
        assert length(one, tokenizer) == len(make_row(one, tokenizer).ids)


def test_validation_has_databases_of_its_own(tokenizer: ChatTokenizer) -> None:
    traces = [trace(n, db_id=f"db{n % 10}") for n in range(100)]
    options = {"max_tokens": 1024, "validation_share": 0.15}
    found = training_set(traces, tokenizer, **options)  # type: ignore[arg-type]
    assert len(found.validation) == 20
    assert not {t.db_id for t in found.train} & {t.db_id for t in found.validation}
    assert len(found.train) == 80
    assert training_set(traces, tokenizer, **options) == found  # type: ignore[arg-type]
    assert training_set(traces, tokenizer, seed=1, **options) != found  # type: ignore[arg-type]


def test_the_split_is_the_same_for_every_length(tokenizer: ChatTokenizer) -> None:
    traces = [trace(n, db_id=f"db{n % 30}", question="why " * n) for n in range(300)]
    whole, short = (training_set(traces, tokenizer, max_tokens=most) for most in (4096, 150))
    assert short.too_long > 100
    for name in ("train", "validation"):
        some, every = ({t.question_id for t in getattr(one, name)} for one in (short, whole))
        assert some < every


@pytest.mark.parametrize("databases", [1, 2, 4])
def test_a_file_of_few_databases_spares_none(tokenizer: ChatTokenizer, databases: int) -> None:
    traces = [trace(n, db_id=f"db{n % databases}") for n in range(40)]
    found = training_set(traces, tokenizer, max_tokens=1024)
    assert (len(found.train), found.validation) == (40, ())


def test_a_database_that_is_too_large_stays_and_a_smaller_one_goes(
    tokenizer: ChatTokenizer,
) -> None:
    traces = [trace(n, db_id="large" if n < 90 else "small") for n in range(100)]
    for seed in range(8):
        found = training_set(traces, tokenizer, max_tokens=1024, seed=seed)
        assert {t.db_id for t in found.validation} == {"small"}


def test_leaks_are_found_in_any_spelling(toy_dataset: Path) -> None:
    dev = load_dataset(toy_dataset)
    clean = trace(7)
    asked = trace(8, question="how many  CUSTOMERS are there")
    copied = trace(9, sql='select COUNT(*) from "customer"')
    found = leaks([clean, asked, copied], dev)
    assert [(leak.trace_id, leak.dev_id, leak.what) for leak in found] == [
        (8, 0, "question"), (9, 0, "query"),
    ]  # fmt: skip


def test_any_text_has_a_normal_form() -> None:
    assert normal_query("SELECT a FROM t WHERE  if > 2") == "select a from t where if > 2"
    assert normal_query("") == ""
    assert normal_query("SELECT a  FROM t; -- note") == normal_query("select a from t")
    assert normal_query("SELECT " + "- " * 450 + "1").startswith("select - -")

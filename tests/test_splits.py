from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.datasets import load_dataset
from distill_sql.prompts import tokenizer_for
from distill_sql.splits import leaks, length, normal_query, training_set
from distill_sql.tokenizer import ChatTokenizer
from distill_sql.traces import Trace


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
    found = training_set([one, again, other, long], tokenizer, validation_share=0)
    assert [t.question_id for t in found.train] == [1, 3]
    assert (found.too_long, found.near_duplicates) == (1, 1)


def test_the_budget_counts_prompt_and_completion(tokenizer: ChatTokenizer) -> None:
    one = trace(1)
    tokens = length(one, tokenizer)
    assert tokens > tokenizer.count(one.messages[0]["content"]) + tokenizer.count(one.completion)
    assert training_set([one], tokenizer, max_tokens=tokens).train == (one,)
    assert training_set([one], tokenizer, max_tokens=tokens - 1).too_long == 1


def test_validation_has_databases_of_its_own(tokenizer: ChatTokenizer) -> None:
    traces = [trace(n, db_id=f"db{n % 10}") for n in range(100)]
    found = training_set(traces, tokenizer, validation_share=0.15)
    assert len(found.validation) == 20
    assert not {t.db_id for t in found.train} & {t.db_id for t in found.validation}
    assert training_set(traces, tokenizer, validation_share=0.15) == found
    assert training_set(traces, tokenizer, validation_share=0.15, seed=1) != found
    alone = training_set([trace(1)], tokenizer)
    assert (len(alone.train), len(alone.validation)) == (1, 0)


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

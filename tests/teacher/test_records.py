from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import TeacherError
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.settings import work_folder
from distill_sql.teacher import Sample, Store, requests_for
from distill_sql.teacher.records import chapter_file, chapter_traces, read_traces, reprompted
from distill_sql.teacher.traces import Sieve, write_traces
from tests.teacher.test_traces import GOLD, SETTINGS, count_words, fenced, filled, judge


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sql": None}, "expected text, found None"),
        ({"messages": None}, "TypeError"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "expected text, found ['x']"),
        ({"messages": [{"role": "user"}]}, "KeyError: 'content'"),
        ({"question_id": "0"}, "question_id is '0'; expected an integer"),
        ({"extra": 1}, "TypeError"),
    ],
)
def test_the_error_names_the_line_that_is_not_a_trace(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    record = {
        "question_id": 0, "db_id": "d", "question": "q", "query": "SELECT 1", "mode": "direct",
        "messages": [{"role": "user", "content": "q"}], "completion": "c", "sql": "SELECT 1",
        "n_samples": 1, "n_passed": 1, "model": "m", "prompt_tokens": 0, "completion_tokens": 0,
        "cost": 0,
    }  # fmt: skip
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(record)}\n\n{json.dumps(record | change)}\n")
    with pytest.raises(TeacherError, match=r"x\.jsonl, line 3: not a trace") as error:
        read_traces(path)
    assert message in str(error.value)


def test_unicode_line_separators_in_answers_do_not_end_a_line(cases: Path) -> None:
    traces = read_traces(cases / "02_unicode_line_separators" / "traces_u2028.jsonl")
    assert traces
    assert any("\u2028" in trace.completion for trace in traces)


def test_a_missing_file_and_a_file_of_other_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="No traces at"):
        read_traces(tmp_path / "absent.jsonl")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(TeacherError, match="line 1: not a trace"):
        read_traces(tmp_path / "x.jsonl")


def test_chapters_read_the_traces_of_the_teacher_chapter(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chapter_traces("", "pocket") == []
    assert chapter_file("/data/my shop") == work_folder() / "traces" / "my shop.jsonl"
    with Store(tmp_path / "s.sqlite") as store, Sieve(shop, SETTINGS) as sieve:
        filled(store, shop, "no", "no", fenced(GOLD))
        write_traces(sieve, store, chapter_file("pocket"))
    assert [trace.sql for trace in chapter_traces("", "pocket")] == [GOLD]
    assert chapter_traces("", "spider") == []
    with pytest.raises(TeacherError, match="No traces at"):
        chapter_traces("elsewhere.jsonl", "pocket")


def test_a_trace_has_its_schema_limit_and_older_files_have_none(
    shop: Dataset, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, schema_tokens=10_000)
    request = next(requests_for(shop, settings, count=count_words))
    with Sieve(shop, settings) as sieve:
        judged = sieve.judge(request, [Sample(fenced(GOLD), "stop", 10, 5, 2)])
    assert [trace.schema_tokens for trace in judged.kept] == [10_000]
    record = {**asdict(judged.kept[0])}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert read_traces(path)[0].schema_tokens == 10_000
    del record["schema_tokens"]
    path.write_text(json.dumps(record) + "\n")
    assert read_traces(path)[0].schema_tokens == 0
    for wrong in (-1, "500", None):
        path.write_text(json.dumps({**record, "schema_tokens": wrong}) + "\n")
        with pytest.raises(TeacherError, match=r"line 1: not a trace .*schema_tokens"):
            read_traces(path)


def test_traces_get_prompts_of_another_style_or_schema_limit(shop: Dataset) -> None:
    (trace,) = judge(shop, fenced(GOLD)).kept
    trace = replace(trace, mode="reasoning")
    example = shop.examples[0]
    for style, tokens in (("compact", 0), ("full", 1), ("compact", 1)):
        options = {"style": style, "schema_tokens": tokens, "count": count_words}
        [made] = reprompted([trace], shop, **options)  # type: ignore[arg-type]
        asked = prompt_messages(shop, example, mode="reasoning", **options)  # type: ignore[arg-type]
        assert made == replace(trace, messages=tuple(asked), schema_tokens=tokens)
        assert made.messages != trace.messages
    other = shop.with_examples([replace(example, question="How many orders are there?")])
    with pytest.raises(TeacherError, match=r"is not a question of .* Give the split"):
        reprompted([trace], other, style="full")

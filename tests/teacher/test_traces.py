from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import TeacherError
from distill_sql.prompting.prompts import prompt_messages
from distill_sql.settings import work_folder
from distill_sql.teacher import Sample, Settings, Store, requests_for
from distill_sql.teacher.traces import (
    REASONS,
    Judged,
    Sieve,
    chapter_file,
    chapter_traces,
    read_traces,
    reprompted,
    write_traces,
)

SETTINGS = Settings(model="m", base_url="http://test/v1")
GOLD = "SELECT count(*) FROM customer"


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def fenced(sql: str) -> str:
    return f"```sql\n{sql}\n```"


def judge(dataset: Dataset, *texts: str, finish: str = "stop", **options: object) -> Judged:
    request = next(requests_for(dataset, SETTINGS))
    samples = [Sample(text, finish, 10, 5, 2) for text in texts]
    with Sieve(dataset, SETTINGS, **options) as sieve:  # type: ignore[arg-type]
        return sieve.judge(request, samples)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I do not know.", "no SQL"),
        (fenced("SELECT count(* FROM customer"), "parse"),
        (fenced("SELECT count(*) FROM customers"), "unknown table"),
        (fenced("SELECT count(nope) FROM customer"), "execution"),
        (fenced("DROP TABLE customer"), "execution"),
        (fenced("SELECT 7"), "wrong rows"),
        (fenced("SELECT id FROM customer WHERE id > 99"), "empty"),
        (fenced("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT max(i) FROM n"), "timeout"),
    ],
)  # fmt: skip
def test_every_drop_has_its_reason(shop: Dataset, text: str, reason: str) -> None:
    found = judge(shop, text, text, fenced(GOLD), deadline=0.3)
    assert found.reasons == (reason, reason, "")
    assert reason in REASONS
    assert found.kept[0].sql == GOLD
    assert (found.kept[0].n_samples, found.kept[0].n_passed, found.n_passed) == (3, 1, 1)
    assert (found.cost, found.kept[0].prompt_tokens) == (6, 30)


def test_a_sample_that_merely_runs_is_never_kept(shop: Dataset) -> None:
    assert judge(shop, *[fenced("SELECT 7")] * 3).kept == ()


def test_cut_short_and_refused(shop: Dataset) -> None:
    assert judge(shop, "Let me think", finish="length").reasons == ("cut short",)
    assert judge(shop, "", finish="refusal").reasons == ("refusal",)


def test_the_shortest_of_those_that_pass_is_kept(shop: Dataset) -> None:
    longer = "SELECT count(*) AS number_of_customers FROM customer"
    found = judge(shop, fenced(longer), fenced(GOLD), fenced(longer))
    assert found.reasons == ("not the best", "", "not the best")
    assert found.agreement == 3


def test_every_distinct_query_can_be_kept(shop: Dataset) -> None:
    longer = "SELECT count(*) AS n FROM customer"
    found = judge(shop, fenced(GOLD), fenced(longer), fenced(GOLD.lower()), all_passing=True)
    assert {trace.sql for trace in found.kept} == {GOLD, longer}


def test_a_lucky_sample_fails_on_a_neighbour(shop: Dataset, tmp_path: Path) -> None:
    made = build_neighbours(shop, folder=tmp_path)
    lucky = fenced("SELECT count(*) FROM order_item")  # three of both, by chance
    assert judge(shop, lucky).reasons == ("",)
    assert judge(shop, lucky, fenced(GOLD), neighbours=made).reasons == ("lucky", "")


def test_without_gold_the_majority_decides(shop: Dataset) -> None:
    seven = fenced("SELECT 7")
    found = judge(shop, seven, fenced(GOLD), seven, gold=False)
    assert found.reasons == ("", "outvoted", "not the best")
    split = judge(shop, seven, fenced("SELECT 8"), fenced("SELECT nope"), gold=False)
    assert split.reasons == ("outvoted", "outvoted", "execution")


def test_a_gold_query_that_fails_proves_nothing(shop: Dataset) -> None:
    from dataclasses import replace

    broken = shop.with_examples([replace(shop.examples[0], query="SELECT 1 FROM nowhere")])
    assert judge(broken, fenced("SELECT 1")).reasons == ("gold fails",)


def filled(store: Store, dataset: Dataset, *texts: str) -> None:
    for request in requests_for(dataset, SETTINGS):
        samples = {n: Sample(text, "stop", 10, 5, 2) for n, text in enumerate(texts)}
        store.settle(request.key, request.body, samples, bound=0)


def test_files_are_the_same_whether_a_run_was_killed_or_not(shop: Dataset, tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, fenced(GOLD), "no", fenced("SELECT 7"))
        with Sieve(shop, SETTINGS) as sieve:
            write_traces(sieve, store, tmp_path / "a.jsonl", options="x")
            verdicts = (tmp_path / "a.jsonl.judged.jsonl").read_text().splitlines(True)
            assert len(verdicts) == 3
            # as a kill leaves it: one verdict, and half of the second
            (tmp_path / "b.jsonl.judged.jsonl").write_text("".join(verdicts[:2]) + verdicts[2][:50])
            write_traces(sieve, store, tmp_path / "b.jsonl", options="x")
            write_traces(sieve, store, tmp_path / "a.jsonl", options="x")  # nothing to judge
    for suffix in ("", ".dropped.jsonl", ".judged.jsonl"):
        pair = [(tmp_path / f"{name}.jsonl{suffix}").read_bytes() for name in "ab"]
        assert pair[0] == pair[1]
    (trace,) = read_traces(tmp_path / "a.jsonl")
    assert (trace.question_id, trace.sql, trace.n_passed) == (0, GOLD, 1)
    dropped = [json.loads(x) for x in (tmp_path / "a.jsonl.dropped.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in dropped][:2] == ["no SQL", "wrong rows"]


def test_new_samples_and_other_options_are_judged_again(shop: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, "no", "no", "no")
        with Sieve(shop, SETTINGS) as sieve:
            assert not any(one.kept for one in write_traces(sieve, store, out))
            store.prune(["m"])
            filled(store, shop, "no", "no", fenced(GOLD))
            assert [len(one.kept) for one in write_traces(sieve, store, out)] == [1, 0]
            lines = len((tmp_path / "a.jsonl.judged.jsonl").read_text().splitlines())
            write_traces(sieve, store, out, options="other")
    assert lines == 5
    assert len((tmp_path / "a.jsonl.judged.jsonl").read_text().splitlines()) == 3


def test_questions_without_all_their_samples_are_passed_over(shop: Dataset, tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, fenced(GOLD), "no")
        with Sieve(shop, SETTINGS) as sieve:
            assert write_traces(sieve, store, tmp_path / "a.jsonl") == []


def test_nothing_to_judge_leaves_the_traces_that_are_there(shop: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text("traces\n")
    with (
        Store(tmp_path / "s.sqlite") as store,
        Sieve(shop, SETTINGS) as sieve,
        pytest.raises(TeacherError, match=r"nothing to judge; the traces in .* are left"),
    ):
        write_traces(sieve, store, out)
    assert out.read_text() == "traces\n"


def test_a_gold_query_that_changed_is_judged_by_again(shop: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, "no", "no", fenced(GOLD))
        with Sieve(shop, SETTINGS) as sieve:
            assert [len(one.kept) for one in write_traces(sieve, store, out)] == [1, 0]
        other = shop.with_examples(replace(e, query="SELECT 'other'") for e in shop)
        with Sieve(other, SETTINGS) as sieve:
            assert [len(one.kept) for one in write_traces(sieve, store, out)] == [0, 0]


def test_damaged_verdicts_are_judged_again(shop: Dataset, tmp_path: Path) -> None:
    out, verdicts = tmp_path / "a.jsonl", tmp_path / "a.jsonl.judged.jsonl"
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, fenced(GOLD) + "\u2028\x85", "no", "no")
        with Sieve(shop, SETTINGS) as sieve:
            write_traces(sieve, store, out)
            whole = out.read_bytes()
            first, second, third = verdicts.read_bytes().split(b"\n")[:-1]
            for damage in (
                b'b", "x": 1}',
                b"[" * 9999,
                b"\xff\xfe",
                b"[1]",
                b'{"judged": {}}',
                b"",
            ):
                verdicts.write_bytes(b"\n".join([first, damage, third, damage, b""]))
                write_traces(sieve, store, out)
                assert out.read_bytes() == whole
            verdicts.write_bytes(b"\xff" + second)
            write_traces(sieve, store, out)
            assert out.read_bytes() == whole
    assert "\u2028\x85" in read_traces(out)[0].completion


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sql": None}, "found None where a text belongs"),
        ({"messages": None}, "TypeError"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "where a text belongs"),
        ({"messages": [{"role": "user"}]}, "KeyError: 'content'"),
        ({"question_id": "0"}, "question_id is '0', no whole number"),
        ({"extra": 1}, "TypeError"),
    ],
)
def test_what_is_no_trace_is_told_by_its_line(
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
    with pytest.raises(TeacherError, match=r"x\.jsonl, line 3: no trace") as error:
        read_traces(path)
    assert message in str(error.value)


def test_a_teachers_odd_line_ends_are_no_lines(cases: Path) -> None:
    traces = read_traces(cases / "02_unicode_line_separators" / "traces_u2028.jsonl")
    assert traces
    assert any("\u2028" in trace.completion for trace in traces)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="No traces at"):
        read_traces(tmp_path / "absent.jsonl")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(TeacherError, match="line 1: no trace"):
        read_traces(tmp_path / "x.jsonl")


def test_chapters_find_what_the_teacher_chapter_left(
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


def test_a_trace_records_its_schema_budget_and_older_files_had_none(
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
        with pytest.raises(TeacherError, match=r"line 1: no trace .*schema_tokens"):
            read_traces(path)


def test_other_prompts_are_filed_under_other_keys(shop: Dataset) -> None:
    def keys(**changes: object) -> list[bytes]:
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        return [request.key for request in requests_for(shop, settings, count=count_words)]

    whole = keys()
    # The same prompt is the same request, by whatever budget: what was paid for is found.
    assert keys(schema_tokens=10_000) == whole
    assert not set(keys(schema_tokens=1)) & set(whole)
    assert not set(keys(style="compact")) & set(whole)


def test_traces_can_be_asked_otherwise(shop: Dataset) -> None:
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
    with pytest.raises(TeacherError, match=r"is no question of .* give the split that was asked"):
        reprompted([trace], other, style="full")

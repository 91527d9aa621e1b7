from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.errors import TeacherError
from distill_sql.teacher import Sample, Settings, Store, requests_for
from distill_sql.teacher.traces import (
    REASONS,
    Judged,
    Sieve,
    read_traces,
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
def test_each_dropped_sample_has_its_reason(shop: Dataset, text: str, reason: str) -> None:
    found = judge(shop, text, text, fenced(GOLD), deadline=0.3)
    assert found.reasons == (reason, reason, "")
    assert reason in REASONS
    assert found.kept[0].sql == GOLD
    assert (found.kept[0].n_samples, found.kept[0].n_passed, found.n_passed) == (3, 1, 1)
    assert (found.cost, found.kept[0].prompt_tokens) == (6, 30)


def test_a_sample_with_wrong_rows_is_never_kept(shop: Dataset) -> None:
    assert judge(shop, *[fenced("SELECT 7")] * 3).kept == ()


def test_cut_short_and_refused(shop: Dataset) -> None:
    assert judge(shop, "Let me think", finish="length").reasons == ("cut short",)
    assert judge(shop, "", finish="refusal").reasons == ("refusal",)


def test_the_shortest_passing_sample_is_kept(shop: Dataset) -> None:
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


def test_without_gold_queries_the_majority_decides(shop: Dataset) -> None:
    seven = fenced("SELECT 7")
    found = judge(shop, seven, fenced(GOLD), seven, gold=False)
    assert found.reasons == ("", "outvoted", "not the best")
    split = judge(shop, seven, fenced("SELECT 8"), fenced("SELECT nope"), gold=False)
    assert split.reasons == ("outvoted", "outvoted", "execution")


def test_no_sample_is_kept_if_the_gold_query_fails(shop: Dataset) -> None:
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
            # as after a kill: one verdict and half of the next
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


def test_questions_with_missing_samples_are_skipped(shop: Dataset, tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        filled(store, shop, fenced(GOLD), "no")
        with Sieve(shop, SETTINGS) as sieve:
            assert write_traces(sieve, store, tmp_path / "a.jsonl") == []


def test_existing_traces_stay_if_there_is_nothing_to_judge(shop: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text("traces\n")
    with (
        Store(tmp_path / "s.sqlite") as store,
        Sieve(shop, SETTINGS) as sieve,
        pytest.raises(TeacherError, match=r"nothing to judge; the traces in .* are left"),
    ):
        write_traces(sieve, store, out)
    assert out.read_text() == "traces\n"


def test_a_changed_gold_query_is_judged_again(shop: Dataset, tmp_path: Path) -> None:
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


def test_requests_with_other_prompts_have_other_keys(shop: Dataset) -> None:
    def keys(**changes: object) -> list[bytes]:
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        return [request.key for request in requests_for(shop, settings, count=count_words)]

    whole = keys()
    # The same prompt is the same request whatever the limit, so a paid answer is found.
    assert keys(schema_tokens=10_000) == whole
    assert not set(keys(schema_tokens=1)) & set(whole)
    assert not set(keys(style="compact")) & set(whole)

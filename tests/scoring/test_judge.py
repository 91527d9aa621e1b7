from __future__ import annotations

import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.errors import GoldQueryError
from distill_sql.scoring import Judge, Rules
from distill_sql.scoring.judge import suite
from distill_sql.sql.sandbox import SQL_BYTES, Result, Sandbox
from tests.sql.test_parsing import PIECES, long_text
from tests.sql.test_sandbox import HOSTILE

DEADLINE = 0.5
#: The most seconds that a new worker takes to start.
START = 5


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


@pytest.fixture
def one(shop: Dataset) -> Example:
    return shop.examples[0]


def test_etype_chooses_what_is_judged(shop: Dataset, one: Example) -> None:
    with Judge(shop, Rules(etype="match")) as judge:
        verdict = judge.verdict(one, "SELECT count(*) FROM customer")
        assert (verdict.exec, verdict.exact, verdict.failure_mode) == (None, True, None)
        assert verdict.cause is None
        assert judge.verdict(one, "SELECT max(id) FROM customer").cause == "aggregate"
    with Judge(shop, Rules(etype="exec")) as judge:
        verdict = judge.verdict(one, "SELECT count(*) FROM customer")
        assert (verdict.exec, verdict.exact, verdict.failure_mode) == (True, None, "ok")


def test_plugging_corrects_a_wrong_value(shop: Dataset) -> None:
    example = shop.examples[1]
    wrong = example.query.replace("lamp", "zebra")
    assert wrong != example.query
    for plug, expected in ((False, False), (True, True)):
        with Judge(shop, Rules(plug_value=plug)) as judge:
            verdict = judge.verdict(example, wrong)
        assert verdict.exec is expected
        assert verdict.failure_mode == "wrong-result"


def test_plugging_stops_at_the_deadline(shop: Dataset) -> None:
    """Two gold values in thirty slots have a billion combinations."""
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id > 0 AND id < 99")
    many = " OR ".join(f"id = {number}" for number in range(100, 130))
    with Judge(shop, Rules(plug_value=True), deadline=DEADLINE) as judge:
        start = time.monotonic()
        assert judge.verdict(example, f"SELECT id FROM customer WHERE {many}").exec is False
        assert time.monotonic() - start < DEADLINE + START


def test_a_gold_query_that_spiders_parser_rejects_has_no_exact_match(shop: Dataset) -> None:
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id IN (1, 2)")
    with Judge(shop) as judge:
        verdict = judge.verdict(example, example.query)
    assert (verdict.exec, verdict.exact) == (True, None)


def endless(example: Example) -> Iterator[tuple[Example, str]]:
    number = 0
    while True:
        number += 1
        yield example, f"SELECT count(*) + {number} - {number} FROM customer"


def test_pairs_are_streamed(shop: Dataset, one: Example) -> None:
    """An endless stream is read only a few pairs ahead, in order, and can be abandoned."""
    taken = 0

    def counted() -> Iterator[tuple[Example, str]]:
        nonlocal taken
        for pair in endless(one):
            taken += 1
            yield pair

    with Judge(shop, jobs=2) as judge:
        verdicts = list(islice(judge.verdicts(counted()), 300))
    assert all(v.exec for v in verdicts)
    assert [v.pred_sql for v in verdicts] == [sql for _, sql in islice(endless(one), 300)]
    assert taken <= 300 + 2 * 64


@pytest.mark.slow
def test_memory_and_cost_per_pair_are_flat(shop: Dataset, one: Example) -> None:
    """The last 3,000 of 12,000 pairs need no more memory and time than the first."""
    sizes, seconds = [], []
    with Judge(shop, jobs=2) as judge:
        stream = judge.verdicts(endless(one))
        tracemalloc.start()
        for _ in range(4):
            start = time.perf_counter()
            for _ in islice(stream, 3000):
                pass
            seconds.append(time.perf_counter() - start)
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[-1] < sizes[1] + 2**20  # the caches of texts fill up in the first thousands
    assert seconds[-1] < 2 * seconds[0]


@pytest.mark.parametrize("mode", ["exec", "strict", "plug"])
def test_hostile_predictions_have_a_verdict_in_time(shop: Dataset, one: Example, mode: str) -> None:
    rules = {"exec": Rules(), "strict": Rules(strict=True), "plug": Rules(plug_value=True)}[mode]
    corpus = [sql for statements in HOSTILE.values() for sql in statements]
    corpus += [
        "SELECT DISTINCT " + "a, " * 100_000 + "a",
        "SELECT '" + "x" * 1_000_000,
        "SELECT DISTINCT " + "(" * 20_000,
        "\0" * 1000,
        "\ud800\udfff",
        "SELECT 1" + ";" * 100_000,
        "distinct",
    ]
    before = shop.database_path("shop").read_bytes()
    with Judge(shop, rules, jobs=1, deadline=DEADLINE) as judge:
        for sql in corpus:
            start = time.monotonic()
            verdict = judge.verdict(one, sql)
            assert time.monotonic() - start < 2 * DEADLINE + START, sql[:80]
            assert verdict.failure_mode in ("wrong-result", "execution", "parse", "timeout")
            assert verdict.exact is False
            assert verdict.cause
        assert judge.verdict(one, one.query).exec
    assert shop.database_path("shop").read_bytes() == before


def test_a_write_is_never_right(shop: Dataset) -> None:
    """The official evaluator executes it, gets no rows, and counts it as right."""
    example = Example(0, "shop", "?", "SELECT name FROM customer WHERE id < 0")
    with Judge(shop) as judge:
        verdict = judge.verdict(example, "DELETE FROM customer")
    assert verdict.exec is False
    assert verdict.gold_is_empty


@pytest.mark.parametrize(
    "rules", [Rules(), Rules(strict=True), Rules(plug_value=True)], ids=["exec", "strict", "plug"]
)
def test_every_text_ends_at_the_deadline(shop: Dataset, rules: Rules) -> None:
    """Long texts of one repeated piece; every tenth piece is tested, since all take minutes."""
    example = shop.examples[1]
    with Judge(shop, rules, jobs=1, deadline=DEADLINE) as judge:
        judge.verdict(example, "SELECT 1")
        for number, piece in enumerate(["(", "1 AND ", *PIECES[::10]]):
            begin = "SELECT DISTINCT a FROM t WHERE " if number % 2 else "SELECT "
            start = time.monotonic()
            verdict = judge.verdict(example, long_text(piece, SQL_BYTES - 1, begin))
            assert verdict.cause
            assert verdict.exec is False
            assert time.monotonic() - start < DEADLINE + 2, piece
        assert judge.verdict(example, example.query).exec


def test_long_texts_share_the_workers(shop: Dataset, one: Example) -> None:
    """Ten texts that reach their deadline, two at a time."""
    text = long_text("(", SQL_BYTES - 1, "SELECT DISTINCT ")
    with Judge(shop, jobs=2, deadline=0.2) as judge:
        start = time.monotonic()
        verdicts = list(judge.verdicts((one, text + str(n)) for n in range(10)))
        assert time.monotonic() - start < 10 * (0.2 + 1.5) / 2 + START
    assert {verdict.exec for verdict in verdicts} == {False}


#: Gold queries that SQLite runs but some parser rejects, and other unusual ones.
ODD_GOLD = [
    "SELECT name AS if FROM customer WHERE if > 'A'",
    "SELECT name AS any FROM customer",
    "SELECT CAST(id AS UNSIGNED BIG INT) FROM customer",
    "SELECT name FROM customer WHERE id > = 2",
    "SELECT name FROM customer WHERE id ! = 2",
    "VALUES (1), (2)",
    "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
    "SELECT row_number() OVER (ORDER BY id) FROM customer",
    "SELECT count(*) FROM customer; -- note",
    "SELECT count(*) FROM customer;",
    "SELECT count(*) FROM customer;;",
    "SELECT count(*) FROM customer ; ;",
    "-- first\nSELECT count(*) FROM customer",
    "/* first */ SELECT count(*) FROM customer;",
    "SELECT YEAR(CURDATE()) - id FROM customer",
    "SELECT group_concat(name, ';') FROM customer",
    "SELECT id FROM customer UNION ALL VALUES (9)",
    "SELECT [home town] FROM customer",
    "SELECT " + "(" * 60 + "1" + ")" * 60,
    "SELECT 1 WHERE " + " AND ".join(["1"] * 400),
    "SELECT " + "+".join(["1"] * 450),
    "SELECT 'x'" + " " * 20_000,
]


@pytest.mark.parametrize("gold", ODD_GOLD)
def test_any_gold_query_that_runs_is_judged(shop: Dataset, gold: str) -> None:
    example = Example(0, "shop", "?", gold)
    for rules in (Rules(), Rules(etype="exec", keep_distinct=True), Rules(plug_value=True)):
        with Judge(shop, rules, jobs=1) as judge:
            right, wrong = judge.verdict(example, gold), judge.verdict(example, "SELECT 17, 4")
            if not (rules.keep_distinct and gold.endswith((";;", "; ;"))):
                assert right.exec, rules  # SQLite rejects the prediction in this case
            assert right.cause is None or not right.exec
            assert wrong.exec is False
            assert wrong.cause
            assert not wrong.skipped
            for verdict in (right, wrong):
                assert (verdict.hardness is None) == ("no level" in verdict.note)
                if rules.etype == "all":
                    assert (verdict.exact is None) == ("no exact set match" in verdict.note)


@pytest.mark.parametrize(
    "gold",
    ["", " ", ";", "-- nothing", "SELEC 1", "SELECT nowhere FROM customer", "DELETE FROM customer",
     "SELECT 1; SELECT 2", "SELECT ?1", "\0"],
)  # fmt: skip
def test_a_failing_gold_query_is_an_error_or_skipped(shop: Dataset, gold: str) -> None:
    example = Example(7, "shop", "?", gold)
    strict = Rules(strict=True)
    with Judge(shop, strict, jobs=1) as judge, pytest.raises(GoldQueryError) as caught:
        judge.verdict(example, "SELECT 1")
    for word in ("question 7", "'shop'", "split dev", "shop.sqlite", "--skip-failing-gold"):
        assert word in str(caught.value)
    with Judge(shop, Rules(strict=True, skip_failing_gold=True), jobs=1) as judge:
        skipped, judged = judge.verdicts([(example, "SELECT 1"), (shop.examples[0], "SELECT 1")])
    assert (skipped.exec, skipped.exact, skipped.failure_mode) == (None, None, None)
    assert skipped.skipped
    assert "question 7" in skipped.note
    assert skipped.cause is None
    assert judged.exec is False


def test_a_failing_gold_query_is_run_once(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take a minute to fail."""
    example = Example(0, "shop", "?", "SELECT nowhere FROM customer")
    with Judge(shop, Rules(skip_failing_gold=True), jobs=1) as judge:
        assert judge.verdict(example, "SELECT 1").skipped
        monkeypatch.setattr(judge, "_run_gold", None)
        assert judge.verdict(example, "SELECT 2").skipped


def test_a_neighbour_on_which_gold_fails_is_ignored(shop: Dataset, tmp_path: Path) -> None:
    """abs() of the smallest integer overflows. Other questions use the neighbour."""
    neighbour = tmp_path / "shop_0.sqlite"
    shutil.copy(shop.database_path("shop"), neighbour)
    with closing(sqlite3.connect(neighbour)) as connection, connection:
        connection.execute("UPDATE customer SET id = -9223372036854775807 - 1 WHERE id = 1")
    made = {"shop": [neighbour]}
    failing = Example(0, "shop", "?", "SELECT abs(id) FROM customer")
    counting = Example(1, "shop", "?", "SELECT min(id) FROM customer")
    with Judge(shop, neighbours=made, jobs=1) as judge:
        assert judge.verdict(failing, "SELECT id FROM customer").exec
        assert judge.verdict(counting, "SELECT 1").exec is False
        assert judge.verdict(counting, counting.query).exec


def test_other_databases_of_the_folder_are_the_suite(shop: Dataset, tmp_path: Path) -> None:
    database = tmp_path / "shop.sqlite"
    beside = ["shop_1.sqlite", "shop.sqlite_2", "shop.sqlite.bak"]
    others = ["shop.sqlite-wal", "shop.sqlite-shm", "shop_1.sqlite-journal", "shop.sqlite-mj0A1B",
              "._shop.sqlite", ".shop.sqlite.swp", "tables.json"]  # fmt: skip
    for name in [database.name, *beside]:
        shutil.copy(shop.database_path("shop"), tmp_path / name)
    for name in others:
        (tmp_path / name).write_bytes(b"no database")
    (tmp_path / "old.sqlite").mkdir()
    first, *rest = suite(database)
    assert first == database
    assert {path.name for path in rest} == set(beside)


def test_the_deadline_covers_both_runs_of_a_prediction(
    shop: Dataset, one: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the lenient text differs, the unchanged text runs too, for the failure mode."""
    deadlines = []

    def run(self: Sandbox, database: Path, sql: str, *, deadline: float, **_: object) -> Result:
        deadlines.append(deadline)
        time.sleep(0.3)
        return Result("ok", [(3,)], ("a",), seconds=0.3)

    monkeypatch.setattr(Sandbox, "run", run)
    with Judge(shop, jobs=1, deadline=1) as judge:
        assert judge.verdict(one, "SELECT DISTINCT 3").exec
    gold, lenient, strict = deadlines
    assert gold >= 60
    assert lenient == pytest.approx(1, abs=0.1)
    assert strict == pytest.approx(0.7, abs=0.1)

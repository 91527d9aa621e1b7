from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from distill_sql.data import neighbours as module
from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.data.neighbours import build_neighbours, constants, has_ties, neighbours, tie_query
from distill_sql.data.schema import Column, ForeignKey, Schema, Table
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.errors import DatasetError, OutputError
from distill_sql.scoring import Judge, Prediction, Rules, score
from distill_sql.scoring.mutants import mutants
from tests.hostile import Database, databases
from tests.sql.test_processes import ends


@pytest.fixture(scope="module")
def pocket() -> Dataset:
    return load_dataset("pocket")


@pytest.fixture(scope="module")
def made(pocket: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    return build_neighbours(pocket, folder=tmp_path_factory.mktemp("neighbours"))


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_schema_and_keys_stay_and_rows_change(
    pocket: Dataset, made: dict[str, tuple[Path, ...]]
) -> None:
    for db_id, paths in made.items():
        original = pocket.database_path(db_id)
        assert len(paths) == 8
        for path in paths:
            assert schema_from_sqlite(path, db_id=db_id) == schema_from_sqlite(original)
            assert query(path, "PRAGMA integrity_check") == [("ok",)]
            assert query(path, "PRAGMA foreign_key_check") == []
            for table in pocket.schema(db_id).tables:
                rows = query(path, f'SELECT * FROM "{table.name}"')
                assert rows
                assert rows != query(original, f'SELECT * FROM "{table.name}"')


def test_the_same_seed_gives_the_same_rows_and_another_does_not(
    pocket: Dataset, tmp_path: Path
) -> None:
    db_id = pocket.db_ids[0]
    source, schema = pocket.database_path(db_id), pocket.schema(db_id)
    before = source.read_bytes()
    paths = [
        neighbours(source, schema, [], tmp_path / name, count=1, seed=seed)[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert digests[0] == digests[1] != digests[2]
    assert source.read_bytes() == before
    stamp = paths[0].stat().st_mtime_ns
    neighbours(source, schema, [], tmp_path / "a", count=1, seed=1)
    assert paths[0].stat().st_mtime_ns == stamp  # what is there is kept


def test_gold_is_right_on_every_neighbour(
    pocket: Dataset, made: dict[str, tuple[Path, ...]]
) -> None:
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in pocket]
    report = score(gold, pocket, Rules(etype="exec", strict=True), neighbours=made)
    assert report.accuracy().share == 1


def test_most_lucky_mutants_are_found_out(
    pocket: Dataset, made: dict[str, tuple[Path, ...]]
) -> None:
    """Most mutants that pass on the original fail on a neighbour; none that fails passes there."""
    pairs = [(e, m.sql) for e in pocket for m in mutants(e.query, pocket.schema(e.db_id))]
    rules = Rules(etype="exec", strict=True)
    with Judge(pocket, rules) as alone, Judge(pocket, rules, neighbours=made) as together:
        before = [v.exec for v in alone.verdicts(pairs)]
        after = [v.exec for v in together.verdicts(pairs)]
    assert not any(late and not early for early, late in zip(before, after, strict=True))
    assert 80 < sum(map(bool, before)) < 160
    assert sum(map(bool, after)) < 0.5 * sum(map(bool, before))


def test_empty_tables_get_rows_and_constants_get_in(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, age INTEGER, name TEXT)")
        connection.execute(
            "CREATE TABLE c (p_id INTEGER REFERENCES p, note TEXT, UNIQUE (p_id, note))"
        )
        rows = [(number, 30, f"n{number}") for number in range(20)]
        connection.executemany("INSERT INTO p VALUES (?, ?, ?)", rows)
        connection.commit()
    schema = schema_from_sqlite(path)
    paths = neighbours(path, schema, ["SELECT * FROM p WHERE age > 64"], tmp_path / "made")
    assert all(query(made, "SELECT count(*) FROM c")[0][0] > 0 for made in paths)
    ages = {age for made in paths for (age,) in query(made, "SELECT age FROM p")}
    assert {63, 64, 65} <= ages
    for made in paths:  # names had no repeats, and have none
        total, distinct = query(made, "SELECT count(name), count(DISTINCT name) FROM p")[0]
        assert total == distinct


def test_a_key_that_must_be_whole_stays_whole(tmp_path: Path) -> None:
    """A query may compare a column of the same name in another table with a fraction."""
    source = tmp_path / "mix.sqlite"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(
            "CREATE TABLE part (size INTEGER PRIMARY KEY, name TEXT);"
            "CREATE TABLE shirt (size TEXT);"
            "INSERT INTO part VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO shirt VALUES ('L');"
        )
    asked = ["SELECT * FROM shirt WHERE size = 'XL'", "SELECT * FROM shirt WHERE size > 2.5"]
    made = neighbours(source, schema_from_sqlite(source), asked, tmp_path / "out", count=8)
    for path in made:
        found = query(path, "SELECT typeof(size) FROM part")
        assert found
        assert set(found) == {("integer",)}


def built(path: Path, *statements: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in statements:
            connection.execute(sql)
    return path


def made_of(path: Path, *, count: int = 3) -> tuple[Path, ...]:
    folder = path.parent / f"neighbours of {path.stem}"
    return neighbours(path, schema_from_sqlite(path), [], folder, count=count)


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, pic BLOB)",
         "INSERT INTO t VALUES (1, x'01'), (2, x'02')"),
        ("CREATE TABLE t (x REAL UNIQUE)", "INSERT INTO t VALUES (9e999), (-9e999), (1)"),
        ("CREATE TABLE t (x INT UNIQUE)",
         "INSERT INTO t VALUES (9223372036854775807), (-9223372036854775808), (0)"),
        ("CREATE TABLE t (x BOOLEAN UNIQUE CHECK (x IN (0, 1)))", "INSERT INTO t VALUES (0), (1)"),
        ("CREATE TABLE t (x UNIQUE)", "INSERT INTO t VALUES (1), ('1'), (1.5), (x'31'), (NULL)"),
        ("CREATE TABLE t (x TEXT)", "INSERT INTO t VALUES (CAST(x'41ff' AS TEXT)), (char(0, 65))"),
        ("CREATE TABLE t (x ANY, y BLOB NOT NULL) STRICT", "INSERT INTO t VALUES (1, x'00')"),
        ("CREATE TABLE t (k TEXT PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t VALUES ('a'), ('b')"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
         "INSERT INTO t VALUES (9223372036854775807, 1), (1, 2)"),
        ("CREATE TABLE t (a INT, b INT AS (a * 2) STORED UNIQUE, c INT AS (a + 1))",
         "INSERT INTO t (a) VALUES (1), (2)"),
        ("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (2)",
         "CREATE UNIQUE INDEX i ON t (a) WHERE a > 1", "CREATE UNIQUE INDEX j ON t (abs(a))"),
        ("CREATE TABLE t (a INT CHECK (typeof(a) = 'integer' AND a BETWEEN 3 AND 4))",
         "INSERT INTO t VALUES (3), (4)"),
        ("CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)",
         "CREATE TRIGGER x BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no'); END",
         "CREATE TRIGGER y AFTER INSERT ON t BEGIN INSERT INTO t SELECT a FROM t; END"),
        ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "CREATE VIEW v AS SELECT * FROM absent"),
    ],
)  # fmt: skip
def test_any_column_and_constraint_gives_neighbours_in_no_time(
    tmp_path: Path, statements: tuple[str, ...]
) -> None:
    source = built(tmp_path / "x.sqlite", *statements)
    start = time.monotonic()
    for path in made_of(source):
        rows = query(path, "SELECT * FROM t")
        assert rows
        assert len(rows) <= 12
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert time.monotonic() - start < 5


def test_a_table_that_takes_no_other_rows_keeps_its_own(tmp_path: Path) -> None:
    """Its CHECK cannot be evaluated here, so no row can be written."""
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (2)",
        "CREATE TABLE u (a INT)", "INSERT INTO u VALUES (1), (2)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE t (a INT CHECK (no_such(a)))' "
        "WHERE name = 't'",
    )  # fmt: skip
    for path in made_of(source):
        assert query(path, "SELECT * FROM t") == [(1,), (2,)]
        assert len(query(path, "SELECT * FROM u")) == 12


def test_virtual_tables_are_left_as_they_are(tmp_path: Path) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE VIRTUAL TABLE ft USING fts5(body)", "INSERT INTO ft VALUES ('hello world')",
        "CREATE VIRTUAL TABLE box USING rtree(id, x0, x1)", "INSERT INTO box VALUES (1, 0, 9)",
        "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)",
    )  # fmt: skip
    for path in made_of(source):
        assert query(path, "SELECT body FROM ft WHERE ft MATCH 'world'") == [("hello world",)]
        assert query(path, "SELECT id FROM box WHERE x1 > 5") == [(1,)]
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO ft (ft) VALUES ('integrity-check')")
        assert len(query(path, "SELECT * FROM t")) == 12


def test_the_counters_of_autoincrement_are_left_as_they_are(tmp_path: Path) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", "INSERT INTO t VALUES (40)",
    )  # fmt: skip
    stated = schema_from_sqlite(source)
    # Spider's tables.json names this table in world_1.
    counters = Table("sqlite_sequence", (Column("name"), Column("seq")))
    stated = replace(stated, tables=(*stated.tables, counters))
    for path in neighbours(source, stated, [], tmp_path / "made", count=2):
        assert query(path, "SELECT * FROM sqlite_sequence") == [("t", 40)]


def test_a_schema_may_name_what_the_file_lacks_and_lack_what_it_has(tmp_path: Path) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE c (p INT NOT NULL REFERENCES p, note TEXT)",
        "CREATE VIEW v AS SELECT * FROM p",
        "INSERT INTO p VALUES (1, 'a'), (2, 'b')", "INSERT INTO c VALUES (1, 'x'), (2, 'y')",
    )  # fmt: skip
    stated = Schema(
        "x",
        (
            Table("P", (Column("ID", "number"), Column("gone"))),
            Table("absent", (Column("a"),)),
            Table("v", (Column("id"),)),
        ),
        (ForeignKey("P", ("gone",), "absent", ("a",)), ForeignKey("v", ("id",), "P", ("ID",))),
    )
    for path in neighbours(source, stated, [], tmp_path / "made", count=4):
        assert len(query(path, "SELECT * FROM p")) > 2
        assert len(query(path, "SELECT * FROM c")) > 2
        assert query(path, "PRAGMA foreign_key_check") == []


def test_a_source_in_wal_mode_gives_whole_files(tmp_path: Path) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)",
    )  # fmt: skip
    made = made_of(source)
    assert {path.name for path in made[0].parent.iterdir()} == {path.name for path in made}
    assert len(query(made[0], "SELECT * FROM t")) == 12


SLOW = "length(replace(hex(zeroblob(1000000)), hex(zeroblob(500000)) || '1', 'x'))"


def slow(path: Path) -> Path:
    """A database whose CHECK takes many seconds in one step of SQLite's virtual machine."""
    text = f"CREATE TABLE t (a INT CHECK ({SLOW} >= 0))".replace("'", "''")
    return built(
        path,
        "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)", "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = '{text}'",
    )  # fmt: skip


def test_a_schema_that_takes_long_has_no_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.5)
    source = slow(tmp_path / "x.sqlite")
    start = time.monotonic()
    with pytest.raises(DatasetError, match=f"{source} has no neighbours: .* took more than 0.5 s"):
        made_of(source)
    assert time.monotonic() - start < 3
    assert list((tmp_path / "neighbours of x").iterdir()) == []


def test_expressions_that_make_gigabytes_are_refused_rows(tmp_path: Path) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (a INT CHECK (a < 5 OR length(zeroblob(900000000)) > 1))",
        "INSERT INTO t VALUES (1), (2), (3), (4)",
    )  # fmt: skip
    for path in made_of(source):
        assert {a for (a,) in query(path, "SELECT a FROM t")} <= set(range(-10, 5))


def test_a_database_without_neighbours_is_named_and_the_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow(tmp_path / "data/database/slow/slow.sqlite")
    for name in ("first", "last"):
        built(
            tmp_path / f"data/database/{name}/{name}.sqlite",
            "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)",
        )  # fmt: skip
    examples = [
        {"db_id": name, "question": "?", "query": "SELECT a FROM t"}
        for name in ("first", "slow", "last")
    ]
    (tmp_path / "data/dev.json").write_text(json.dumps(examples))
    monkeypatch.setattr(module, "DEADLINE", 0.5)
    dataset = load_dataset(tmp_path / "data")
    made = build_neighbours(dataset, count=2, folder=tmp_path / "made")
    assert {name: len(paths) for name, paths in made.items()} == {"first": 2, "slow": 0, "last": 2}
    told = capfd.readouterr().err
    assert told.startswith("warning: The database ")
    assert "slow.sqlite has no neighbours: redrawing its rows took more than 0.5 s" in told
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in dataset]
    assert score(gold, dataset, Rules(etype="exec"), neighbours=made).accuracy().share == 1


def test_a_process_that_dies_costs_one_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = built(tmp_path / "x.sqlite", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    killer = tmp_path / "killer.py"
    killer.write_text("import sys; sys.stdin.buffer.read(4)")
    monkeypatch.setattr(module, "_WORKER", killer)
    with pytest.raises(DatasetError, match=r"has no neighbours: the process .* died"):
        made_of(source)
    monkeypatch.undo()
    assert len(made_of(source)) == 3


BUSY = """
import sys, threading, time
from pathlib import Path
from distill_sql.data.neighbours import _Maker
from distill_sql.data.sqlite_schema import schema_from_sqlite

path = Path(sys.argv[1])
maker = _Maker()
arguments = (path, schema_from_sqlite(path), {}, "1")
threading.Thread(target=maker.redraw, args=arguments, daemon=True).start()
while maker._worker is None:
    time.sleep(0.01)
time.sleep(0.5)
print(maker._worker.pid, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_running_when_the_parent_is_killed(tmp_path: Path) -> None:
    source = slow(tmp_path / "x.sqlite")
    command = [sys.executable, "-c", BUSY, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)  # it is there
        parent.kill()
    assert ends(worker)


def test_a_database_that_is_not_as_it_should_be_is_refused(tmp_path: Path) -> None:
    source = built(tmp_path / "x.sqlite", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    source.with_name("x.sqlite-wal").write_bytes(b"rows")
    schema = Schema("x", (Table("t", (Column("a"),)),))
    with pytest.raises(DatasetError, match="checkpoint"):
        neighbours(source, schema, [], tmp_path / "made")
    source.with_name("x.sqlite-wal").unlink()
    source.write_bytes(source.read_bytes()[:-10])
    with pytest.raises(DatasetError, match="cut short"):
        neighbours(source, schema, [], tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    source = built(tmp_path / "x.sqlite", "CREATE TABLE t (a)")
    (tmp_path / "a file").touch()
    with pytest.raises(OutputError, match="a file"):
        neighbours(source, schema_from_sqlite(source), [], tmp_path / "a file" / "made")


def test_a_large_table_is_drawn_from_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, up INT REFERENCES t)",
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
        "INSERT INTO t SELECT i, i / 2 FROM n",
    )
    start = time.monotonic()
    (path,) = made_of(source, count=1)
    assert time.monotonic() - start < 5
    ((rows, last),) = query(path, "SELECT count(*), max(id) FROM t")
    assert rows == 120
    assert 50_000 < last < 101_000  # type: ignore[operator]
    assert query(path, "PRAGMA foreign_key_check") == []


@settings(max_examples=30, deadline=None)
@given(database=databases())
def test_any_database_has_neighbours_whose_keys_and_files_are_sound(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    source = database.build(tmp_path_factory.mktemp("any") / "odd.sqlite")
    schema = schema_from_sqlite(source)
    made = neighbours(source, schema, ["SELECT * FROM t WHERE a > 5"], source.parent / "n", count=2)

    def said(path: Path, sql: str) -> list[tuple[object, ...]] | str:
        with closing(sqlite3.connect(path)) as connection:
            connection.text_factory = bytes
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.Error as error:
                return str(error)

    for path in made:
        assert schema_from_sqlite(path, db_id="odd") == schema
        for check, sound in (("foreign_key_check", []), ("integrity_check", [(b"ok",)])):
            if said(source, f"PRAGMA {check}") == sound:
                assert said(path, f"PRAGMA {check}") == sound


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000, "1e999", "-1e999", "0xFFFF", "x'ff'", "'nan'", "'\ud800'", "NULL",
        "9223372036854775808", "'" + "y" * 9000 + "'", "(" * 900 + "1" + ")" * 900,
    ],
)  # fmt: skip
def test_constants_of_any_size_can_be_drawn(tmp_path: Path, text: str) -> None:
    source = built(
        tmp_path / "x.sqlite",
        "CREATE TABLE t (a INT, b TEXT, c REAL UNIQUE)",
        "INSERT INTO t VALUES (1, 'x', 0.5), (2, 'y', 1.5)",
    )
    queries = [f"SELECT * FROM t WHERE {column} = {text}" for column in "abc"]
    for path in neighbours(source, schema_from_sqlite(source), queries, tmp_path / "made", count=3):
        assert len(query(path, "SELECT * FROM t")) == 12


def test_constants_of_unparsable_and_plain_queries() -> None:
    assert constants(["SELEC", "SELECT a FROM t"]) == {}
    found = constants(["SELECT a FROM t WHERE b BETWEEN 1 AND 5 AND c IN ('x', 'y') AND d > 2.5"])
    assert found == {"b": [1, 0, 2, 5, 4, 6], "c": ["x", "y"], "d": [2.5, 1.5, 3.5]}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a FROM t", None),
        ("SELECT a FROM t ORDER BY 1", None),
        ("SELEC", None),
        ("SELECT a FROM t ORDER BY b LIMIT -1", None),
        ("SELECT a FROM t ORDER BY b FETCH FIRST 2 ROWS ONLY", None),
        (f"SELECT a FROM t ORDER BY b LIMIT {'9' * 5000}", None),
        (f"SELECT a FROM t ORDER BY {'(' * 3000}b{')' * 3000}", None),
        ("SELECT a FROM t UNION SELECT b FROM t ORDER BY a", None),
        ("SELECT a FROM t ORDER BY b, c DESC",
         ("SELECT a, b, c FROM t ORDER BY b, c DESC", 2)),
        ("SELECT a, count(*) AS n FROM t GROUP BY a ORDER BY n LIMIT 3",
         ("SELECT a, COUNT(*) AS n, COUNT(*) FROM t GROUP BY a ORDER BY n LIMIT 4", 1)),
    ],
)  # fmt: skip
def test_tie_queries(sql: str, expected: tuple[str, int] | None) -> None:
    assert tie_query(sql) == expected


def test_a_tie_is_no_reason_to_call_a_query_wrong(tmp_path: Path, toy_dataset: Path) -> None:
    """Two towns tie on the neighbour, so no query is judged there."""
    shop = load_dataset(toy_dataset)
    tied = tmp_path / "tied.sqlite"
    tied.write_bytes(shop.database_path("shop").read_bytes())
    with closing(sqlite3.connect(tied)) as connection:
        connection.execute("DELETE FROM customer WHERE id = 3")
        connection.commit()
    gold = 'SELECT "home town" FROM customer GROUP BY "home town" ORDER BY count(*) DESC LIMIT 1'
    other = (
        'SELECT "home town" FROM customer GROUP BY "home town" '
        'ORDER BY count(*) DESC, "home town" DESC LIMIT 1'
    )
    example = Example(0, "shop", "?", gold)
    with Judge(shop, neighbours={"shop": (tied,)}) as judge:
        assert judge.verdict(example, other).exec
    assert has_ties(query(tied, tie_query(gold)[0]), 1)  # type: ignore[index]

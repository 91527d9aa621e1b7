from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.datasets import Dataset, Example, load_dataset
from distill_sql.mutants import mutants
from distill_sql.neighbours import build_neighbours, constants, has_ties, neighbours, tie_query
from distill_sql.schema import schema_from_sqlite
from distill_sql.scoring import Judge, Prediction, Rules, score


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
    """Of mutants that pass on the original, most fail on a neighbour; none that fails passes."""
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
    """A query may compare another table's column of the same name with a fraction."""
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
    """Two towns are tied on the neighbour, so no query is judged there."""
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

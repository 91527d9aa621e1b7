from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_sql.errors import DatasetError
from distill_sql.sandbox import GRACE, Sandbox

DEADLINE = 0.5


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("box") / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.execute("CREATE INDEX t_a ON t (a)")
        rows = [(i, f"name {i}") for i in range(5000)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.execute("INSERT INTO t VALUES (-1, CAST(x'4dfc6c6c6572' AS TEXT))")
        connection.commit()
    return path


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(deadline=DEADLINE) as box:
        yield box


def test_rows_and_columns(sandbox: Sandbox, database: Path) -> None:
    result = sandbox.run(database, "SELECT a, b AS name FROM t WHERE a IN (1, 2) ORDER BY a")
    assert result.ok
    assert result.rows == [(1, "name 1"), (2, "name 2")]
    assert result.columns == ("a", "name")


def test_undecodable_bytes_are_left_out(sandbox: Sandbox, database: Path) -> None:
    assert sandbox.run(database, "SELECT b FROM t WHERE a = -1").rows == [("Mller",)]


BOMB = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
HOSTILE: dict[str, list[str]] = {
    "forbidden": [
        "INSERT INTO t VALUES (1, 'x')",
        "UPDATE t SET a = 0",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1, 'x')",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "CREATE TABLE u (a)",
        "CREATE TABLE u AS SELECT * FROM t",
        "CREATE TEMP TABLE u (a)",
        "CREATE INDEX i ON t (a)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "ATTACH DATABASE '/etc/passwd' AS p",
        "ATTACH ':memory:' AS m",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '/tmp/stolen.sqlite'",
        "REINDEX",
        "ANALYZE",
        "PRAGMA user_version = 7",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA hard_heap_limit = 0",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(t)",
        "BEGIN EXCLUSIVE",
        "COMMIT",
        "SAVEPOINT s",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT 1; DROP TABLE t",
        "SELECT 1; SELECT 2",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, '')",
    ],
    "timeout": [
        "SELECT printf('%.1000000000c', 'x')",
        f"{BOMB} SELECT count(*) FROM n",
        f"{BOMB} SELECT i FROM n WHERE i < 0",
        "SELECT count(*) FROM t a, t b, t c, t d",
        "SELECT a.b FROM t a, t b, t c ORDER BY random() LIMIT 1",
        "SELECT count(DISTINCT a.a + b.a + c.a) FROM t a, t b, t c WHERE a.a < 0",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM t a, t b, t c WHERE a.a + b.a + c.a < -99)",
    ],
    "too_large": [
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(2000000000)",
        "SELECT hex(zeroblob(4000000))",
        "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000)))",
        "SELECT group_concat(hex(zeroblob(1000))) FROM t",
        "SELECT quote(zeroblob(4000000))",
        "SELECT 'x' LIKE '" + "%a" * 3000 + "'",
        "SELECT " + "+".join(["1"] * 5000),
        " UNION ALL ".join(["SELECT 1"] * 1000),
    ],
    "parse": [
        "SELEC 1",
        "SELECT 'unterminated",
        'SELECT "unterminated',
        "SELECT /* open",
        "SELECT a\0 FROM t",
        "SELECT " + "(" * 3000 + "1" + ")" * 3000,
        "not sql at all",
    ],
    "execution": [
        "SELECT absent FROM t",
        "SELECT * FROM nowhere",
        "SELECT abs(-9223372036854775808)",
        "SELECT count(a, b, a) FROM t",
        "SELECT a FROM t UNION SELECT a, b FROM t",
        "SELECT json_extract('{', '$')",
        "SELECT b FROM t WHERE a = (SELECT a, b FROM t)",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sql"), [(kind, sql) for kind, corpus in HOSTILE.items() for sql in corpus]
)
def test_hostile_statement_ends_with_its_name(
    sandbox: Sandbox, database: Path, kind: str, sql: str
) -> None:
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    start = time.monotonic()
    result = sandbox.run(database, sql)
    assert time.monotonic() - start < DEADLINE + 0.5
    assert result.kind == kind, result.error
    assert result.error
    assert not result.rows
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    assert not Path("/tmp/stolen.sqlite").exists()
    assert [path.name for path in database.parent.iterdir()] == [database.name]
    assert sandbox.run(database, "SELECT 1").rows == [(1,)]


def test_the_corpus_is_large_enough() -> None:
    assert sum(map(len, HOSTILE.values())) >= 60


def test_what_no_clock_inside_sqlite_interrupts_is_killed(database: Path) -> None:
    """One call of one function that takes seconds: the worker is killed and replaced."""
    sql = "SELECT printf('%.2000000000c', 'x')"
    with Sandbox(deadline=DEADLINE) as sandbox:
        start = time.monotonic()
        result = sandbox.run(database, sql)
        assert result.kind == "timeout"
        assert DEADLINE <= time.monotonic() - start < DEADLINE + GRACE + 0.25
        assert sandbox.run(database, "SELECT 1").rows == [(1,)]


def test_rows_and_bytes_are_capped(sandbox: Sandbox, database: Path) -> None:
    assert sandbox.run(database, "SELECT a FROM t", max_rows=100).kind == "too_large"
    assert len(sandbox.run(database, "SELECT a FROM t", max_rows=5001).rows) == 5001
    big = f"{BOMB} SELECT hex(zeroblob(1000000)) FROM n LIMIT 100"
    result = sandbox.run(database, big, max_bytes=10_000_000, deadline=5)
    assert result.kind == "too_large"


def test_a_result_that_does_not_fit_in_memory(sandbox: Sandbox, database: Path) -> None:
    """2 GB of rows: the worker gives up, or dies, and is back."""
    sql = f"{BOMB} SELECT zeroblob(4000000) FROM n LIMIT 600"
    result = sandbox.run(database, sql, deadline=20, max_bytes=2**40)
    assert result.kind == "too_large"
    assert sandbox.run(database, "SELECT 1").ok


def test_empty_statement_has_no_rows(sandbox: Sandbox, database: Path) -> None:
    for sql in ("", " ", "-- nothing", ";"):
        assert sandbox.run(database, sql).rows == []


def test_missing_and_broken_databases_are_the_datasets_fault(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="No database at"):
        sandbox.run(tmp_path / "absent.sqlite", "SELECT 1")
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is no database")
    with pytest.raises(DatasetError, match="cannot be opened"):
        sandbox.run(broken, "SELECT 1")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.sqlite"]


WORDS = (
    "SELECT FROM WHERE t a b * , ( ) = < 1 'x' \" ; -- UNION ALL GROUP BY ORDER LIMIT count JOIN "
    "ON NOT IN AND OR LIKE DISTINCT AS WITH RECURSIVE VALUES NULL CASE WHEN END EXISTS \0 % é"
)
_words = st.sampled_from(WORDS.split(" "))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(max_size=200), st.lists(_words, max_size=40).map(" ".join)))
def test_any_text_ends_with_a_named_outcome(sandbox: Sandbox, database: Path, sql: str) -> None:
    result = sandbox.run(database, sql)
    assert result.kind in {"ok", "parse", "execution", "timeout", "too_large", "forbidden"}
    assert result.ok or result.error

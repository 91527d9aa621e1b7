from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_sql.errors import DatasetError, ParameterError
from distill_sql.sql.sandbox import GRACE, MAX_DEADLINE, Sandbox

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


def test_a_worker_that_sqlite_cannot_interrupt_is_killed(database: Path) -> None:
    """A single function call takes seconds: the worker is killed and replaced."""
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
    """2 GB of rows: the worker reports an error, or dies and is replaced."""
    sql = f"{BOMB} SELECT zeroblob(4000000) FROM n LIMIT 600"
    result = sandbox.run(database, sql, deadline=20, max_bytes=2**40)
    assert result.kind == "too_large"
    assert sandbox.run(database, "SELECT 1").ok


def test_empty_statement_has_no_rows(sandbox: Sandbox, database: Path) -> None:
    for sql in ("", " ", "-- nothing", ";"):
        assert sandbox.run(database, sql).rows == []


def test_missing_and_damaged_databases_are_dataset_errors(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No database at"):
        sandbox.run(tmp_path / "absent.sqlite", "SELECT 1")
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is no database")
    with pytest.raises(DatasetError, match="cannot be opened"):
        sandbox.run(broken, "SELECT 1")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.sqlite"]


def make(path: Path, *rows: int) -> Path:
    """A database whose table ``t`` has these numbers."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(row,) for row in rows])
        connection.commit()
    return path


#: Words of SQLite's and Python's messages, which a query may use as names.
PHRASES = [
    "interrupted", "prohibited", "not authorized", "authorization denied", "one statement",
    "You can only execute one statement at a time.", "syntax error", 'near "x": syntax error',
    "incomplete input", "unrecognized token", 'unrecognized token: "x"', "parser stack overflow",
    "null character", "too big", "too large", "string or blob too big", "out of memory", "too many",
    "too many columns in result set", "too many terms in compound SELECT", "too complex",
    "too long", "hex literal too big: 0x1", "LIKE or GLOB pattern too complex",
    "Expression tree is too large (maximum depth 500)", "database disk image is malformed",
    "load_extension", "fts3_tokenizer", "data_version", "sqlite_master",
]  # fmt: skip


@pytest.mark.parametrize("phrase", PHRASES)
def test_names_in_a_query_do_not_decide_what_its_error_is(
    sandbox: Sandbox, tmp_path: Path, phrase: str
) -> None:
    database = make(tmp_path / "x.sqlite", 1)
    name, text = phrase.replace('"', '""'), phrase.replace("'", "''")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f'CREATE TABLE names ("{name}")')
        connection.execute("INSERT INTO names VALUES ('yes')")
        connection.commit()
    absent = [
        f'SELECT x."{name}" FROM t AS x',
        f"SELECT x.[{name}] FROM t AS x",
        f'SELECT * FROM "{name} "',
        f'SELECT "{name} "(1)',
        f'SELECT a FROM t ORDER BY "{name}".a',
        f'SELECT a FROM t ORDER BY a COLLATE "{name}"',
        f"SELECT json_extract('{{}}', '{text}')",
        f'SELECT a FROM t AS "{name}" JOIN t AS "{name}" USING ("{name}")',
    ]
    for sql in absent:
        assert sandbox.run(database, sql).kind == "execution", sql
    for sql in (f'SELECT "{name}" "', f"SELECT '{text}' '", f'SELECT 1 FROM t "{name}" "x" t'):
        assert sandbox.run(database, sql).kind == "parse", sql
    assert sandbox.run(database, f"SELECT '{text}'").rows == [(phrase,)]
    found = sandbox.run(database, f'SELECT "{name}" FROM names AS "{name}"')
    assert (found.kind, found.rows) == ("ok", [("yes",)]), found.error


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(st.sampled_from(PHRASES), st.text("ab \"':()\n", max_size=5)), max_size=4)
    .map("".join)
    .filter(lambda name: name not in {"a", "b"})
)
def test_an_unknown_column_of_any_name_is_an_execution_error(
    sandbox: Sandbox, database: Path, name: str
) -> None:
    quoted = name.replace('"', '""')
    result = sandbox.run(database, f'SELECT x."{quoted}" FROM t AS x')
    assert result.kind == "execution", result.error
    assert result.error.startswith("no such column: x.")


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("forbidden", "SELECT load_extension('x')"),
        ("forbidden", "SELECT LOAD_EXTENSION('x', 'y') FROM t"),
        ("forbidden", "SELECT fts3_tokenizer('simple')"),
        ("forbidden", "EXPLAIN PRAGMA user_version"),
        ("forbidden", "PRAGMA data_version"),
        ("forbidden", "PRAGMA main.data_version"),
        ("forbidden", "PRAGMA main.page_size"),
        ("forbidden", "SELECT * FROM pragma_table_info('t')"),
        ("forbidden", "SELECT * FROM pragma_data_version"),
        ("forbidden", "SELECT 1; SELECT absent FROM t"),
        ("execution", "SELECT absent FROM t; SELECT 1"),
        ("execution", "SELECT ?"),
        ("execution", "SELECT :one"),
        ("too_large", "SELECT 0x" + "f" * 20),
        ("too_large", "SELECT " + ", ".join(["1"] * 2001)),
        ("too_large", "SELECT 1 FROM " + ", ".join(f"t AS t{i}" for i in range(300))),
        ("too_large", "SELECT coalesce(" + ", ".join(["1"] * 101) + ")"),
        ("too_large", "SELECT a FROM t ORDER BY " + ", ".join(["a"] * 2001)),
        ("parse", "SELECT \0"),
        ("parse", "SELECT 1;\0"),
        ("parse", "SELECT a FROM t WHERE"),
        ("parse", "SELECT # FROM t"),
    ],
)
def test_kinds_at_their_borders(sandbox: Sandbox, database: Path, kind: str, sql: str) -> None:
    result = sandbox.run(database, sql)
    assert result.kind == kind, result.error
    assert result.error


def test_lone_surrogates_in_a_query_are_left_out(sandbox: Sandbox, database: Path) -> None:
    assert sandbox.run(database, "SELECT 'a\ud800b'").rows == [("ab",)]


@pytest.mark.parametrize("deadline", [math.nan, math.inf, 2 * MAX_DEADLINE])
def test_an_invalid_deadline_is_refused(sandbox: Sandbox, database: Path, deadline: float) -> None:
    with pytest.raises(ParameterError, match="Expected more than 0 s"):
        sandbox.run(database, "SELECT 1", deadline=deadline)
    with pytest.raises(ParameterError, match="Expected more than 0 s"):
        Sandbox(deadline=deadline)


@pytest.mark.parametrize("deadline", [0, 0.0, -1.0, -math.inf])
def test_with_no_time_left_the_result_is_a_timeout(
    sandbox: Sandbox, database: Path, deadline: float
) -> None:
    assert sandbox.run(database, "SELECT 1", deadline=deadline).kind == "timeout"
    with pytest.raises(ParameterError, match="Expected more than 0 s"):
        Sandbox(deadline=deadline)


@pytest.mark.parametrize(
    "name",
    [
        "?",
        "a#b",
        "100%",
        "%3f?mode=rw",
        "a b&c=d",
        "new\nline",
        "'\"",
        "é",
        ":memory:",
        "\udcff\udc80",
    ],
)
def test_a_database_may_have_any_name(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database = make(folder / f"{name}.sqlite", 7)
    assert sandbox.run(database, "SELECT a FROM t").rows == [(7,)]


def test_a_relative_path_is_looked_up_anew_in_another_folder(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        make(tmp_path / str(number) / "x.sqlite", number)
        monkeypatch.chdir(tmp_path / str(number))
        assert sandbox.run(Path("x.sqlite"), "SELECT a FROM t").rows == [(number,)]


def test_a_file_that_is_not_a_database_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert sandbox.run(empty, "SELECT count(*) FROM sqlite_master").rows == [(0,)]
    encrypted = tmp_path / "encrypted.sqlite"
    encrypted.write_bytes(os.urandom(8192))
    for path in (tmp_path, encrypted, tmp_path / "nul\0.sqlite", tmp_path / ("x" * 300)):
        with pytest.raises(DatasetError, match="Expected a SQLite file"):
            sandbox.run(path, "SELECT 1")
    assert sandbox.run(empty, "SELECT 1").ok


def test_a_damaged_schema_is_an_error_even_if_the_message_is_not_utf8(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE wrong (a)")
        connection.commit()
    damaged = path.read_bytes().replace(b"tablewrongwrong", b"tablewr\xffngwr\xffng")
    path.write_bytes(damaged.replace(b"CREATE TABLE wrong (a)", b"CREATE TABLE wr\xffng a("))
    with pytest.raises(DatasetError, match="cannot be opened"):
        sandbox.run(path, "SELECT 1")


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_changes_in_a_log_are_an_error(sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    database = make(tmp_path / "x.sqlite", 1)
    assert sandbox.run(database, "SELECT a FROM t").ok
    log = Path(f"{database}{suffix}")
    log.write_bytes(b"\x01" * 512)
    with pytest.raises(DatasetError, match="holds changes"):
        sandbox.run(database, "SELECT a FROM t")
    log.unlink()
    assert sandbox.run(database, "SELECT a FROM t").ok


def test_rows_that_are_only_in_a_log(sandbox: Sandbox, cases: Path) -> None:
    found = sorted((cases / "07_wal_not_checkpointed").rglob("*.sqlite"))
    assert found
    for database in found:
        with pytest.raises(DatasetError, match="checkpoint"):
            sandbox.run(database, "SELECT 1")


def test_a_database_that_was_replaced_or_rewritten_is_read_anew(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    database = make(tmp_path / "x.sqlite", 1)
    assert sandbox.run(database, "SELECT a FROM t").rows == [(1,)]
    make(tmp_path / "new.sqlite", 2).replace(database)
    assert sandbox.run(database, "SELECT a FROM t").rows == [(2,)]
    with closing(sqlite3.connect(database)) as connection:  # in place
        connection.execute("UPDATE t SET a = 3")
        connection.commit()
    assert sandbox.run(database, "SELECT a FROM t").rows == [(3,)]
    state = database.stat()
    database.write_bytes(
        make(tmp_path / "four.sqlite", 4).read_bytes()
    )  # of the same size and time
    os.utime(database, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sandbox.run(database, "SELECT a FROM t").rows == [(4,)]
    link = tmp_path / "link.sqlite"
    for number in (5, 6):
        link.unlink(missing_ok=True)
        link.symlink_to(make(tmp_path / f"{number}.sqlite", number))
        assert sandbox.run(link, "SELECT a FROM t").rows == [(number,)]


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

"""Full-text and R-Tree tables can be read in the sandbox, and nothing else is allowed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.sql.sandbox import Sandbox

TABLES = """
CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
INSERT INTO post VALUES (1, 'cats', 'cats are nice'), (2, 'dogs', 'dogs bark'), (3, 'NULL', NULL);
CREATE VIRTUAL TABLE f5 USING fts5(title, body);
INSERT INTO f5 SELECT title, body FROM post;
CREATE VIRTUAL TABLE external USING fts5(title, body, content='post', content_rowid='id');
INSERT INTO external(external) VALUES ('rebuild');
CREATE VIRTUAL TABLE "odd "" name" USING fts5(x, prefix='2 3', tokenize='porter unicode61');
INSERT INTO "odd "" name" VALUES ('running'), ('walked');
CREATE VIRTUAL TABLE bare USING fts5(x, content='');
INSERT INTO bare(rowid, x) VALUES (7, 'seven');
CREATE VIRTUAL TABLE f5words USING fts5vocab(f5, 'row');
CREATE VIRTUAL TABLE f4 USING fts4(a, b);
INSERT INTO f4 VALUES ('one two', 'three'), ('four', 'two');
CREATE VIRTUAL TABLE f4external USING fts4(content='post', title);
INSERT INTO f4external(f4external) VALUES ('rebuild');
CREATE VIRTUAL TABLE f4words USING fts4aux(f4);
CREATE VIRTUAL TABLE f3 USING fts3(a);
INSERT INTO f3 VALUES ('one two');
CREATE VIRTUAL TABLE box USING rtree(id, x0, x1, y0, y1, +name TEXT);
INSERT INTO box VALUES (1, 0, 1, 0, 1, 'a'), (2, 5, 6, 5, 6, 'b');
CREATE VIRTUAL TABLE span USING rtree_i32(id, low, high);
INSERT INTO span VALUES (1, 10, 20), (2, 15, 30);
CREATE VIEW cat AS SELECT title, rank FROM f5 WHERE f5 MATCH 'cats';
CREATE VIEW near AS SELECT name FROM box WHERE x1 < 3;
"""

QUERIES = [
    "SELECT * FROM f5",
    "SELECT rowid, * FROM f5 WHERE f5 MATCH 'cats OR bark' ORDER BY rank",
    "SELECT title FROM f5('body : nice')",
    "SELECT title, bm25(f5, 2.0, 1.0) FROM f5 WHERE f5 MATCH 'cats' ORDER BY bm25(f5)",
    "SELECT highlight(f5, 1, '[', ']'), snippet(f5, -1, '<', '>', '..', 2) FROM f5('cats')",
    "SELECT p.id FROM post AS p JOIN f5 ON f5.title = p.title WHERE f5 MATCH 'dogs'",
    "SELECT count(*) FROM f5 WHERE title LIKE '%at%'",
    "SELECT * FROM f5 WHERE f5 MATCH 'cats' AND rank MATCH 'bm25(10.0, 5.0)'",
    "SELECT * FROM external",
    "SELECT rowid FROM external WHERE external MATCH 'dogs'",
    """SELECT * FROM "odd "" name" WHERE "odd "" name" MATCH 'run'""",
    """SELECT * FROM "odd "" name" WHERE x MATCH 'wal*'""",
    "SELECT rowid FROM bare WHERE bare MATCH 'seven'",
    "SELECT * FROM f5words ORDER BY term",
    "SELECT * FROM f4 WHERE f4 MATCH 'two'",
    "SELECT snippet(f4), offsets(f4), hex(matchinfo(f4)) FROM f4 WHERE b MATCH 'two'",
    "SELECT title FROM f4external WHERE title MATCH 'dogs'",
    "SELECT term, documents FROM f4words WHERE col = '*' ORDER BY term",
    "SELECT docid, a FROM f3 WHERE f3 MATCH '\"one two\"'",
    "SELECT * FROM box WHERE x0 >= 0 AND x1 <= 2 AND y1 < 3",
    "SELECT name, x1 - x0 FROM box WHERE id = 2",
    "SELECT count(*) FROM span WHERE low <= 18 AND high >= 18",
    "SELECT * FROM cat",
    "SELECT * FROM near",
    "SELECT * FROM cat, near, f4 WHERE f4 MATCH 'two'",
    "WITH m AS (SELECT title FROM f5('dogs')) SELECT * FROM m UNION ALL SELECT a FROM f4",
    "SELECT sum(value) FROM json_each('[1, 2, 3]')",
    "SELECT p.id, e.value FROM post AS p, json_each(json_array(p.id, p.title)) AS e",
    'SELECT fullkey FROM json_tree(\'{"a": {"b": 1}}\')',
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("virtual") / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return path


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(deadline=1) as box:
        yield box


@pytest.mark.parametrize("sql", QUERIES)
def test_rows_are_those_that_sqlite_gives(sandbox: Sandbox, database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        expected = connection.execute(sql).fetchall()
    assert expected
    result = sandbox.run(database, sql)
    assert result.rows == expected, result.error
    with Sandbox() as fresh:  # independent of earlier queries
        assert fresh.run(database, sql).rows == expected


HOSTILE = {
    "forbidden": [
        "INSERT INTO f5(f5) VALUES ('rebuild')",
        "INSERT INTO f5(f5, rank) VALUES ('rank', 'bm25(1)')",
        "INSERT INTO f5 VALUES ('a', 'b')",
        "DELETE FROM f5",
        "UPDATE f5 SET title = 'x' WHERE f5 MATCH 'cats'",
        "INSERT INTO f4(f4) VALUES ('optimize')",
        "SELECT optimize(f4) FROM f4",
        "DELETE FROM box",
        "UPDATE box SET name = 'x'",
        "INSERT INTO box VALUES (3, 0, 1, 0, 1, 'c')",
        "DELETE FROM f5_data",
        "UPDATE box_rowid SET nodeno = 1",
        "UPDATE post SET title = 'x'",
        "DROP TABLE f5",
        "DROP TABLE box",
        "ALTER TABLE f5 RENAME TO f6",
        "CREATE VIRTUAL TABLE g USING fts5(x)",
        "CREATE VIRTUAL TABLE temp.g USING fts5(x)",
        "CREATE VIRTUAL TABLE g USING rtree(id, a, b)",
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('x', zeroblob(8)) FROM f4 WHERE f4 MATCH 'two'",
        "SELECT load_extension('x') FROM f5",
        "SELECT * FROM f5 WHERE f5 MATCH 'cats' AND rank MATCH 'load_extension(1)' ORDER BY rank",
        "SELECT rtreecheck('box')",
        "PRAGMA data_version",
        "PRAGMA main.data_version",
        "PRAGMA page_size",
        "PRAGMA main.page_size",
        "PRAGMA trusted_schema = OFF",
        "SELECT * FROM f5, pragma_data_version",
        "SELECT * FROM f5, pragma_table_info('f5')",
        "SELECT * FROM f5 WHERE f5 MATCH 'cats'; PRAGMA main.data_version",
        "ATTACH ':memory:' AS m",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
    ],
    "timeout": [
        "SELECT count(*) FROM f5words a, f5words b, f5words c, f5words d, f5words e, f5words f, "
        "f5words g, f5words h, f5words i, f5words j",
        "SELECT count(*) FROM f5 a, f5 b, f5 c, f5 d, f5 e, f5 f, f5 g, f5 h, f5 i, f5 j, f5 k, "
        "f5 l, f5 m, f5 n, f5 o, f5 p WHERE a.title <> b.title",
    ],
    "execution": [
        "SELECT * FROM f5 WHERE f5 MATCH 'AND'",
        "SELECT * FROM f5 WHERE f5 MATCH 'absent : x'",
        "SELECT * FROM f5 WHERE f5 MATCH 'syntax error\"'",
        "SELECT * FROM f4 WHERE f4 MATCH '\"'",
        "SELECT * FROM f5('cats', 1, 2)",
        "SELECT absent FROM f5",
        "DELETE FROM sqlite_master",
        "SELECT bm25(post) FROM post",
        "SELECT highlight(f5) FROM f5",
        "SELECT * FROM f5 WHERE f5 MATCH 'cats' AND rank MATCH 'absent(1)' ORDER BY rank",
        "SELECT * FROM post WHERE post MATCH 'cats'",
    ],
}


@pytest.mark.parametrize(
    ("kind", "sql"), [(kind, sql) for kind, corpus in HOSTILE.items() for sql in corpus]
)
def test_nothing_but_reading(sandbox: Sandbox, database: Path, kind: str, sql: str) -> None:
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    result = sandbox.run(database, sql)
    assert result.kind == kind, result.error
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]
    assert sandbox.run(database, "SELECT count(*) FROM f5('cats')").rows == [(1,)]


def test_the_case_of_a_full_text_table(sandbox: Sandbox, cases: Path) -> None:
    folder = cases / "11_fts5"
    for example in json.loads((folder / "dev.json").read_text()):
        path = folder / "database" / example["db_id"] / f"{example['db_id']}.sqlite"
        result = sandbox.run(path, example["query"])
        assert result.ok, result.error


def test_a_table_that_cannot_be_opened_does_not_stop_the_others(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    database = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(TABLES)
        connection.execute("DROP TABLE f4_segdir")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES "
            "('table', 'foreign', 'foreign', 0, 'CREATE VIRTUAL TABLE \"foreign\" USING absent(x)')"
        )
        connection.commit()
    assert sandbox.run(database, 'SELECT * FROM "foreign"').kind == "execution"
    assert sandbox.run(database, "SELECT * FROM f4 WHERE f4 MATCH 'two'").kind == "execution"
    assert sandbox.run(database, "SELECT title FROM f5('dogs')").rows == [("dogs",)]


def test_a_schema_that_never_ends_opening_is_a_timeout(sandbox: Sandbox, tmp_path: Path) -> None:
    """The full-text table reads its settings from a view that never ends."""
    database = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(TABLES)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'f5_config'")
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('view', 'f5_config', 'f5_config', 0, "
            "'CREATE VIEW f5_config AS WITH RECURSIVE n(k, v) AS (SELECT 1, 1 UNION ALL "
            "SELECT k + 1, 1 FROM n) SELECT k, v FROM n')"
        )
        connection.commit()
    start = time.monotonic()
    assert sandbox.run(database, "SELECT 1", deadline=0.3).kind == "timeout"
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("json_extract(a, '$.x')", 1),
        ("a ->> 'x'", 1),
        ("json_valid(a)", 1),
        ("upper(a)", '{"X":1}'),
    ],
)
def test_columns_may_be_computed_by_any_function(
    sandbox: Sandbox, tmp_path: Path, expression: str, value: object
) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE t (a TEXT CHECK ({expression} IS NOT 5))")
        connection.execute(f"ALTER TABLE t ADD COLUMN b AS ({expression})")
        connection.execute("""INSERT INTO t (a) VALUES ('{"x":1}')""")
        connection.commit()
    assert sandbox.run(path, "SELECT b FROM t").rows == [(value,)]


@pytest.mark.parametrize("call", ["load_extension('x')", "fts3_tokenizer('simple')"])
def test_views_may_not_call_what_queries_may_not(
    sandbox: Sandbox, tmp_path: Path, call: str
) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE VIEW v AS SELECT {call} AS a")
        connection.commit()
    assert sandbox.run(path, "SELECT * FROM v").kind in ("forbidden", "execution")

"""Hostile databases: hypothesis strategies for property tests.

``databases()`` draws a :class:`Database`: statements with odd names, types, keys, constraints,
generated columns, indexes, views, triggers, virtual tables and values. ``build`` writes the file
and skips statements that SQLite refuses. :func:`write_dataset` makes a dataset folder of it, with
questions whose gold queries run::

    @given(databases(), st.data())
    def test(database, data):
        folder = write_dataset(tmp_path, database)
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

Cell = int | float | str | bytes | None

#: Names that need quotes, break lines, end comments, are keywords, or look like SQLite's own.
ODD_NAMES = (
    "a", "b", "id", "t", "T1", "order", "group", "select", "if", "rowid", "oid", "_rowid_",
    "", " ", "a b", "a\nb", "a\u2028b", "it's", 'quo"te', "[x]", "`y`", "*/", "--", "a;b", "a.b",
    "ünï", "名", "x_data", "value", "sqlitex", "1st", "%", "NULL", "count(*)", "\U0001f600",
    "a" * 300,
)  # fmt: skip
TYPES = (
    "INTEGER", "INT", "TEXT", "REAL", "BLOB", "NUMERIC", "", "NONE", "BOOLEAN", "DATE", "DATETIME",
    "VARCHAR(3)", "UNSIGNED BIG INT", "POINT", "ANY", "JSON",
)  # fmt: skip
STRICT_TYPES = ("INTEGER", "INT", "TEXT", "REAL", "BLOB", "ANY")
VALUES: tuple[Cell, ...] = (
    None, 0, 1, -1, 7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.1, 1e308, 5e-324,
    float("inf"), float("-inf"), "", " ", "0", "1", "x", "Ada", "a\nb", "a\u2028b", "*/", "nan",
    "2020-02-30", "ünï", "\x00", "y" * 500, b"", b"\x00", b"\xff\xfe", b"z" * 500,
)  # fmt: skip
#: Expressions of CHECKs and generated columns; ``{c}`` is a column of the table.
EXPRESSIONS = (
    "{c} + 1", "{c} || 'x'", "length({c})", "{c} IS NOT NULL", "typeof({c}) <> 'blob'", "abs({c})",
    "{c} > 0", "{c} IN (0, 1)", "json({c})", "upper({c})", "{c} GLOB '[a-z]*'", "1", "NULL",
    "length(zeroblob(100000))", "hex({c})", "max({c}, 5)", "json_extract({c}, '$.a')",
    "{c} ->> 'a'",
)  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Database:
    """A database to build: statements with their parameters, in order, and its tables' names.

    If ``sound``, rows that violate a foreign key are skipped, too.
    """

    statements: tuple[tuple[str, tuple[Cell, ...]], ...]
    tables: tuple[str, ...]
    sound: bool

    def build(self, path: Path) -> Path:
        """Write the file; statements that SQLite refuses are skipped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("CREATE TABLE there_is_one (n INTEGER)")
            connection.execute(f"PRAGMA foreign_keys = {self.sound}")
            for sql, parameters in self.statements:
                with suppress(sqlite3.Error, OverflowError):
                    connection.execute(sql, parameters)
        return path


def names(*, unlike: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """A name that is not in ``unlike``, regardless of case, as in SQLite."""
    taken = {name.lower() for name in unlike}
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return (st.sampled_from(ODD_NAMES) | st.text(letters, max_size=8)).filter(
        lambda name: name.lower() not in taken
    )


def values() -> st.SearchStrategy[Cell]:
    return (
        st.sampled_from(VALUES)
        | st.integers(-(2**63), 2**63 - 1)
        | st.integers(0, 5)
        | st.floats()
        | st.binary(max_size=20)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    )


@st.composite
def _columns(draw: st.DrawFn, types: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Columns: name, type and constraints."""
    columns: list[tuple[str, str, str]] = []
    strict = types is STRICT_TYPES
    for _ in range(draw(st.integers(1, 5))):
        name = draw(names(unlike=tuple(column for column, _, _ in columns)))
        rest = "".join(draw(st.lists(st.sampled_from(
            ["", "", " NOT NULL", " UNIQUE", " COLLATE NOCASE", " DEFAULT 1", " DEFAULT (random())"]
        ), max_size=2, unique=True)))  # fmt: skip
        other = quoted(draw(st.sampled_from([column for column, _, _ in columns] or [name])))
        expression = draw(st.sampled_from(EXPRESSIONS)).format(c=other)
        made = draw(st.sampled_from(["", "", "", "check", "VIRTUAL", "STORED"]))
        if made == "check":
            rest += f" CHECK ({expression})"
        elif made and columns:
            rest = f" GENERATED ALWAYS AS ({expression}) {made}"
        kind = draw(st.sampled_from(types))
        if strict and "GENERATED" in rest:
            kind = (
                "ANY"  # SQLite does not enforce a virtual column's type, and then reports an error
            )
        columns.append((name, kind, rest))
    return columns


@st.composite
def databases(draw: st.DrawFn, *, virtual: bool = True) -> Database:
    """A database of up to four tables with their rows, keys and indexes."""
    tables: dict[str, list[str]] = {}
    plans = []
    keys: dict[str, list[str]] = {}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(names(unlike=tuple(tables)))
        strict = draw(st.sampled_from([False, False, False, True]))
        columns = draw(_columns(STRICT_TYPES if strict else TYPES))
        tables[name] = [column for column, _, _ in columns]
        kind = draw(st.sampled_from(["", "rowid", "rowid", "counter", "one", "two"]))
        keys[name] = tables[name][: {"": 0, "two": 2}.get(kind, 1)]
        plans.append((name, columns, strict, kind))
    statements: list[tuple[str, tuple[Cell, ...]]] = []
    for name, columns, strict, kind in plans:
        own = tables[name]
        lines = [f"{quoted(column)} {type_}{rest}" for column, type_, rest in columns]
        if kind in ("rowid", "counter"):
            counter = " AUTOINCREMENT" if kind == "counter" else ""
            lines[0] = f"{quoted(own[0])} INTEGER PRIMARY KEY{counter}"
        elif kind:
            lines.append(f"PRIMARY KEY ({', '.join(map(quoted, keys[name]))})")
        for _ in range(draw(st.integers(0, 2))):
            lines.append(draw(_key(own, tables, keys)))
        options = [option for option, on in (
            ("STRICT", strict),
            ("WITHOUT ROWID", kind in ("one", "two") and draw(st.booleans())),
        ) if on]  # fmt: skip
        body = ", ".join(lines)
        statements.append((f"CREATE TABLE {quoted(name)} ({body}) {', '.join(options)}", ()))
        plain = f"CREATE TABLE {quoted(name)} ({', '.join(map(quoted, own))})"
        statements.append((plain, ()))  # in case SQLite refused the first
        statements += draw(st.lists(_extras(name, own), max_size=2))
    if virtual:
        statements += draw(st.lists(st.sampled_from([
            ('CREATE VIRTUAL TABLE ft USING fts5("a b", body)', ()),
            ("INSERT INTO ft VALUES ('x', 'some words')", ()),
            ("CREATE VIRTUAL TABLE old USING fts4(body)", ()),
            ("INSERT INTO old VALUES ('some words')", ()),
            ("CREATE VIRTUAL TABLE box USING rtree(id, x0, x1)", ()),
            ("INSERT INTO box VALUES (1, 0, 1)", ()),
        ]), max_size=4, unique=True))  # fmt: skip
    for name, columns, _, _ in plans:
        stored = [column for column, _, rest in columns if "GENERATED" not in rest]
        listed, marks = ", ".join(map(quoted, stored)), ", ".join("?" * len(stored))
        insert = f"INSERT OR IGNORE INTO {quoted(name)} ({listed}) VALUES ({marks})"
        few = draw(st.lists(values(), min_size=1, max_size=4))
        cells = st.sampled_from(few) | values()
        for row in draw(st.lists(st.tuples(*[cells] * len(stored)), max_size=8)):
            statements.append((insert, row))
    if draw(st.booleans()):
        name = draw(st.sampled_from(list(tables)))
        column = quoted(draw(st.sampled_from(tables[name])))
        statements.append((f"UPDATE {quoted(name)} SET {column} = CAST(x'41ff42' AS TEXT)", ()))
    return Database(tuple(statements), tuple(tables), sound=draw(st.booleans()))


@st.composite
def _key(
    draw: st.DrawFn, own: list[str], tables: dict[str, list[str]], keys: dict[str, list[str]]
) -> str:
    """A foreign key to the same table, another one or a missing one, to a primary key or not."""
    parent = draw(st.sampled_from([*tables, *tables, *tables, "no such table", "a view", "ft"]))
    targets = keys.get(parent, [])
    if not targets or draw(st.integers(0, 4)) == 0:
        there = [*tables.get(parent, []), "rowid", "no_such_column", "OID"]
        targets = draw(st.lists(st.sampled_from(there), min_size=1, max_size=2))
    sources = [draw(st.sampled_from(own)) for _ in targets]
    named = f" ({', '.join(map(quoted, targets))})" if draw(st.booleans()) else ""
    sides = draw(st.sampled_from(["", " ON DELETE CASCADE", " DEFERRABLE INITIALLY DEFERRED"]))
    parent = draw(st.sampled_from([parent, parent.upper()]))
    columns = ", ".join(map(quoted, sources))
    return f"FOREIGN KEY ({columns}) REFERENCES {quoted(parent)}{named}{sides}"


@st.composite
def _extras(draw: st.DrawFn, table: str, own: list[str]) -> tuple[str, tuple[Cell, ...]]:
    """An index, a view or a trigger."""
    name, column = quoted(table), quoted(draw(st.sampled_from(own)))
    index = quoted(f"i {table} {draw(st.integers(0, 9))}")
    return draw(st.sampled_from([
        (f"CREATE INDEX {index} ON {name} ({column})", ()),
        (f"CREATE UNIQUE INDEX {index} ON {name} ({column})", ()),
        (f"CREATE UNIQUE INDEX {index} ON {name} ({column}) WHERE {column} > 1", ()),
        (f"CREATE INDEX {index} ON {name} (length({column}))", ()),
        (f'CREATE VIEW "a view" AS SELECT * FROM {name}', ()),
        (f"CREATE TRIGGER {index} AFTER INSERT ON {name} BEGIN DELETE FROM {name}; END", ()),
        (f"CREATE TRIGGER {index} BEFORE DELETE ON {name} BEGIN "
         "SELECT RAISE(ABORT, 'no'); END", ()),
    ]))  # fmt: skip


def write_dataset(root: Path, database: Database, *, split: str = "dev") -> Path:
    """A folder in Spider's layout with the database ``odd`` and questions whose gold queries run.

    The questions ask for the count and for all rows of each table.
    """
    path = database.build(root / "database" / "odd" / "odd.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        there = [
            name
            for name in ("there_is_one", *database.tables)
            if connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
            ).fetchone()
        ]
    examples = [
        {
            "db_id": "odd",
            "question": f"What of {name}?",
            "query": f"SELECT {what} FROM {quoted(name)}",
        }
        for name in there
        for what in ("count(*)", "*")
    ]
    (root / f"{split}.json").write_text(json.dumps(examples), encoding="utf-8")
    return root

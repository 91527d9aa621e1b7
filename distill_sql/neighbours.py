"""Neighbour databases: variants of a database on which a lucky query shows that it was lucky.

A wrong query can give the gold rows by chance: no customer is under 18, so a dropped condition does
not show. Test suites (Zhong et al., "Semantic Evaluation for Text-to-SQL with Distilled Test
Suites", EMNLP 2020) answer with many databases of the same schema and other contents. They exist
for Spider only; this makes them for any SQLite database.

A neighbour keeps tables, keys and every constraint. Its rows are drawn anew: a row of the original
in which values are exchanged for others of their column, and for the constants that the gold
queries compare that column with and their near neighbours (17 and 19 for 18), so that conditions
select some rows and not others. Foreign keys point to rows that exist. Columns without repeated
values keep none, and a question whose gold query meets a tie in its ORDER BY on a neighbour is not
judged there (:func:`tie_query`), since ties make right queries look wrong. Tables without rows get
some.

Left out: distilling, that is, choosing the few among many neighbours that tell most queries apart.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from tqdm import tqdm

from distill_sql.datasets import Dataset, cache_dir
from distill_sql.schema import Schema, Table, quote_identifier

#: How many neighbours a database gets, and the seed they are drawn with.
COUNT = 8
SEED = 42
#: Rows that a table of a neighbour has at most, and at least if the original has none.
MAX_ROWS = 120
MIN_ROWS = 12

Value = int | float | str | bytes | None
Constants = Mapping[str, Sequence[int | float | str]]

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Like)


def build_neighbours(
    dataset: Dataset,
    *,
    count: int = COUNT,
    seed: int = SEED,
    folder: Path | None = None,
    progress: bool = False,
) -> dict[str, tuple[Path, ...]]:
    """``count`` neighbours of every database that the dataset's examples ask about, by db_id.

    They are seeded with the constants of the examples' gold queries and made once: the default
    ``folder`` lies in the cache and is named after the dataset's contents and this module's.
    """
    if folder is None:
        code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        key = hashlib.sha256(f"{dataset.fingerprint} {code} {count} {seed}".encode()).hexdigest()
        folder = cache_dir() / "neighbours" / key[:16]
    made = {}
    for db_id in tqdm(dataset.db_ids, desc="neighbour databases", disable=not progress):
        queries = [example.query for example in dataset if example.db_id == db_id]
        made[db_id] = neighbours(
            dataset.database_path(db_id),
            dataset.schema(db_id),
            queries,
            folder / db_id,
            count=count,
            seed=seed,
        )
    return made


def neighbours(
    database: Path,
    schema: Schema,
    queries: Iterable[str],
    folder: Path,
    *,
    count: int = COUNT,
    seed: int = SEED,
) -> tuple[Path, ...]:
    """Make ``count`` neighbours of a database in ``folder``; files that are there are kept.

    The same database, queries and seed give the same rows. A file appears only when it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{database.stem}_{number}.sqlite" for number in range(count))
    found = constants(queries)
    for number, path in enumerate(paths):
        if path.exists():
            continue
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unfinished = Path(scratch) / path.name
            shutil.copyfile(database, unfinished)
            rng = random.Random(f"{seed} {database.stem} {number}")
            _Redrawing(unfinished, schema, found, rng).run()
            unfinished.replace(path)
    return paths


def constants(queries: Iterable[str]) -> dict[str, list[int | float | str]]:
    """The values that queries compare columns with, and near neighbours, by column name.

    >>> constants(["SELECT a FROM t WHERE b > 18 AND c LIKE '%an%'"])
    {'b': [18, 17, 19], 'c': ['an', 'xan', 'anx', 'xanx', 'a']}
    """
    found: defaultdict[str, dict[int | float | str, None]] = defaultdict(dict)
    for query in queries:
        try:
            tree = sqlglot.parse_one(query, read="sqlite")
        except SqlglotError:
            continue
        for node in tree.find_all(*_COMPARISONS):
            values = [v for literal in node.find_all(exp.Literal) for v in _around(literal, node)]
            for column in node.find_all(exp.Column):
                found[column.name.lower()].update(dict.fromkeys(values))
    return {name: list(values) for name, values in found.items()}


def _around(literal: exp.Expr, node: exp.Expr) -> list[int | float | str]:
    text = str(literal.this)
    if not literal.is_string:
        number = float(text) if not text.isdigit() else int(text)
        return [number, number - 1, number + 1]
    if isinstance(node, exp.Like):
        core = text.strip("%").replace("_", "x").replace("%", "x")
        return [core, f"x{core}", f"{core}x", f"x{core}x", core[:-1]]
    return [text]


def tie_query(sql: str) -> tuple[str, int] | None:
    """A query that shows the sort keys of a query beside its rows, and how many keys there are.

    One row more than its LIMIT asks for. None for a query that does not sort, or sorts in a way
    that cannot be shown (by position, or after a set operation).

    >>> tie_query("SELECT name FROM singer ORDER BY age LIMIT 1")
    ('SELECT name, age FROM singer ORDER BY age LIMIT 2', 1)
    """
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except SqlglotError:
        return None
    order = tree.args.get("order")
    if not isinstance(tree, exp.Select) or order is None or tree.args.get("distinct"):
        return None
    keys = [item.this for item in order.expressions]
    aliases = {item.alias.lower(): item.unalias() for item in tree.expressions if item.alias}
    if any(isinstance(key, exp.Literal) for key in keys):
        return None
    shown = [aliases.get(key.name.lower(), key) for key in keys]
    limit = tree.args.get("limit")
    if limit is not None:
        if not limit.expression.is_int:
            return None
        tree = tree.limit(int(limit.expression.name) + 1)
    return tree.select(*(key.copy() for key in shown)).sql("sqlite"), len(shown)


def has_ties(rows: Sequence[tuple[Any, ...]], keys: int) -> bool:
    """Whether two rows of a :func:`tie_query` differ and their keys do not: their order is chance.

    >>> has_ties([("Ann", 30), ("Bo", 30)], 1), has_ties([("Ann", 30), ("Ann", 30)], 1)
    (True, False)
    """
    return any(
        first[-keys:] == second[-keys:] and first != second for first, second in pairwise(rows)
    )


class _Redrawing:
    """Replaces the rows of one copy of a database."""

    def __init__(
        self, database: Path, schema: Schema, found: Constants, rng: random.Random
    ) -> None:
        self._database = database
        self._schema = schema
        self._constants = found
        self._rng = rng

    def run(self) -> None:
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="ignore")
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            for trigger in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                connection.execute(f"DROP TRIGGER {quote_identifier(trigger[0])}")
            done: set[str] = set()
            for table in _parents_first(self._schema):
                self._redraw(connection, table, done)
                done.add(table.name.lower())
            connection.execute("COMMIT")
            connection.execute("VACUUM")

    def _redraw(self, connection: sqlite3.Connection, table: Table, done: set[str]) -> None:
        name = quote_identifier(table.name)
        columns = [column.name for column in table.columns]
        listed = ", ".join(map(quote_identifier, columns))
        rows = connection.execute(f"SELECT {listed} FROM {name}").fetchall()
        parents = self._parents(connection, table, columns, done)
        drawn = self._draw(table, rows, parents)
        connection.execute(f"DELETE FROM {name}")
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT OR IGNORE INTO {name} ({listed}) VALUES ({marks})"
        for row in drawn:
            # A row that breaks a constraint is left out; there are others. What SQLite does not
            # ignore is a key that must be whole and is not.
            with suppress(sqlite3.IntegrityError):
                connection.execute(insert, row)

    def _parents(
        self, connection: sqlite3.Connection, table: Table, columns: list[str], done: set[str]
    ) -> list[tuple[list[int], list[tuple[Value, ...]]]]:
        """For each foreign key to a finished table: its columns' places and the keys there are."""
        lower = [column.lower() for column in columns]
        found = []
        for key in self._schema.foreign_keys:
            if key.table.lower() != table.name.lower() or key.ref_table.lower() not in done:
                continue
            target = ", ".join(map(quote_identifier, key.ref_columns))
            keys = connection.execute(
                f"SELECT DISTINCT {target} FROM {quote_identifier(key.ref_table)}"
            ).fetchall()
            found.append(([lower.index(column.lower()) for column in key.columns], keys))
        return found

    def _draw(
        self,
        table: Table,
        rows: list[tuple[Value, ...]],
        parents: list[tuple[list[int], list[tuple[Value, ...]]]],
    ) -> list[list[Value]]:
        rng = self._rng
        pools = [
            _Pool([row[place] for row in rows], column.type, self._near(column.name), rng)
            for place, column in enumerate(table.columns)
        ]
        keyed = {place for places, _ in parents for place in places}
        size = min(MAX_ROWS, max(MIN_ROWS, round(len(rows) * rng.uniform(0.5, 1.2))))
        exchange = rng.choice((0.2, 0.5, 0.8))  # some neighbours stay close, some do not
        drawn = []
        for _ in range(size):
            row: list[Value] = list(rng.choice(rows)) if rows else [None] * len(pools)
            for place, pool in enumerate(pools):
                if place not in keyed:
                    row[place] = pool.value(row[place], exchange)
            for places, keys in parents:
                chosen = rng.choice(keys) if keys else (None,) * len(places)
                for place, value in zip(places, chosen, strict=True):
                    row[place] = value
            drawn.append(row)
        return drawn

    def _near(self, column: str) -> list[int | float | str]:
        return list(self._constants.get(column.lower(), ()))


class _Pool:
    """The values of one column, and those it might have."""

    def __init__(
        self, values: list[Value], kind: str, near: list[int | float | str], rng: random.Random
    ) -> None:
        self._rng = rng
        present = [value for value in values if value is not None]
        self._distinct = len(present) > 1 and len(set(present)) == len(present)
        self._nulls = len(values) > len(present)
        self._number = kind in ("number", "boolean") and not any(
            isinstance(value, str | bytes) for value in present
        )
        self._near = [value for value in map(self._fit, near) if value is not None]
        self._values: list[Any] = list(dict.fromkeys(present)) or self._invented()
        self._used: set[Any] = set()

    def value(self, current: Value, exchange: float) -> Value:
        """A value for a row that had ``current``; never twice the same in a column of its own."""
        rng = self._rng
        if current is None or rng.random() < exchange:
            if self._nulls and rng.random() < 0.1:
                return None
            current = rng.choice(self._near if self._near and rng.random() < 0.4 else self._values)
            if self._number and rng.random() < 0.15:
                current = self._moved(current)
        if not self._distinct:
            return current
        while current in self._used:
            current = self._moved(current)
        self._used.add(current)
        return current

    def _moved(self, value: Any) -> Any:
        """Another value nearby: it may be new to the column."""
        if isinstance(value, int):
            return value + self._rng.choice((-1, 1)) * self._rng.randint(1, 9)
        if isinstance(value, float):
            return round(value * self._rng.uniform(0.7, 1.3) + self._rng.uniform(-1, 1), 2)
        if isinstance(value, str):
            other = str(self._rng.choice(self._values))
            return f"{value} {other}" if len(value) < 40 else f"{other[:20]} {self._rng.random()}"
        return self._rng.choice(self._values)

    def _fit(self, value: float | str) -> Value:
        """A constant as this column would store it, or None if it would not."""
        if not self._number:
            return str(value)
        try:
            number = float(value)
        except ValueError:
            return None
        return int(number) if number.is_integer() else number

    def _invented(self) -> list[Any]:
        if self._number:
            return [self._rng.randint(1, 100) for _ in range(MIN_ROWS)]
        return [f"{self._rng.choice('abcdefgh')}{number}" for number in range(MIN_ROWS)]


def _parents_first(schema: Schema) -> list[Table]:
    """The tables, each after those that its foreign keys point to; a cycle is cut anywhere."""
    ordered: dict[str, Table] = {}
    visiting: set[str] = set()

    def visit(table: Table) -> None:
        if table.name in visiting:
            return
        visiting.add(table.name)
        for key in schema.foreign_keys:
            if key.table.lower() == table.name.lower():
                visit(schema.table(key.ref_table))
        ordered[table.name] = table

    for table in schema.tables:
        visit(table)
    return list(ordered.values())

"""Neighbour databases: variants of a database that expose queries that are right by chance.

A wrong query can return the gold rows by chance: if no customer is under 18, a missing condition
has no effect. Test suites (Zhong et al., "Semantic Evaluation for Text-to-SQL with Distilled Test
Suites", EMNLP 2020) solve this with many databases of the same schema and other contents. They
exist for Spider only; this module makes them for any SQLite database.

A neighbour has the same tables, keys and constraints. Each of its rows is a row of the original in
which some values are replaced: by other values of the column, by constants that the gold queries
compare the column with, or by values next to these (17 and 19 for 18). Conditions then select some
rows and not others. Foreign keys point to existing rows. Columns without duplicates stay so, and
empty tables get rows. A question is not judged on a neighbour where the ORDER BY of its gold query
has a tie (:func:`tie_query`), since ties make correct queries look wrong.

Neighbours are not distilled: all are used, not only the few that tell most queries apart.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlglot import exp
from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.data.redrawing import Constants
from distill_sql.data.schema import Schema
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.errors import DatasetError, OutputError
from distill_sql.files import check_folder, clean
from distill_sql.settings import cache_dir
from distill_sql.sql import frames
from distill_sql.sql.names import folded
from distill_sql.sql.parsing import parse

#: Number of neighbours per database, and the seed they are drawn with.
COUNT = 8
SEED = 42
#: Deadline of one neighbour, in seconds.
DEADLINE = 30.0

#: The files whose code determines a neighbour's contents.
_CODE = ("neighbours.py", "redrawing.py", "pools.py", "repair.py")
_WORKER = Path(__file__).with_name("neighbours_worker.py")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Like)


def build_neighbours(
    dataset: Dataset,
    *,
    count: int = COUNT,
    seed: int = SEED,
    folder: Path | None = None,
    progress: bool = False,
) -> dict[str, tuple[Path, ...]]:
    """``count`` neighbours of each database of the dataset's examples, by db_id.

    They use the constants of the examples' gold queries and are made once: the default ``folder``
    is in the cache, named after the dataset's contents and this code. A database whose neighbours
    cannot be made has none, and a warning on standard error says why.
    """
    if folder is None:
        code = b"".join(Path(__file__).with_name(name).read_bytes() for name in _CODE)
        digest = hashlib.sha256(code).hexdigest()
        key = hashlib.sha256(f"{dataset.fingerprint} {digest} {count} {seed}".encode()).hexdigest()
        folder = cache_dir() / "neighbours" / key[:16]
    queries: defaultdict[str, list[str]] = defaultdict(list)
    for example in dataset:
        queries[example.db_id].append(example.query)
    made = {}
    with closing(_Maker()) as maker:
        for db_id in tqdm(dataset.db_ids, desc="neighbour databases", disable=not progress):
            source, schema = dataset.database_path(db_id), dataset.schema(db_id)
            wanted = _paths(source, folder / db_id, count)
            try:
                made[db_id] = _make(maker, source, schema, queries[db_id], wanted, seed)
            except _CannotBeMade as error:
                made[db_id] = ()
                tqdm.write(f"warning: {error}", file=sys.stderr)
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
    """Make ``count`` neighbours of a database in ``folder``; existing files are kept.

    The same database, queries and seed give the same rows. Files are written atomically. Raises
    :class:`DatasetError` if a neighbour takes too long or too much memory, or if the database is
    corrupt.
    """
    with closing(_Maker()) as maker:
        wanted = _paths(database, folder, count)
        return _make(maker, database, schema, queries, wanted, seed)


def _paths(database: Path, folder: Path, count: int) -> tuple[Path, ...]:
    return tuple(folder / f"{database.stem}_{number}.sqlite" for number in range(count))


class _CannotBeMade(DatasetError):
    """The neighbours of a database cannot be made."""


def _make(
    maker: _Maker,
    database: Path,
    schema: Schema,
    queries: Iterable[str],
    wanted: tuple[Path, ...],
    seed: int,
) -> tuple[Path, ...]:
    if all(path.exists() for path in wanted):
        return wanted
    drawn = _as_stored(schema, schema_from_sqlite(database))
    found = constants(queries)
    for number, path in enumerate(wanted):
        if path.exists():
            continue
        check_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            unfinished = Path(scratch) / path.name
            try:
                shutil.copyfile(database, unfinished)
            except OSError as error:
                raise OutputError(
                    f"{path} cannot be written: {error.strerror}. Free some space, or set "
                    "DISTILL_SQL_CACHE to a folder with free space."
                ) from error
            said = maker.redraw(unfinished, drawn, found, f"{seed} {database.stem} {number}")
            if said:
                raise _CannotBeMade(
                    f"The database {database} has no neighbours: {said}. Its queries are judged "
                    "without them. Correct its schema, or leave its questions out."
                )
            unfinished.replace(path)
    return wanted


def _as_stored(schema: Schema, live: Schema) -> Schema:
    """The tables and columns of ``schema`` that the file has, then the file's other ones.

    Foreign keys are those of ``schema``. Foreign keys that only the file has are not used here;
    rows that break them are repaired at the end.
    """
    tables = []
    columns: dict[str, set[str]] = {}
    for table in (*schema.tables, *(table for table in live.tables if table.name not in schema)):
        # A schema that is read from the file lacks SQLite's own tables.
        there = live.table(table.name).columns if table.name in live else table.columns
        if table.name not in live and not folded(table.name).startswith("sqlite_"):
            continue
        names = {folded(column.name) for column in there}
        stated = [column for column in table.columns if folded(column.name) in names]
        known = {folded(column.name) for column in stated}
        stated += [column for column in there if folded(column.name) not in known]
        tables.append(replace(table, columns=tuple(stated)))
        columns[folded(table.name)] = names
    keys = (
        key
        for key in schema.foreign_keys
        if _has(columns, key.table, key.columns) and _has(columns, key.ref_table, key.ref_columns)
    )
    return Schema(schema.db_id, tuple(tables), tuple(keys))


def _has(columns: Mapping[str, set[str]], table: str, names: Iterable[str]) -> bool:
    return {folded(name) for name in names} <= columns.get(folded(table), set())


class _Maker:
    """Redraws rows in a worker process, which starts on first use. Close it afterwards."""

    def __init__(self) -> None:
        self._worker: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the worker. The maker can be used again afterwards."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            frames.close_pipes(worker)

    def redraw(self, database: Path, schema: Schema, found: Constants, seed: str) -> str:
        """Redraw the rows of a copy of a database; returns the reason if that failed, else ""."""
        if self._worker is None:
            self._worker = frames.start_worker(_WORKER)
        request = frames.pack(pickle.dumps((database, schema, found, seed)))
        data = frames.exchange(self._worker, request, DEADLINE)
        if data is not None and (said := frames.unpack(data)) is not None:
            return str(said, "utf-8")
        self.close()
        if data is None:
            return f"redrawing its rows took more than {DEADLINE:g} s"
        return "the process that redraws its rows died, most likely out of memory"


def constants(queries: Iterable[str]) -> dict[str, list[int | float | str]]:
    """The values that queries compare columns with, and values next to them, by column name.

    >>> constants(["SELECT a FROM t WHERE b > 18 AND c LIKE '%an%'"])
    {'b': [18, 17, 19], 'c': ['an', 'xan', 'anx', 'xanx', 'a']}
    """
    found: defaultdict[str, dict[int | float | str, None]] = defaultdict(dict)
    for query in queries:
        tree = parse(clean(query))
        if tree is None:
            continue
        for node in tree.find_all(*_COMPARISONS):
            values = [v for literal in node.find_all(exp.Literal) for v in _around(literal, node)]
            for column in node.find_all(exp.Column):
                found[column.name.lower()].update(dict.fromkeys(values))
    return {name: list(values) for name, values in found.items()}


def _around(literal: exp.Expr, node: exp.Expr) -> list[int | float | str]:
    text = str(literal.this)
    if not literal.is_string:
        try:
            number = float(text) if not text.isdigit() else int(text)
        except ValueError:  # it has thousands of digits
            return []
        return [number, number - 1, number + 1]
    if isinstance(node, exp.Like):
        core = text.strip("%").replace("_", "x").replace("%", "x")
        return [core, f"x{core}", f"{core}x", f"x{core}x", core[:-1]]
    return [text]


def tie_query(sql: str) -> tuple[str, int] | None:
    """A query whose rows end with the sort keys of ``sql``, and the number of keys.

    Its LIMIT is one larger. None if ``sql`` does not sort, or sorts by position or after a set
    operation.

    >>> tie_query("SELECT name FROM singer ORDER BY age LIMIT 1")
    ('SELECT name, age FROM singer ORDER BY age LIMIT 2', 1)
    """
    tree = parse(sql)
    order = tree.args.get("order") if tree is not None else None
    if not isinstance(tree, exp.Select) or order is None or tree.args.get("distinct"):
        return None
    keys = [item.this for item in order.expressions]
    aliases = {item.alias.lower(): item.unalias() for item in tree.expressions if item.alias}
    if any(isinstance(key, exp.Literal) for key in keys):
        return None
    shown = [aliases.get(key.name.lower(), key) for key in keys]
    limit = tree.args.get("limit")
    if limit is not None:
        if not isinstance(limit.expression, exp.Literal) or not limit.expression.is_int:
            return None
        tree = tree.limit(int(limit.expression.name) + 1)
    return tree.select(*(key.copy() for key in shown)).sql("sqlite"), len(shown)


def has_ties(rows: Sequence[tuple[Any, ...]], keys: int) -> bool:
    """Whether two adjacent rows of a :func:`tie_query` differ and their keys do not.

    Their order is then arbitrary.

    >>> has_ties([("Ann", 30), ("Bo", 30)], 1), has_ties([("Ann", 30), ("Ann", 30)], 1)
    (True, False)
    """
    return any(
        first[-keys:] == second[-keys:] and first != second for first, second in pairwise(rows)
    )

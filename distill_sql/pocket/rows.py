"""The rows of the pocket databases, generated deterministically from the domain files.

Each column has its own random generator, seeded with the names of database, table and column, so a
change of one column does not change the others. References are skewed: a few parents have many
children, and some have none.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from distill_sql.pocket.domains import SOURCES, ColumnSpec, Domain, TableSpec

Value = Any
_SQL_TYPES = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "date": "DATE"}


def write_database(domain: Domain, path: Path) -> None:
    """Create the SQLite file of a domain, with keys declared and rows in key order."""
    keys: dict[tuple[str, str], list[Value]] = {}
    with closing(sqlite3.connect(path)) as connection:
        for table in domain.tables:
            connection.execute(_create(table))
            rows = make_rows(domain, table, keys)
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
            for position, column in enumerate(table.columns):
                if column.key:
                    keys[table.name, column.name] = [row[position] for row in rows]
        connection.commit()


def _create(table: TableSpec) -> str:
    single = len(table.keys) == 1
    lines = [
        f'"{column.name}" {_SQL_TYPES[column.type]}'
        + (" PRIMARY KEY" if column.key and single else "")
        for column in table.columns
    ]
    if not single:
        lines.append("PRIMARY KEY (" + ", ".join(f'"{key}"' for key in table.keys) + ")")
    for column in table.columns:
        if column.references:
            parent, key = column.parent
            lines.append(f'FOREIGN KEY ("{column.name}") REFERENCES "{parent}" ("{key}")')
    return f'CREATE TABLE "{table.name}" (\n  ' + ",\n  ".join(lines) + "\n)"


def make_rows(
    domain: Domain, table: TableSpec, keys: dict[tuple[str, str], list[Value]]
) -> list[tuple[Value, ...]]:
    """The rows of one table; ``keys`` holds the key values of the earlier tables."""
    columns: dict[str, list[Value]] = {}
    taken: set[tuple[Value, ...]] = set()
    references = [column for column in table.columns if column.references]
    for column in table.columns:
        random = Random(f"{domain.db_id}/{table.name}/{column.name}")
        if column.references:
            columns[column.name] = []
        elif column.key:
            columns[column.name] = list(range(1, table.rows + 1))
        else:
            columns[column.name] = _nulled(_values(random, table, column), column, random)
    if references:
        composite = len(table.keys) > 1
        random = Random(f"{domain.db_id}/{table.name}")
        pools = [_Pool(random, keys[column.parent], column.some) for column in references]
        for _ in range(table.rows):
            while True:
                drawn = [pool.draw(random) for pool in pools]
                if _same_parent_twice(references, drawn):
                    continue
                key = tuple(
                    value for value, column in zip(drawn, references, strict=True) if column.key
                )
                if not (composite and key and key in taken):
                    taken.add(key)
                    break
            for column, value in zip(references, drawn, strict=True):
                missing = column.nulls and random.random() < column.nulls
                columns[column.name].append(None if missing else value)
    rows = list(zip(*(columns[column.name] for column in table.columns), strict=True))
    return sorted(rows, key=lambda row: _key_of(table, row))


def _key_of(table: TableSpec, row: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple(v for v, column in zip(row, table.columns, strict=True) if column.key)


def _same_parent_twice(references: list[ColumnSpec], drawn: list[Value]) -> bool:
    seen = {(column.references, v) for column, v in zip(references, drawn, strict=True)}
    return len(seen) < len(drawn)


class _Pool:
    """The parents to draw from: a random share of them, with decreasing weights."""

    def __init__(self, random: Random, parents: list[Value], share: float) -> None:
        shuffled = random.sample(parents, len(parents))
        self.parents = shuffled[: max(2, round(share * len(parents)))]
        self.weights = [1 / (place + 2) ** 0.6 for place in range(len(self.parents))]

    def draw(self, random: Random) -> Value:
        return random.choices(self.parents, self.weights)[0]


def _values(random: Random, table: TableSpec, column: ColumnSpec) -> list[Value]:
    count = table.rows
    if column.make:
        return list(_made(random, column.make, count))
    if column.role == "label":
        return random.sample(column.values, count)
    if column.values:
        # Every value occurs at least once; the others are drawn by weight.
        drawn = list(column.values)[:count]
        drawn += random.choices(column.values, column.weights or None, k=count - len(drawn))
        return random.sample(drawn, count)
    low, high = column.range
    if column.type == "date":
        first, last = (datetime.date.fromisoformat(str(day)) for day in (low, high))
        span = (last - first).days
        days = (first + datetime.timedelta(random.randint(0, span)) for _ in range(count))
        return [day.isoformat() for day in days]
    if column.type == "integer":
        return [random.randint(low, high) for _ in range(count)]
    return [round(random.uniform(low, high), column.decimals) for _ in range(count)]


def _nulled(values: list[Value], column: ColumnSpec, random: Random) -> list[Value]:
    for position in random.sample(range(len(values)), round(column.nulls * len(values))):
        values[position] = None
    return values


def _pool_words(name: str) -> list[str]:
    return (SOURCES / "names" / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1]


def _made(random: Random, kind: str, count: int) -> Iterator[str]:
    """``count`` distinct values of a general kind, such as names of people."""
    first, last = _pool_words("first"), _pool_words("last")
    words, streets = _pool_words("words"), ["Street", "Lane", "Road", "Avenue", "Court", "Square"]
    seen: set[str] = set()
    while len(seen) < count:
        name, family = random.choice(first), random.choice(last)
        value = {
            "person": f"{name} {family}",
            "email": f"{name}.{family}@{random.choice(words)}.example".lower(),
            "phone": f"0{random.randint(200, 999)} {random.randint(100000, 999999)}",
            "company": f"{random.choice([family, random.choice(words).title()])} "
            f"{random.choice(['Ltd', 'and Sons', 'Group', 'Partners', 'Works', 'Supplies'])}",
            "street": f"{random.randint(1, 180)} {random.choice(last)} {random.choice(streets)}",
            "title": f"The {random.choice(words).title()} {random.choice(words).title()}",
        }[kind]
        if value not in seen:
            seen.add(value)
            yield value

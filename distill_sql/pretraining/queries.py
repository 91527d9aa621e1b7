"""The queries of lessons: rewritten forms of drawn queries, and the answers with them."""

from __future__ import annotations

import re
from functools import lru_cache

from distill_sql.pocket.domains import Domain
from distill_sql.prompting.prompts import Mode


def asks_for_label(world: Domain, sql: str) -> bool:
    """Whether the first column of a query's result is its table's label."""
    found = re.match(r"SELECT (?:DISTINCT )?(?:(\w+)\.)?(\w+)\b(?!\().*? FROM (\w+)", sql)
    if not found:
        return False
    label = world.table(found[1] or found[3]).label
    return label is not None and label.name == found[2]


def without_aliases(sql: str) -> str:
    """A query without table aliases, like marks; unchanged if a table occurs twice.

    >>> without_aliases("SELECT T2.a FROM x AS T1 JOIN y AS T2 ON T1.id = T2.x_id")
    'SELECT y.a FROM x JOIN y ON x.id = y.x_id'
    """
    found = re.findall(r"(\w+) AS (T\d)\b", sql)
    names = {alias: table for table, alias in found}
    if any(names[alias] != table for table, alias in found) or len(set(names.values())) < len(
        names
    ):
        return sql
    return re.sub(r"\b(T\d)\.", lambda match: f"{names[match[1]]}.", re.sub(r" AS T\d\b", "", sql))


def joined_as_shown(sql: str, world: Domain) -> str:
    """A query whose joins go from a table to those that it references, as in the prompt.

    It is unchanged if its tables have no such order, or aliases.
    """
    found = re.search(r"FROM \w+((?: JOIN \w+ ON [\w.]+ = [\w.]+)+)", sql)
    if not found:
        return sql
    refers = {f"{child.name}.{column.name}": column.references for child, column, _ in world.links}
    sides = re.findall(r"ON ([\w.]+) = ([\w.]+)", found[1])
    joins = [(a, b) if refers.get(a) == b else (b, a) for a, b in sides]
    tables = [(own.split(".")[0], other.split(".")[0]) for own, other in joins]
    first = {child for child, _ in tables} - {parent for _, parent in tables}
    if len(first) != 1 or any(refers.get(own) != other for own, other in joins):
        return sql
    # Tables reference earlier ones, so a later table is joined before those that it references.
    places = [table.name for table in world.tables]
    ordered = sorted(zip(tables, joins, strict=True), key=lambda one: -places.index(one[0][0]))
    listed = "".join(f" JOIN {parent} ON {own} = {other}" for (_, parent), (own, other) in ordered)
    return sql.replace(found[0], f"FROM {first.pop()}{listed}")


def showing_more(sql: str, world: Domain) -> str:
    """A query with extra columns, as in interactive use: the key, and those of ORDER BY and HAVING.

    Such a query answers the question but is wrong by execution accuracy, which allows no extra
    columns. A model that is pretrained on such queries still has much to learn in training.
    """
    tables = {table.name: table for table in world.tables}
    found = re.fullmatch(r"SELECT ((?:(\w+)\.)?\w+(?:, .+?)?) FROM (\w+)(.*)", sql)
    table = found and tables.get(found[2] or found[3])
    if not found or not table or re.search(" (?:UNION|INTERSECT|EXCEPT) ", sql):
        return sql
    columns = found[1].split(", ")
    key = f"{table.name}.{table.keys[0]}" if found[2] else table.keys[0]
    group = re.search(r" GROUP BY (\S+)", found[4])
    if group[1] == key if group else "(" not in found[1]:
        columns.insert(0, key)
    columns += re.findall(r" (?:ORDER BY|HAVING) (\S+)", found[4])
    return f"SELECT {', '.join(dict.fromkeys(columns))} FROM {found[3]}{found[4]}"


def answer(sql: str, mode: Mode) -> str:
    """The learned completion: reasoning if the mode asks for it, then the query in a code fence."""
    reasons = f"{_reasons(sql)}\n" if mode == "reasoning" else ""
    return f"{reasons}```sql\n{sql}\n```"


@lru_cache(maxsize=1)
def _clauses() -> list[tuple[str, re.Pattern[str]]]:
    return [
        ("Tables", re.compile(r"\b(?:FROM|JOIN) (\w+)")),
        (
            "Conditions",
            re.compile(r"\b(?:WHERE|HAVING) (.+?)(?= GROUP | ORDER | HAVING |\)$| [UIE][NX]|$)"),
        ),
        ("Groups", re.compile(r"GROUP BY (\S+)")),
        ("Order", re.compile(r"ORDER BY (\S+ (?:DESC|ASC))")),
    ]


def _reasons(sql: str) -> str:
    """The reasoning: the parts of the query, clause by clause."""
    said = []
    for name, clause in _clauses():
        found = list(dict.fromkeys(match.split(" (SELECT")[0] for match in clause.findall(sql)))
        if found:
            said.append(f"{name}: {', '.join(found)}.")
    return " ".join(said)

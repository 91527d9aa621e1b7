"""Questions composed from clauses instead of the benchmark's patterns: a control.

The ladder's lessons use the benchmark's patterns with other words. A model that never reads them
measures how much that adds. For it, each query is drawn clause by clause: the rows (one table, or
two joined by a key), the conditions (values, missing values, averages, linked rows or none), and
the result (columns, a count, an aggregate, groups, an order, the first few). INTERSECT, EXCEPT,
UNION and three tables do not occur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distill_sql.pocket.domains import ColumnSpec, TableSpec
from distill_sql.pocket.patterns.registry import FUNCTIONS, Draft, Pattern
from distill_sql.pocket.phrases import NUMBERS, Filter, Speaker, who

#: The numbers of conditions of a question, drawn uniformly.
CONDITIONS = (0, 1, 1, 1, 2)
#: The numbers of columns, drawn uniformly.
COLUMNS = (1, 1, 2, 3)
#: The aggregate functions to draw from.
_FUNCTIONS = tuple(FUNCTIONS)


@dataclass(frozen=True)
class _Set:
    """The rows of a question: the SQL of FROM and WHERE, and the words for both."""

    table: TableSpec
    sql: str
    at: str
    slots: dict[str, str]


def _set(speaker: Speaker) -> _Set | None:
    """A table, sometimes joined with one that it references, with some conditions."""
    table = speaker.pick(speaker.domain.tables)
    thing, things = speaker.nouns(table)
    links = [one for one in speaker.domain.links if one[0] is table and one[1].child_verb]
    sql, at, said, wheres = table.name, "", [], []
    if links and speaker.random.random() < 0.4:
        _, column, parent = speaker.pick(links)
        condition = speaker.filter(parent)
        if parent is table or condition is None:
            return None
        on = f"T1.{column.name} = T2.{column.parent[1]}"
        sql = f"{table.name} AS T1 JOIN {parent.name} AS T2 ON {on}"
        at = "T1."
        wheres.append(condition.sql.format(t="T2."))
        said.append(
            f"{who(table)} {column.child_verb[0]} {speaker.nouns(parent)[1]} {condition.words}"
        )
    for _ in range(speaker.pick(CONDITIONS)):
        drawn: Filter | None = speaker.pick(_KINDS)(speaker, table)
        condition_sql = drawn.sql.format(t=at) if drawn else ""
        if drawn is not None and condition_sql not in wheres:
            wheres.append(condition_sql)
            # Conditions on the table itself come first, next to its noun.
            said.insert(0, drawn.words)
    joined = speaker.pick(("AND", "OR")) if len(wheres) == 2 and not at else "AND"
    where = f" WHERE {f' {joined} '.join(wheres)}" if wheres else ""
    words = f" {joined.lower()} ".join(said)
    return _Set(table, f"{sql}{where}", at, {"thing": thing, "things": things, "cond": words})


def _value(speaker: Speaker, table: TableSpec) -> Filter | None:
    return speaker.filter(table)


def _missing(speaker: Speaker, table: TableSpec) -> Filter | None:
    columns = [column for column in table.columns if column.nulls and column.says]
    if not columns:
        return None
    column, known = speaker.pick(columns), speaker.random.random() < 0.5
    said = speaker.say(column.says)
    state = speaker.pick(("given", "known") if known else ("blank", "absent"))
    words = f"where the {said} is {state}"
    return Filter(f"{{t}}{column.name} IS {'NOT ' if known else ''}NULL", words, column.name)


def _average(speaker: Speaker, table: TableSpec) -> Filter | None:
    column = speaker.measure(table)
    if column is None:
        return None
    sign, words = speaker.pick(((">", "exceeds"), ("<", "stays under")))
    said = speaker.say(column.says)
    return Filter(
        f"{{t}}{column.name} {sign} (SELECT avg({column.name}) FROM {table.name})",
        f"whose {said} {words} the average one",
        column.name,
    )


def _linked(speaker: Speaker, table: TableSpec) -> Filter | None:
    links = [one for one in speaker.domain.links if one[2] is table and one[1].parent_verb]
    if not links:
        return None
    child, column, _ = speaker.pick(links)
    children, own = speaker.nouns(child)[1], column.parent_verb[0]
    key, source = column.parent[1], f"SELECT {column.name} FROM {child.name}"
    if speaker.random.random() < 0.4:
        words = speaker.pick((f"{who(table)} do not {own} {children}", f"lacking {children}"))
        return Filter(f"{{t}}{key} NOT IN ({source})", words, key)
    condition = speaker.filter(child)
    if condition is None:
        return None
    inner = condition.sql.format(t="")
    words = f"{who(table)} {own} {children} {condition.words}"
    return Filter(f"{{t}}{key} IN ({source} WHERE {inner})", words, key)


_KINDS: tuple[Callable[[Speaker, TableSpec], Filter | None], ...] = (
    _value, _value, _value, _missing, _average, _linked, _linked,
)  # fmt: skip


def _columns(speaker: Speaker, table: TableSpec, count: int) -> list[ColumnSpec]:
    columns: list[ColumnSpec] = []
    for _ in range(count):
        column = speaker.asked(table, but=[one.name for one in columns])
        if column is not None:
            columns.append(column)
    return columns


def _one_of(speaker: Speaker, table: TableSpec, *roles: str) -> ColumnSpec | None:
    columns = table.with_role(*roles)
    column: ColumnSpec | None = speaker.pick(columns) if columns else None
    return column


def drawn_list(speaker: Speaker) -> Draft | None:
    """Columns of the rows, sometimes sorted, or only the first few."""
    found = _set(speaker)
    columns = _columns(speaker, found.table, speaker.pick(COLUMNS)) if found is not None else None
    if found is None or not columns:
        return None
    names = ", ".join(f"{found.at}{column.name}" for column in columns)
    slots = found.slots | {"col": " and ".join(speaker.say(c.says) for c in columns)}
    sql = f"SELECT {names} FROM {found.sql}"
    measure = speaker.measure(found.table, whole=True)
    if measure is None or speaker.random.random() < 0.5:
        return Draft(sql, slots)
    down = speaker.random.random() < 0.5
    count = speaker.pick((0, 1, *NUMBERS))
    sql += f" ORDER BY {found.at}{measure.name} {'DESC' if down else 'ASC'}"
    said = speaker.say(measure.says)
    way = speaker.pick(("from the top", "downwards") if down else ("from the bottom", "upwards"))
    slots["cond"] += f" going by {said} {way}"
    if count:
        sql += f" LIMIT {count}"
        slots["cond"] += f", only the first {NUMBERS[count] if count > 1 else 'one'}"
    return Draft(sql, slots)


def drawn_count(speaker: Speaker) -> Draft | None:
    """The number of rows."""
    found = _set(speaker)
    return Draft(f"SELECT count(*) FROM {found.sql}", found.slots) if found is not None else None


def drawn_figure(speaker: Speaker) -> Draft | None:
    """An aggregate over the rows."""
    found = _set(speaker)
    measure = speaker.measure(found.table) if found is not None else None
    if found is None or measure is None:
        return None
    function = speaker.pick(_FUNCTIONS)
    return Draft(
        f"SELECT {function}({found.at}{measure.name}) FROM {found.sql}",
        found.slots
        | {"function": speaker.pick(FUNCTIONS[function]), "col": speaker.say(measure.says)},
    )


def drawn_distinct(speaker: Speaker) -> Draft | None:
    """The distinct values of a column."""
    found = _set(speaker)
    column = (
        _one_of(speaker, found.table, "category", "flag", "other", "label")
        if found is not None
        else None
    )
    if found is None or column is None:
        return None
    return Draft(
        f"SELECT DISTINCT {found.at}{column.name} FROM {found.sql}",
        found.slots | {"col": speaker.say(column.says) if column.says else column.name},
    )


def drawn_groups(speaker: Speaker) -> Draft | None:
    """A count or an aggregate per value of a column, sometimes only for the largest groups."""
    found = _set(speaker)
    column = _one_of(speaker, found.table, "category") if found is not None else None
    if found is None or column is None:
        return None
    measure = speaker.measure(found.table)
    value, said = "count(*)", speaker.pick(("number", "count", "quantity"))
    if measure is not None and speaker.random.random() < 0.5:
        function = speaker.pick(_FUNCTIONS)
        value = f"{function}({found.at}{measure.name})"
        said = f"{speaker.pick(FUNCTIONS[function])} {speaker.say(measure.says)}"
    by = f"{found.at}{column.name}"
    sql = f"SELECT {by}, {value} FROM {found.sql} GROUP BY {by}"
    slots = found.slots | {"col": speaker.say(column.says), "figure": said, "more": ""}
    tail = speaker.random.random()
    if tail < 0.25:
        number = speaker.random.randint(2, 6)
        sql += f" HAVING count(*) > {number}"
        slots["more"] = f", only groups larger than {number}"
    elif tail < 0.5:
        sql += f" ORDER BY {value} DESC LIMIT 1"
        slots["more"] = ", but just the group at the top"
    return Draft(sql, slots)


#: Used instead of the benchmark's patterns, with similar weights for similar kinds of question.
DRAWN_PATTERNS = [
    Pattern("drawn list", drawn_list, (), (), 5.0),
    Pattern("drawn count", drawn_count, (), (), 1.5),
    Pattern("drawn figure", drawn_figure, (), (), 1.5),
    Pattern("drawn distinct", drawn_distinct, (), (), 1.0),
    Pattern("drawn groups", drawn_groups, (), (), 1.5),
]

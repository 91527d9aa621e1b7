"""Questions on one table that need groups, a subquery or a set operation."""

from __future__ import annotations

from distill_sql.pocket.patterns.registry import FUNCTIONS, Draft, nouns, pattern
from distill_sql.pocket.phrases import NUMBERS, Speaker, plain


@pattern()
def group_count(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("category")
    if not columns:
        return None
    column = speaker.pick(columns)
    return Draft(
        f"SELECT {column.name}, count(*) FROM {table.name} GROUP BY {column.name}",
        nouns(speaker, table) | {"col": speaker.say(column.says)},
    )


@pattern()
def group_aggregate(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns, measure = table.with_role("category"), speaker.measure(table)
    if not columns or measure is None:
        return None
    column = speaker.pick(columns)
    function = speaker.pick(["avg", "max", "min", *(["sum"] if measure.unit else [])])
    return Draft(
        f"SELECT {column.name}, {function}({measure.name}) FROM {table.name} "
        f"GROUP BY {column.name}",
        nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "measure": speaker.say(measure.says),
            "function": speaker.pick(FUNCTIONS[function]),
        },
    )


@pattern(weight=0.6)
def having(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("category")
    if not columns:
        return None
    column = speaker.pick(columns)
    values = speaker.values(table, column)
    counts = sorted(values.count(value) for value in set(values))
    number = counts[len(counts) // 2]
    return Draft(
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING count(*) > {number}",
        nouns(speaker, table)
        | {"col": speaker.say(column.says), "number": NUMBERS.get(number, str(number))},
    )


@pattern(weight=1.2)
def most_common(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("category")
    if not columns:
        return None
    column = speaker.pick(columns)
    condition = speaker.filter(table) if speaker.random.random() < 0.5 else None
    if condition and condition.column == column.name:
        return None
    where = f" WHERE {plain(condition)}" if condition else ""
    tail = f"FROM {table.name}{where} GROUP BY {column.name} ORDER BY count(*) DESC"
    return Draft(
        f"SELECT {column.name} {tail} LIMIT 1",
        nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": f" {condition.words}" if condition else ""},
        tie=f"SELECT count(*) {tail} LIMIT 2",
    )


@pattern(weight=1.2)
def against_average(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    measure = speaker.measure(table)
    asked = measure and speaker.asked(table, but=[measure.name])
    if measure is None or asked is None:
        return None
    sign, word = speaker.pick([(">", "above"), ("<", "below")])
    return Draft(
        f"SELECT {asked.name} FROM {table.name} WHERE {measure.name} {sign} "
        f"(SELECT avg({measure.name}) FROM {table.name})",
        nouns(speaker, table)
        | {
            "col": speaker.say(asked.says),
            "measure": speaker.say(measure.says),
            "above": word,
        },
    )


@pattern(weight=0.9)
def count_against_average(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    measure = speaker.measure(table)
    condition = speaker.filter(table, roles=("category", "flag"))
    if measure is None or condition is None:
        return None
    sign, word = speaker.pick([(">", "above"), ("<", "below")])
    return Draft(
        f"SELECT count(*) FROM {table.name} WHERE {plain(condition)} AND {measure.name} {sign} "
        f"(SELECT avg({measure.name}) FROM {table.name})",
        nouns(speaker, table)
        | {"cond": condition.words, "measure": speaker.say(measure.says), "above": word},
    )


@pattern(weight=0.7)
def intersect(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "INTERSECT")


@pattern(weight=0.6)
def except_(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "EXCEPT")


@pattern(weight=0.6)
def union(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "UNION")


def _combined(speaker: Speaker, word: str) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    first = speaker.filter(table)
    second = speaker.filter(table)
    if first is None or second is None or first.sql == second.sql:
        return None
    columns = [
        c
        for c in table.with_role("category", "label")
        if c.name not in (first.column, second.column)
    ]
    if not columns:
        return None
    column = speaker.pick(columns)
    sides = [f"SELECT {column.name} FROM {table.name} WHERE {plain(f)}" for f in (first, second)]
    return Draft(
        f" {word} ".join(sides),
        nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": first.words, "cond2": second.words},
    )

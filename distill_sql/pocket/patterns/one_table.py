"""Questions on the rows of one table: filters, aggregates, superlatives and orders."""

from __future__ import annotations

from distill_sql.pocket.domains import TableSpec
from distill_sql.pocket.patterns.registry import FUNCTIONS, Draft, nouns, pattern
from distill_sql.pocket.phrases import Speaker, plain, sql_value


@pattern(weight=0.3)
def count_all(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    return Draft(f"SELECT count(*) FROM {table.name}", nouns(speaker, table))


@pattern()
def count_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table)
    if condition is None:
        return None
    return Draft(
        f"SELECT count(*) FROM {table.name} WHERE {plain(condition)}",
        nouns(speaker, table) | {"cond": condition.words},
    )


@pattern(weight=0.5)
def list_column(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    column = speaker.asked(table)
    if column is None:
        return None
    return Draft(
        f"SELECT {column.name} FROM {table.name}",
        nouns(speaker, table) | {"col": speaker.say(column.says)},
    )


@pattern()
def list_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table)
    column = speaker.asked(table, but=[condition.column] if condition else [])
    if condition is None or column is None:
        return None
    return Draft(
        f"SELECT {column.name} FROM {table.name} WHERE {plain(condition)}",
        nouns(speaker, table) | {"col": speaker.say(column.says), "cond": condition.words},
    )


@pattern(weight=0.8)
def attribute_of_one(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    label = table.label
    column = speaker.asked(table, but=[label.name] if label else [])
    if label is None or column is None:
        return None
    value = speaker.pick(speaker.values(table, label))
    return Draft(
        f"SELECT {column.name} FROM {table.name} WHERE {label.name} = {sql_value(value)}",
        nouns(speaker, table) | {"col": speaker.say(column.says), "label": str(value)},
    )


@pattern()
def aggregate(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    column = speaker.measure(table)
    if column is None:
        return None
    function = speaker.pick(["avg", "max", "min", *(["sum"] if column.unit else [])])
    condition = speaker.filter(table) if speaker.random.random() < 0.5 else None
    if condition and condition.column == column.name:
        return None
    where = f" WHERE {plain(condition)}" if condition else ""
    return Draft(
        f"SELECT {function}({column.name}) FROM {table.name}{where}",
        nouns(speaker, table)
        | {
            "function": speaker.pick(FUNCTIONS[function]),
            "col": speaker.say(column.says),
            "cond": f" {condition.words}" if condition else "",
        },
    )


@pattern(weight=0.6)
def distinct_values(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("category")
    condition = speaker.filter(table) if speaker.random.random() < 0.6 else None
    columns = [c for c in columns if condition is None or c.name != condition.column]
    if not columns:
        return None
    column = speaker.pick(columns)
    where = f" WHERE {plain(condition)}" if condition else ""
    return Draft(
        f"SELECT DISTINCT {column.name} FROM {table.name}{where}",
        nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": f" {condition.words}" if condition else ""},
    )


@pattern(weight=0.5)
def count_distinct(speaker: Speaker) -> Draft | None:
    draft = distinct_values(speaker)
    if draft is None:
        return None
    head, _, tail = draft.sql.partition(" FROM ")
    column = head.removeprefix("SELECT DISTINCT ")
    return Draft(f"SELECT count(DISTINCT {column}) FROM {tail}", draft.slots)


@pattern(weight=0.6)
def between(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("measure", "date")
    if not columns:
        return None
    column = speaker.pick(columns)
    asked = speaker.asked(table, but=[column.name])
    values = speaker.values(table, column)
    start = speaker.random.uniform(0.1, 0.5)
    low = values[int(len(values) * start)]
    high = values[int(len(values) * (start + speaker.random.uniform(0.2, 0.45)))]
    if asked is None or low >= high:
        return None
    return Draft(
        f"SELECT {asked.name} FROM {table.name} WHERE {column.name} "
        f"BETWEEN {sql_value(low)} AND {sql_value(high)}",
        nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "asked": speaker.say(asked.says),
            "low": str(low),
            "high": str(high),
        },
    )


@pattern(weight=0.5)
def missing(speaker: Speaker) -> Draft | None:
    tables = [t for t in speaker.domain.tables if any(c.nulls and c.role for c in t.columns)]
    if not tables:
        return None
    table = speaker.pick(tables)
    column = speaker.pick([c for c in table.columns if c.nulls and c.role])
    asked = speaker.asked(table, but=[column.name])
    if asked is None:
        return None
    return Draft(
        f"SELECT {asked.name} FROM {table.name} WHERE {column.name} IS NULL",
        nouns(speaker, table) | {"col": speaker.say(column.says), "asked": speaker.say(asked.says)},
    )


@pattern(weight=0.8)
def like(speaker: Speaker) -> Draft | None:
    tables = [t for t in speaker.domain.tables if t.label]
    if not tables:
        return None
    table = speaker.pick(tables)
    label = table.label
    assert label is not None
    asked = speaker.asked(table, but=[label.name] if speaker.random.random() < 0.5 else [])
    word = speaker.pick(str(speaker.pick(speaker.values(table, label))).split())
    if asked is None or len(word) < 3 or not word.isalpha():
        return None
    piece = word[: speaker.random.randint(3, 4)]
    return Draft(
        f"SELECT {asked.name} FROM {table.name} WHERE {label.name} LIKE '%{piece}%'",
        nouns(speaker, table)
        | {"col": speaker.say(label.says), "asked": speaker.say(asked.says), "piece": piece},
    )


@pattern(weight=1.3)
def two_columns(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table)
    if condition is None:
        return None
    first = speaker.asked(table, but=[condition.column])
    second = first and speaker.asked(table, but=[condition.column, first.name])
    if first is None or second is None:
        return None
    return Draft(
        f"SELECT {first.name}, {second.name} FROM {table.name} WHERE {plain(condition)}",
        nouns(speaker, table)
        | {
            "col": speaker.say(first.says),
            "col2": speaker.say(second.says),
            "cond": condition.words,
        },
    )


@pattern(weight=1.2)
def two_conditions(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    first, second = speaker.filter(table), speaker.filter(table)
    if first is None or second is None or first.sql == second.sql:
        return None
    word = speaker.pick(["and", "or"])
    if first.column == second.column and word == "and":
        return None
    column = speaker.asked(table, but=[first.column, second.column])
    if column is None:
        return None
    return Draft(
        f"SELECT {column.name} FROM {table.name} "
        f"WHERE {plain(first)} {word.upper()} {plain(second)}",
        nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "cond": first.words,
            "cond2": second.words,
            "link": word,
        },
    )


@pattern(weight=1.2)
def superlative(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    return _superlative(speaker, table, "")


def _superlative(speaker: Speaker, table: TableSpec, where: str) -> Draft | None:
    column = speaker.measure(table, whole=True)
    asked = column and speaker.asked(table, but=[column.name])
    if column is None or asked is None:
        return None
    down = speaker.random.random() < 0.6
    words = column.most if down else column.least
    if not words:
        return None
    order = f"ORDER BY {column.name} {'DESC' if down else 'ASC'}"
    return Draft(
        f"SELECT {asked.name} FROM {table.name}{where} {order} LIMIT 1",
        nouns(speaker, table) | {"col": speaker.say(asked.says), "most": speaker.pick(words)},
        tie=f"SELECT {column.name} FROM {table.name}{where} {order} LIMIT 2",
    )


@pattern(weight=0.8)
def superlative_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table, roles=("category", "flag", "date"))
    if condition is None:
        return None
    draft = _superlative(speaker, table, f" WHERE {plain(condition)}")
    if draft is None:
        return None
    return Draft(draft.sql, {**draft.slots, "cond": condition.words}, draft.tie)


@pattern(weight=0.6)
def ordered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    measure = speaker.measure(table)
    asked = measure and speaker.asked(table, but=[measure.name])
    if measure is None or asked is None:
        return None
    return Draft(
        f"SELECT {asked.name}, {measure.name} FROM {table.name} ORDER BY {measure.name} DESC",
        nouns(speaker, table)
        | {"col": speaker.say(asked.says), "measure": speaker.say(measure.says)},
    )

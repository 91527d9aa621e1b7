"""The question patterns: what a question can ask, in SQL and in words.

A pattern draws one question from a database: a canonical query and the words to fill into a
phrasing. It has phrasings for training and others for validation and dev; the two share none.
Slots: ``{things}`` and ``{thing}`` are the table's nouns, ``{col}`` the asked column, ``{cond}`` a
condition that follows the noun; patterns add their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distill_sql.pocket.domains import ColumnSpec, TableSpec
from distill_sql.pocket.phrases import NUMBERS, Speaker, aliased, plain, sql_value, who


@dataclass(frozen=True)
class Draft:
    """A drawn question: its query, its words, and a query whose two rows must not tie."""

    sql: str
    slots: Mapping[str, str]
    tie: str = ""


Draw = Callable[[Speaker], Draft | None]


@dataclass(frozen=True)
class Pattern:
    """A kind of question: how it is drawn and phrased; ``weight`` says how often it is tried."""

    name: str
    draw: Draw
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    weight: float = 1.0


PATTERNS: list[Pattern] = []


def pattern(
    train: tuple[str, ...], held_out: tuple[str, ...], *, weight: float = 1.0
) -> Callable[[Draw], Draw]:
    """Register a function as the pattern of its own name."""

    def register(draw: Draw) -> Draw:
        name = draw.__name__.replace("_", " ")
        PATTERNS.append(Pattern(name, draw, train, held_out, weight))
        return draw

    return register


def _nouns(speaker: Speaker, table: TableSpec) -> dict[str, str]:
    thing, things = speaker.nouns(table)
    return {"thing": thing, "things": things, "who": who(table)}


def _link(speaker: Speaker) -> tuple[TableSpec, ColumnSpec, TableSpec] | None:
    links = [link for link in speaker.domain.links if link[1].parent_verb and link[1].child_verb]
    return speaker.pick(links) if links else None


def _join(child: TableSpec, column: ColumnSpec, parent: TableSpec, *, first: str) -> str:
    """FROM of a join; T1 is the child or the parent, T2 the other."""
    key = column.parent[1]
    if first == "child":
        return f"{child.name} AS T1 JOIN {parent.name} AS T2 ON T1.{column.name} = T2.{key}"
    return f"{parent.name} AS T1 JOIN {child.name} AS T2 ON T1.{key} = T2.{column.name}"


# --- one table ----------------------------------------------------------------------------------


@pattern(
    ("How many {things} are there?", "Count the {things}.", "What is the number of {things}?",
     "How many {things} do we have in total?"),
    ("Tell me how many {things} are on record.", "What is the total count of {things}?",
     "How large is the number of {things}?"),
    weight=0.3,
)  # fmt: skip
def count_all(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    return Draft(f"SELECT count(*) FROM {table.name}", _nouns(speaker, table))


@pattern(
    ("How many {things} {cond} are there?", "Count the {things} {cond}.",
     "What is the number of {things} {cond}?", "Find the number of {things} {cond}."),
    ("Tell me how many {things} {cond} we have.", "What is the total count of {things} {cond}?",
     "I need to know how many {things} {cond} there are."),
)  # fmt: skip
def count_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table)
    if condition is None:
        return None
    return Draft(
        f"SELECT count(*) FROM {table.name} WHERE {plain(condition)}",
        _nouns(speaker, table) | {"cond": condition.words},
    )


@pattern(
    ("What is the {col} of each {thing}?", "List the {col} of every {thing}.",
     "Show the {col} of all {things}.", "Give me the {col} of all the {things}."),
    ("For every {thing}, what is the {col}?", "I would like to see the {col} of each {thing}.",
     "Return the {col} for all {things}."),
    weight=0.5,
)  # fmt: skip
def list_column(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    column = speaker.asked(table)
    if column is None:
        return None
    return Draft(
        f"SELECT {column.name} FROM {table.name}",
        _nouns(speaker, table) | {"col": speaker.say(column.says)},
    )


@pattern(
    ("What is the {col} of the {things} {cond}?", "List the {col} of all {things} {cond}.",
     "Show the {col} of the {things} {cond}.", "Find the {col} of every {thing} {cond}.",
     "Give the {col} of {things} {cond}."),
    ("For {things} {cond}, what is the {col}?", "Return the {col} of each {thing} {cond}.",
     "I am looking for the {col} of the {things} {cond}.",
     "Which {col} do the {things} {cond} have?"),
)  # fmt: skip
def list_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table)
    column = speaker.asked(table, but=[condition.column] if condition else [])
    if condition is None or column is None:
        return None
    return Draft(
        f"SELECT {column.name} FROM {table.name} WHERE {plain(condition)}",
        _nouns(speaker, table) | {"col": speaker.say(column.says), "cond": condition.words},
    )


@pattern(
    ("What is the {col} of the {thing} {label}?", "Show the {col} of the {thing} {label}.",
     "Find the {col} for the {thing} {label}.", "Give me the {col} of {label}."),
    ("Tell me the {col} of {label}.", "Which {col} does the {thing} {label} have?",
     "For the {thing} {label}, return the {col}."),
    weight=0.8,
)  # fmt: skip
def attribute_of_one(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    label = table.label
    column = speaker.asked(table, but=[label.name] if label else [])
    if label is None or column is None:
        return None
    value = speaker.pick(speaker.values(table, label))
    return Draft(
        f"SELECT {column.name} FROM {table.name} WHERE {label.name} = {sql_value(value)}",
        _nouns(speaker, table) | {"col": speaker.say(column.says), "label": str(value)},
    )


_FUNCTIONS = {
    "avg": ("average", "mean"),
    "max": ("maximum", "highest"),
    "min": ("minimum", "lowest"),
    "sum": ("total", "total"),
}


@pattern(
    ("What is the {function} {col} of all {things}{cond}?", "Find the {function} {col} of the {things}{cond}.",
     "Show the {function} {col} of {things}{cond}.", "Give the {function} {col} for all {things}{cond}."),
    ("Tell me the {function} {col} of the {things}{cond}.", "Across all {things}{cond}, what is the {function} {col}?",
     "Compute the {function} {col} of {things}{cond}."),
)  # fmt: skip
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
        _nouns(speaker, table)
        | {
            "function": speaker.pick(_FUNCTIONS[function]),
            "col": speaker.say(column.says),
            "cond": f" {condition.words}" if condition else "",
        },
    )


@pattern(
    ("What different {col} values do {things}{cond} have?", "List the distinct {col} of {things}{cond}.",
     "Show all different values of {col} among {things}{cond}.", "Find the distinct {col} values of the {things}{cond}."),
    ("Without repeats, which {col} values occur among {things}{cond}?", "Return each {col} found among {things}{cond} once.",
     "Give every {col} that {things}{cond} have, without duplicates."),
    weight=0.6,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": f" {condition.words}" if condition else ""},
    )


@pattern(
    ("How many different {col} values are there among {things}{cond}?", "Count the distinct {col} values of {things}{cond}.",
     "What is the number of different {col} values of {things}{cond}?", "Find how many distinct {col} values {things}{cond} have."),
    ("Tell me how many different {col} values occur among {things}{cond}.", "Ignoring repeats, how many {col} values do {things}{cond} have?",
     "What is the count of distinct {col} values for {things}{cond}?"),
    weight=0.5,
)  # fmt: skip
def count_distinct(speaker: Speaker) -> Draft | None:
    draft = distinct_values(speaker)
    if draft is None:
        return None
    head, _, tail = draft.sql.partition(" FROM ")
    column = head.removeprefix("SELECT DISTINCT ")
    return Draft(f"SELECT count(DISTINCT {column}) FROM {tail}", draft.slots)


@pattern(
    ("Which {things} have a {col} between {low} and {high}? Give the {asked}.",
     "List the {asked} of {things} whose {col} is between {low} and {high}.",
     "Find the {asked} of all {things} with a {col} from {low} to {high}.",
     "Show the {asked} of the {things} with {col} between {low} and {high}."),
    ("Return the {asked} of {things} with a {col} in the range {low} to {high}.",
     "What is the {asked} of {things} whose {col} lies between {low} and {high}?",
     "I need the {asked} of each {thing} whose {col} is at least {low} and at most {high}."),
    weight=0.6,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "asked": speaker.say(asked.says),
            "low": str(low),
            "high": str(high),
        },
    )


@pattern(
    ("Which {things} have no recorded {col}? Show the {asked}.", "List the {asked} of {things} without a {col}.",
     "Find the {asked} of all {things} whose {col} is missing.", "Show the {asked} of the {things} that lack a {col}."),
    ("Return the {asked} of {things} for which no {col} is known.", "For which {things} is the {col} unknown? Give the {asked}.",
     "What is the {asked} of each {thing} with an empty {col}?"),
    weight=0.5,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {"col": speaker.say(column.says), "asked": speaker.say(asked.says)},
    )


@pattern(
    ('Which {things} have a {col} that contains "{piece}"? Show the {asked}.',
     'List the {asked} of {things} whose {col} contains "{piece}".',
     'Find the {asked} of all {things} with "{piece}" in the {col}.',
     'Show the {asked} of every {thing} whose {col} includes "{piece}".'),
    ('Return the {asked} of {things} with the text "{piece}" somewhere in the {col}.',
     'What is the {asked} of the {things} whose {col} has "{piece}" in it?',
     'I want the {asked} of each {thing} with a {col} containing "{piece}".'),
    weight=0.8,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {"col": speaker.say(label.says), "asked": speaker.say(asked.says), "piece": piece},
    )


@pattern(
    ("What are the {col} and the {col2} of the {things} {cond}?", "Show the {col} and {col2} of all {things} {cond}.",
     "List the {col} and the {col2} of {things} {cond}.", "Find the {col} and {col2} for every {thing} {cond}."),
    ("Return both the {col} and the {col2} of the {things} {cond}.", "For the {things} {cond}, give the {col} together with the {col2}.",
     "I would like the {col} and the {col2} of each {thing} {cond}."),
    weight=1.3,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {
            "col": speaker.say(first.says),
            "col2": speaker.say(second.says),
            "cond": condition.words,
        },
    )


@pattern(
    ("What is the {col} of the {things} {cond} {link} {cond2}?", "List the {col} of {things} {cond} {link} {cond2}.",
     "Show the {col} of all {things} {cond} {link} {cond2}.", "Find the {col} of every {thing} {cond} {link} {cond2}."),
    ("Return the {col} of the {things} {cond} {link} {cond2}.", "For {things} {cond} {link} {cond2}, what is the {col}?",
     "I need the {col} of each {thing} {cond} {link} {cond2}."),
    weight=1.2,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "cond": first.words,
            "cond2": second.words,
            "link": word,
        },
    )


@pattern(
    ("What is the {col} of the {most} {thing}?", "Find the {col} of the {most} {thing}.",
     "Show the {col} of the {most} {thing}.", "Which {thing} is the {most}? Give the {col}."),
    ("Tell me the {col} of the {most} {thing}.", "Return the {col} belonging to the {most} {thing}.",
     "I want to know the {col} of the {most} {thing}."),
    weight=1.2,
)  # fmt: skip
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
        _nouns(speaker, table) | {"col": speaker.say(asked.says), "most": speaker.pick(words)},
        tie=f"SELECT {column.name} FROM {table.name}{where} {order} LIMIT 2",
    )


@pattern(
    ("Among the {things} {cond}, what is the {col} of the {most} one?", "What is the {col} of the {most} {thing} {cond}?",
     "Find the {col} of the {most} {thing} {cond}.", "Show the {col} of the {most} {thing} {cond}."),
    ("Of all {things} {cond}, return the {col} of the {most}.", "Tell me the {col} of the {most} {thing} {cond}.",
     "Looking only at {things} {cond}, which {col} does the {most} one have?"),
    weight=0.8,
)  # fmt: skip
def superlative_filtered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    condition = speaker.filter(table, roles=("category", "flag", "date"))
    draft = condition and _superlative(speaker, table, f" WHERE {plain(condition)}")
    if condition is None or draft is None:
        return None
    return Draft(draft.sql, {**draft.slots, "cond": condition.words}, draft.tie)


@pattern(
    ("List the {col} and {measure} of all {things}, from the highest {measure} to the lowest.",
     "Show the {col} and the {measure} of {things}, sorted by {measure} from high to low.",
     "What are the {col} and {measure} of each {thing}, with the largest {measure} first?",
     "Give the {col} and {measure} of the {things} in descending order of {measure}."),
    ("Return the {col} and the {measure} of every {thing}, ordered so that the highest {measure} comes first.",
     "Rank all {things} by {measure}, highest first, giving the {col} and the {measure}.",
     "Sorted by decreasing {measure}, what are the {col} and {measure} of the {things}?"),
    weight=0.6,
)  # fmt: skip
def ordered(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    measure = speaker.measure(table)
    asked = measure and speaker.asked(table, but=[measure.name])
    if measure is None or asked is None:
        return None
    return Draft(
        f"SELECT {asked.name}, {measure.name} FROM {table.name} ORDER BY {measure.name} DESC",
        _nouns(speaker, table)
        | {"col": speaker.say(asked.says), "measure": speaker.say(measure.says)},
    )


@pattern(
    ("How many {things} are there for each {col}?", "Count the {things} of each {col}.",
     "Show each {col} and the number of {things} with it.", "For each {col}, how many {things} are there?"),
    ("Group the {things} by {col} and count them.", "Return every {col} along with its number of {things}.",
     "What is the count of {things} per {col}?"),
)  # fmt: skip
def group_count(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns = table.with_role("category")
    if not columns:
        return None
    column = speaker.pick(columns)
    return Draft(
        f"SELECT {column.name}, count(*) FROM {table.name} GROUP BY {column.name}",
        _nouns(speaker, table) | {"col": speaker.say(column.says)},
    )


@pattern(
    ("What is the {function} {measure} of {things} for each {col}?", "For each {col}, find the {function} {measure} of the {things}.",
     "Show each {col} and the {function} {measure} of its {things}.", "List the {function} {measure} of {things} by {col}."),
    ("Group the {things} by {col} and return the {function} {measure} of each group.",
     "Per {col}, what is the {function} {measure} of the {things}?", "Give every {col} with the {function} {measure} of its {things}."),
)  # fmt: skip
def group_aggregate(speaker: Speaker) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    columns, measure = table.with_role("category"), speaker.measure(table)
    if not columns or measure is None:
        return None
    column = speaker.pick(columns)
    function = speaker.pick(["avg", "max", "min", *(["sum"] if measure.unit else [])])
    return Draft(
        f"SELECT {column.name}, {function}({measure.name}) FROM {table.name} GROUP BY {column.name}",
        _nouns(speaker, table)
        | {
            "col": speaker.say(column.says),
            "measure": speaker.say(measure.says),
            "function": speaker.pick(_FUNCTIONS[function]),
        },
    )


@pattern(
    ("Which {col} values have more than {number} {things}?", "Find every {col} with more than {number} {things}.",
     "List the {col} values that more than {number} {things} have.", "Show each {col} that has more than {number} {things}."),
    ("Return the {col} values shared by more than {number} {things}.", "For which {col} are there more than {number} {things}?",
     "Name every {col} that occurs for more than {number} {things}."),
    weight=0.6,
)  # fmt: skip
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
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} "
        f"HAVING count(*) > {number}",
        _nouns(speaker, table)
        | {"col": speaker.say(column.says), "number": NUMBERS.get(number, str(number))},
    )


@pattern(
    ("Which {col} is the most common among {things}{cond}?", "What is the most frequent {col} of {things}{cond}?",
     "Find the {col} that most {things}{cond} have.", "Show the most common {col} of the {things}{cond}."),
    ("Tell me which {col} occurs most often among {things}{cond}.", "Return the {col} with the largest number of {things}{cond}.",
     "Among {things}{cond}, which {col} appears most?"),
    weight=1.2,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": f" {condition.words}" if condition else ""},
        tie=f"SELECT count(*) {tail} LIMIT 2",
    )


@pattern(
    ("What is the {col} of {things} {above} the average {measure}?", "List the {col} of all {things} whose {measure} is {above} average.",
     "Find the {col} of the {things} with a {measure} {above} the average.", "Show the {col} of {things} whose {measure} is {above} the mean {measure}."),
    ("Return the {col} of each {thing} with {above}-average {measure}.", "Compared with the average {measure} of all {things}, which ones are {above} it? Give the {col}.",
     "Which {things} have a {measure} {above} the overall average? Return the {col}."),
    weight=1.2,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {
            "col": speaker.say(asked.says),
            "measure": speaker.say(measure.says),
            "above": word,
        },
    )


@pattern(
    ("How many {things} {cond} have a {measure} {above} the average of all {things}?",
     "Count the {things} {cond} whose {measure} is {above} the overall average.",
     "Find the number of {things} {cond} with a {measure} {above} the average of all {things}.",
     "What is the number of {things} {cond} whose {measure} is {above} the average over all {things}?"),
    ("Of the {things} {cond}, how many are {above} the average {measure} of all {things}?",
     "Tell me the count of {things} {cond} that have a {measure} {above} the general average.",
     "Return how many {things} {cond} have {above}-average {measure}, taking the average over all {things}."),
    weight=0.9,
)  # fmt: skip
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
        _nouns(speaker, table)
        | {"cond": condition.words, "measure": speaker.say(measure.says), "above": word},
    )


@pattern(
    ("Which {col} values are shared by {things} {cond} and {things} {cond2}?",
     "Find the {col} values that both {things} {cond} and {things} {cond2} have.",
     "Show the {col} that occurs among {things} {cond} as well as {things} {cond2}.",
     "List the {col} values common to {things} {cond} and {things} {cond2}."),
    ("Return each {col} found both for {things} {cond} and for {things} {cond2}.",
     "Looking at {things} {cond} and at {things} {cond2}, which {col} values do the two groups share?",
     "What {col} do {things} {cond} have in common with {things} {cond2}?"),
    weight=0.7,
)  # fmt: skip
def intersect(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "INTERSECT")


@pattern(
    ("Which {col} values occur among {things} {cond} but not among {things} {cond2}?",
     "Find the {col} that {things} {cond} have and {things} {cond2} do not.",
     "Show the {col} values of {things} {cond} that no {things} {cond2} have.",
     "List each {col} of {things} {cond}, leaving out those of {things} {cond2}."),
    ("Return the {col} values of {things} {cond} except those also found for {things} {cond2}.",
     "What {col} is there among {things} {cond} yet never among {things} {cond2}?",
     "Take the {col} values of {things} {cond} and remove those of {things} {cond2}."),
    weight=0.6,
)  # fmt: skip
def except_(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "EXCEPT")


@pattern(
    ("List the {col} values of {things} {cond} together with those of {things} {cond2}, without repeats.",
     "Show every {col} found among {things} {cond} or among {things} {cond2}, once each.",
     "Find all {col} values that occur among {things} {cond} or {things} {cond2}, each only once.",
     "Which {col} values belong to {things} {cond} or to {things} {cond2}? List each once."),
    ("Return the combined set of {col} values of {things} {cond} and {things} {cond2}.",
     "Merge the {col} values of {things} {cond} with those of {things} {cond2}, dropping duplicates.",
     "What {col} values exist among {things} {cond} or {things} {cond2}, ignoring repeats?"),
    weight=0.6,
)  # fmt: skip
def union(speaker: Speaker) -> Draft | None:
    return _combined(speaker, "UNION")


def _combined(speaker: Speaker, word: str) -> Draft | None:
    table = speaker.pick(speaker.domain.tables)
    first = speaker.filter(table)
    second = speaker.filter(table)
    if first is None or second is None or first.sql == second.sql:
        return None
    columns = [
        c for c in table.with_role("category", "label") if c.name not in (first.column, second.column)
    ]
    if not columns:
        return None
    column = speaker.pick(columns)
    sides = [f"SELECT {column.name} FROM {table.name} WHERE {plain(f)}" for f in (first, second)]
    return Draft(
        f" {word} ".join(sides),
        _nouns(speaker, table)
        | {"col": speaker.say(column.says), "cond": first.words, "cond2": second.words},
    )


# --- two tables and more ------------------------------------------------------------------------


@pattern(
    ("What is the {col} of the {children} {whoc} {belong} {parents} {cond}?", "List the {col} of {children} {whoc} {belong} {parents} {cond}.",
     "Show the {col} of all {children} {whoc} {belong} {parents} {cond}.", "Find the {col} of every {child} {whoc} {belongs} {parents} {cond}."),
    ("Return the {col} of the {children} {whoc} {belong} {parents} {cond}.", "For {children} {whoc} {belong} {parents} {cond}, what is the {col}?",
     "I am interested in the {col} of {children} {whoc} {belong} {parents} {cond}."),
    weight=1.5,
)  # fmt: skip
def children_of(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    condition, asked = speaker.filter(parent), speaker.asked(child)
    if condition is None or asked is None:
        return None
    return Draft(
        f"SELECT T1.{asked.name} FROM {_join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots | {"col": speaker.say(asked.says), "cond": condition.words},
    )


@pattern(
    ("How many {children} {belong} {parents} {cond}?", "Count the {children} {whoc} {belong} {parents} {cond}.",
     "What is the number of {children} {whoc} {belong} {parents} {cond}?", "Find how many {children} {belong} {parents} {cond}."),
    ("Tell me the number of {children} {whoc} {belong} {parents} {cond}.", "What is the total count of {children} {whoc} {belong} {parents} {cond}?",
     "I need the count of {children} {whoc} {belong} {parents} {cond}."),
    weight=1.1,
)  # fmt: skip
def count_children_of(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    condition = drawn and speaker.filter(drawn[2])
    if drawn is None or condition is None:
        return None
    child, column, parent, slots = drawn
    return Draft(
        f"SELECT count(*) FROM {_join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots | {"cond": condition.words},
    )


@pattern(
    ("Show the {col} of each {parent} and how many {children} {belong} {pronoun2}.",
     "For each {parent}, list the {col} and how many {children} {belong} {pronoun2}.",
     "How many {children} {belong} each {parent}? Show the {col} and the count.",
     "List the {col} of each {parent} with the number of {children} {whoc} {belong} {pronoun2}."),
    ("Return the {col} of every {parent} together with the count of {children} {whoc} {belong} {pronoun2}.",
     "Count the {children} per {parent} and give the {parent}'s {col} with each count.",
     "What are the {col} of each {parent} and the number of {children} {whoc} {belong} {pronoun2}?"),
    weight=0.8,
)  # fmt: skip
def count_per_parent(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    label = parent.label
    assert label is not None
    return Draft(
        f"SELECT T1.{label.name}, count(*) FROM {_join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]}",
        slots | {"col": speaker.say(label.says)},
    )


@pattern(
    ("What is the {col} of the {parents} {whop} {own} at least {number} {children}?", "List the {col} of {parents} {whop} {own} {number} {children} or more.",
     "Find the {col} of every {parent} {whop} {owns} at least {number} {children}.", "Show the {col} of all {parents} {whop} {own} no fewer than {number} {children}."),
    ("Return the {col} of those {parents} {whop} {own} {number} or more {children}.", "Which {parents} {own} at least {number} {children}? Give the {col}.",
     "For {parents} {whop} {own} a minimum of {number} {children}, what is the {col}?"),
    weight=0.9,
)  # fmt: skip
def parents_with_many(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    label = parent.label
    assert label is not None
    number = speaker.random.randint(2, 5)
    return Draft(
        f"SELECT T1.{label.name} FROM {_join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]} HAVING count(*) >= {number}",
        slots | {"col": speaker.say(label.says), "number": NUMBERS[number]},
    )


@pattern(
    ("What is the {col} of the {parent} {whop} {owns} the most {children}?", "Which {parent} {owns} the most {children}? Show the {col}.",
     "Find the {col} of the {parent} {whop} {owns} the largest number of {children}.", "Show the {col} of the {parent} {whop} {owns} the most {children}."),
    ("Tell me the {col} of the {parent} {whop} {owns} more {children} than any other.", "Return the {col} of the {parent} {whop} {owns} the greatest number of {children}.",
     "By number of {children}, which {parent} comes first? Give the {col}."),
    weight=1.4,
)  # fmt: skip
def parent_with_most(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    asked = speaker.asked(parent)
    if asked is None:
        return None
    tail = (
        f"FROM {_join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]} ORDER BY count(*) DESC"
    )
    return Draft(
        f"SELECT T1.{asked.name} {tail} LIMIT 1",
        slots | {"col": speaker.say(asked.says)},
        tie=f"SELECT count(*) {tail} LIMIT 2",
    )


@pattern(
    ("What is the {col} of the {parents} {whop} {own} no {children}?", "List the {col} of {parents} {whop} {own} no {children}.",
     "Find the {col} of every {parent} {whop} {owns} no {children}.", "Show the {col} of all {parents} {whop} {own} no {children} at all."),
    ("Return the {col} of the {parents} without any {children} {whoc} {belong} {pronoun2}.", "For which {parents} are there no {children} {whoc} {belong} {pronoun2}? Give the {col}.",
     "Which {parents} {own} not a single one of the {children}? Return the {col}."),
    weight=1.1,
)  # fmt: skip
def parents_without(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    asked = drawn and speaker.asked(drawn[2])
    if drawn is None or asked is None:
        return None
    child, column, parent, slots = drawn
    missing_ = f" WHERE {column.name} IS NOT NULL" if column.nulls else ""
    return Draft(
        f"SELECT {asked.name} FROM {parent.name} WHERE {column.parent[1]} NOT IN "
        f"(SELECT {column.name} FROM {child.name}{missing_})",
        slots | {"col": speaker.say(asked.says)},
    )


@pattern(
    ("What is the {col} of the {parents} {whop} {own} {children} {cond}?", "List the {col} of {parents} {whop} {own} any {children} {cond}.",
     "Find the {col} of every {parent} {whop} {owns} {children} {cond}.", "Show the {col} of all {parents} {whop} {own} some {children} {cond}."),
    ("Return the {col} of the {parents} {whop} {own} at least one of the {children} {cond}.", "Which {parents} {own} {children} {cond}? Give the {col} of each once.",
     "I want the {col} of those {parents} {whop} {own} {children} {cond}."),
    weight=1.0,
)  # fmt: skip
def parents_in(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    asked = drawn and speaker.asked(drawn[2])
    condition = drawn and speaker.filter(drawn[0])
    if drawn is None or asked is None or condition is None:
        return None
    child, column, parent, slots = drawn
    return Draft(
        f"SELECT {asked.name} FROM {parent.name} WHERE {column.parent[1]} IN "
        f"(SELECT {column.name} FROM {child.name} WHERE {plain(condition)})",
        slots | {"col": speaker.say(asked.says), "cond": condition.words},
    )


@pattern(
    ("What is the {function} {measure} of {children} {whoc} {belong} {parents} {cond}?", "Find the {function} {measure} of the {children} {whoc} {belong} {parents} {cond}.",
     "Show the {function} {measure} of all {children} {whoc} {belong} {parents} {cond}.", "Give the {function} {measure} for {children} {whoc} {belong} {parents} {cond}."),
    ("Tell me the {function} {measure} of {children} {whoc} {belong} {parents} {cond}.", "Across {children} {whoc} {belong} {parents} {cond}, what is the {function} {measure}?",
     "Compute the {function} {measure} of the {children} {whoc} {belong} {parents} {cond}."),
    weight=0.8,
)  # fmt: skip
def aggregate_of_children(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    measure = drawn and speaker.measure(drawn[0])
    condition = drawn and speaker.filter(drawn[2])
    if drawn is None or measure is None or condition is None:
        return None
    child, column, parent, slots = drawn
    function = speaker.pick(["avg", "max", "min", *(["sum"] if measure.unit else [])])
    return Draft(
        f"SELECT {function}(T1.{measure.name}) FROM {_join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots
        | {
            "function": speaker.pick(_FUNCTIONS[function]),
            "measure": speaker.say(measure.says),
            "cond": condition.words,
        },
    )


@pattern(
    ("What is the {col} of the {parent} {whop} {owns} the {most} {child}?", "Find the {col} of the {parent} {whop} {owns} the {most} {child}.",
     "Show the {col} of the {parent} {whop} {owns} the {most} {child}.", "Which {parent} {owns} the {most} {child}? Give the {col}."),
    ("Tell me the {col} of the {parent} {whop} {owns} the {most} of all {children}.", "Return the {col} of whichever {parent} {owns} the {most} {child}.",
     "The {most} {child}: what is the {col} of the {parent} {whop} {owns} it?"),
    weight=1.0,
)  # fmt: skip
def parent_of_superlative(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    measure = drawn and speaker.measure(drawn[0], whole=True)
    asked = drawn and speaker.asked(drawn[2])
    if drawn is None or measure is None or asked is None or drawn[1].nulls:
        return None
    child, column, parent, slots = drawn
    down = speaker.random.random() < 0.6
    words = measure.most if down else measure.least
    if not words:
        return None
    tail = (
        f"FROM {_join(child, column, parent, first='child')} "
        f"ORDER BY T1.{measure.name} {'DESC' if down else 'ASC'}"
    )
    return Draft(
        f"SELECT T2.{asked.name} {tail} LIMIT 1",
        slots | {"col": speaker.say(asked.says), "most": speaker.pick(words)},
        tie=f"SELECT T1.{measure.name} {tail} LIMIT 2",
    )


@pattern(
    ("Show the {col} of the {children} {condc} and the {col2} of the {parents} they {belong}, for {parents} {cond}.",
     "For {children} {condc} {whoc} {belong} {parents} {cond}, list the {col} of the {child} and the {col2} of the {parent}.",
     "Find the {child}'s {col} and the {parent}'s {col2} for {children} {condc} {whoc} {belong} {parents} {cond}.",
     "List the {col} of each {child} {condc} with the {col2} of its {parent}, keeping only {parents} {cond}."),
    ("Return the {col} of {children} {condc} next to the {col2} of their {parent}, where the {parents} are those {cond}.",
     "Take {children} {condc} {whoc} {belong} {parents} {cond}: what are the {child}'s {col} and the {parent}'s {col2}?",
     "Give me the {child}'s {col} and the {parent}'s {col2} for each {child} {condc}, restricted to {parents} {cond}."),
    weight=1.0,
)  # fmt: skip
def pairs(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    first, second = speaker.filter(child), speaker.filter(parent)
    if first is None or second is None:
        return None
    asked, asked2 = speaker.asked(child, but=[first.column]), speaker.asked(parent)
    if asked is None or asked2 is None:
        return None
    return Draft(
        f"SELECT T1.{asked.name}, T2.{asked2.name} FROM "
        f"{_join(child, column, parent, first='child')} "
        f"WHERE {aliased(first, 'T1')} AND {aliased(second, 'T2')}",
        slots
        | {
            "col": speaker.say(asked.says),
            "col2": speaker.say(asked2.says),
            "condc": first.words,
            "cond": second.words,
        },
    )


@pattern(
    ("What is the {function} {measure} of {children} for each {col} of the {parents} they {belong}?",
     "For each {col} of {parents}, find the {function} {measure} of the {children} {whoc} {belong} them.",
     "Show each {col} of {parents} and the {function} {measure} of their {children}.",
     "List the {function} {measure} of {children} by the {col} of the {parent}."),
    ("Group {children} by the {col} of their {parent} and return the {function} {measure} of each group.",
     "Per {col} of the {parents}, what is the {function} {measure} of the {children} {whoc} {belong} them?",
     "Give every {col} of {parents} with the {function} {measure} of the {children} {whoc} {belong} them."),
    weight=0.7,
)  # fmt: skip
def group_by_parent(speaker: Speaker) -> Draft | None:
    drawn = _drawn_link(speaker)
    measure = drawn and speaker.measure(drawn[0])
    categories = drawn[2].with_role("category") if drawn else []
    if drawn is None or measure is None or not categories:
        return None
    child, column, parent, slots = drawn
    category = speaker.pick(categories)
    function = speaker.pick(["avg", "max", "min"])
    return Draft(
        f"SELECT T2.{category.name}, {function}(T1.{measure.name}) FROM "
        f"{_join(child, column, parent, first='child')} GROUP BY T2.{category.name}",
        slots
        | {
            "col": speaker.say(category.says),
            "function": speaker.pick(_FUNCTIONS[function]),
            "measure": speaker.say(measure.says),
        },
    )


@pattern(
    ("What is the {col} of the {parents} that are linked through {bridges} to {others} {cond}?",
     "List the distinct {col} of {parents} connected by {bridges} with {others} {cond}.",
     "Find the different {col} values of {parents} whose {bridges} involve {others} {cond}.",
     "Show, without repeats, the {col} of {parents} {whop} have {bridges} with {others} {cond}."),
    ("Going through their {bridges}, which {parents} are related to {others} {cond}? Return each {col} once.",
     "Return the distinct {col} of all {parents} with {bridges} that concern {others} {cond}.",
     "By way of {bridges}, give each {col} of {parents} tied to {others} {cond}."),
    weight=1.4,
)  # fmt: skip
def through_bridge(speaker: Speaker) -> Draft | None:
    children = [
        (table, [c for c in table.columns if c.references]) for table in speaker.domain.tables
    ]
    bridges = [
        (table, refs) for table, refs in children if len({c.parent[0] for c in refs}) >= 2
    ]
    if not bridges:
        return None
    bridge, references = speaker.pick(bridges)
    first, second = speaker.random.sample(references, 2)
    if first.parent[0] == second.parent[0]:
        return None
    parent, other = speaker.domain.table(first.parent[0]), speaker.domain.table(second.parent[0])
    asked, condition = speaker.asked(parent), speaker.filter(other)
    if asked is None or condition is None:
        return None
    return Draft(
        f"SELECT DISTINCT T1.{asked.name} FROM {parent.name} AS T1 "
        f"JOIN {bridge.name} AS T2 ON T1.{first.parent[1]} = T2.{first.name} "
        f"JOIN {other.name} AS T3 ON T2.{second.name} = T3.{second.parent[1]} "
        f"WHERE {aliased(condition, 'T3')}",
        {
            "col": speaker.say(asked.says),
            "parents": speaker.say(parent.many),
            "whop": who(parent),
            "bridges": speaker.say(bridge.many),
            "others": speaker.say(other.many),
            "cond": condition.words,
        },
    )


def _drawn_link(
    speaker: Speaker, *, named: bool = False
) -> tuple[TableSpec, ColumnSpec, TableSpec, dict[str, str]] | None:
    """A foreign key with the words for both of its ends; ``named``: the parent has a label."""
    link = _link(speaker)
    if link is None or (named and (link[2].label is None or len(link[2].keys) > 1)):
        return None
    child, column, parent = link
    one_child, many_children = speaker.nouns(child)
    one_parent, many_parents = speaker.nouns(parent)
    slots = {
        "child": one_child,
        "children": many_children,
        "parent": one_parent,
        "parents": many_parents,
        "whoc": who(child),
        "whop": who(parent),
        "own": column.parent_verb[0],
        "owns": column.parent_verb[1],
        "belong": column.child_verb[0],
        "belongs": column.child_verb[1],
        "pronoun2": "them" if parent.who else "it",
    }
    return child, column, parent, slots

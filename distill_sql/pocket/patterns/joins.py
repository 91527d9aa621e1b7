"""Questions on two or three tables."""

from __future__ import annotations

from distill_sql.pocket.domains import ColumnSpec, TableSpec
from distill_sql.pocket.patterns.registry import FUNCTIONS, Draft, pattern
from distill_sql.pocket.phrases import NUMBERS, Speaker, aliased, plain, who


def _link(speaker: Speaker) -> tuple[TableSpec, ColumnSpec, TableSpec] | None:
    links = [link for link in speaker.domain.links if link[1].parent_verb and link[1].child_verb]
    return speaker.pick(links) if links else None


def join(child: TableSpec, column: ColumnSpec, parent: TableSpec, *, first: str) -> str:
    """The FROM clause of a join; ``first`` is the table with the alias T1."""
    key = column.parent[1]
    if first == "child":
        return f"{child.name} AS T1 JOIN {parent.name} AS T2 ON T1.{column.name} = T2.{key}"
    return f"{parent.name} AS T1 JOIN {child.name} AS T2 ON T1.{key} = T2.{column.name}"


@pattern(weight=1.5)
def children_of(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    condition, asked = speaker.filter(parent), speaker.asked(child)
    if condition is None or asked is None:
        return None
    return Draft(
        f"SELECT T1.{asked.name} FROM {join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots | {"col": speaker.say(asked.says), "cond": condition.words},
    )


@pattern(weight=1.1)
def count_children_of(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
    condition = drawn and speaker.filter(drawn[2])
    if drawn is None or condition is None:
        return None
    child, column, parent, slots = drawn
    return Draft(
        f"SELECT count(*) FROM {join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots | {"cond": condition.words},
    )


@pattern(weight=0.8)
def count_per_parent(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    label = parent.label
    assert label is not None
    return Draft(
        f"SELECT T1.{label.name}, count(*) FROM {join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]}",
        slots | {"col": speaker.say(label.says)},
    )


@pattern(weight=0.9)
def parents_with_many(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    label = parent.label
    assert label is not None
    number = speaker.random.randint(2, 5)
    return Draft(
        f"SELECT T1.{label.name} FROM {join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]} HAVING count(*) >= {number}",
        slots | {"col": speaker.say(label.says), "number": NUMBERS[number]},
    )


@pattern(weight=1.4)
def parent_with_most(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker, named=True)
    if drawn is None:
        return None
    child, column, parent, slots = drawn
    asked = speaker.asked(parent)
    if asked is None:
        return None
    tail = (
        f"FROM {join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]} ORDER BY count(*) DESC"
    )
    return Draft(
        f"SELECT T1.{asked.name} {tail} LIMIT 1",
        slots | {"col": speaker.say(asked.says)},
        tie=f"SELECT count(*) {tail} LIMIT 2",
    )


@pattern(weight=1.1)
def parents_without(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
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


@pattern(weight=1.0)
def parents_in(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
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


@pattern(weight=0.8)
def aggregate_of_children(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
    measure = drawn and speaker.measure(drawn[0])
    condition = drawn and speaker.filter(drawn[2])
    if drawn is None or measure is None or condition is None:
        return None
    child, column, parent, slots = drawn
    function = speaker.pick(["avg", "max", "min", *(["sum"] if measure.unit else [])])
    return Draft(
        f"SELECT {function}(T1.{measure.name}) FROM {join(child, column, parent, first='child')} "
        f"WHERE {aliased(condition, 'T2')}",
        slots
        | {
            "function": speaker.pick(FUNCTIONS[function]),
            "measure": speaker.say(measure.says),
            "cond": condition.words,
        },
    )


@pattern(weight=1.0)
def parent_of_superlative(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
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
        f"FROM {join(child, column, parent, first='child')} "
        f"ORDER BY T1.{measure.name} {'DESC' if down else 'ASC'}"
    )
    return Draft(
        f"SELECT T2.{asked.name} {tail} LIMIT 1",
        slots | {"col": speaker.say(asked.says), "most": speaker.pick(words)},
        tie=f"SELECT T1.{measure.name} {tail} LIMIT 2",
    )


@pattern(weight=1.0)
def pairs(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
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
        f"{join(child, column, parent, first='child')} "
        f"WHERE {aliased(first, 'T1')} AND {aliased(second, 'T2')}",
        slots
        | {
            "col": speaker.say(asked.says),
            "col2": speaker.say(asked2.says),
            "condc": first.words,
            "cond": second.words,
        },
    )


@pattern(weight=0.7)
def group_by_parent(speaker: Speaker) -> Draft | None:
    drawn = drawn_link(speaker)
    measure = drawn and speaker.measure(drawn[0])
    categories = drawn[2].with_role("category") if drawn else []
    if drawn is None or measure is None or not categories:
        return None
    child, column, parent, slots = drawn
    category = speaker.pick(categories)
    function = speaker.pick(["avg", "max", "min"])
    return Draft(
        f"SELECT T2.{category.name}, {function}(T1.{measure.name}) FROM "
        f"{join(child, column, parent, first='child')} GROUP BY T2.{category.name}",
        slots
        | {
            "col": speaker.say(category.says),
            "function": speaker.pick(FUNCTIONS[function]),
            "measure": speaker.say(measure.says),
        },
    )


@pattern(weight=1.4)
def through_bridge(speaker: Speaker) -> Draft | None:
    children = [
        (table, [c for c in table.columns if c.references]) for table in speaker.domain.tables
    ]
    bridges = [(table, refs) for table, refs in children if len({c.parent[0] for c in refs}) >= 2]
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


def drawn_link(
    speaker: Speaker, *, named: bool = False
) -> tuple[TableSpec, ColumnSpec, TableSpec, dict[str, str]] | None:
    """A foreign key and the words for both tables; with ``named``, the parent has a label."""
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

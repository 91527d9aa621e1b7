"""Question patterns of pretraining that the benchmark's generator lacks."""

from __future__ import annotations

from distill_sql.pocket.patterns.joins import drawn_link, join
from distill_sql.pocket.patterns.registry import Draft, Pattern, nouns
from distill_sql.pocket.phrases import Speaker


def ordered_either_way(speaker: Speaker) -> Draft | None:
    """Rows sorted by a measure in either direction, which superlatives name."""
    table = speaker.pick(speaker.domain.tables)
    measure = speaker.measure(table)
    asked = measure and speaker.asked(table, but=[measure.name])
    if measure is None or asked is None or not (measure.most and measure.least):
        return None
    down = speaker.random.random() < 0.5
    first, last = (measure.most, measure.least) if down else (measure.least, measure.most)
    return Draft(
        f"SELECT {asked.name}, {measure.name} FROM {table.name} "
        f"ORDER BY {measure.name} {'DESC' if down else 'ASC'}",
        nouns(speaker, table)
        | {
            "col": speaker.say(asked.says),
            "measure": speaker.say(measure.says),
            "first": speaker.pick(first),
            "last": speaker.pick(last),
        },
    )


def parent_with_highest_total(speaker: Speaker) -> Draft | None:
    """The row with the highest total of a measure over its linked rows."""
    drawn = drawn_link(speaker, named=True)
    measure = drawn and speaker.measure(drawn[0])
    asked = drawn and speaker.asked(drawn[2])
    if drawn is None or measure is None or asked is None:
        return None
    child, column, parent, slots = drawn
    return Draft(
        f"SELECT T1.{asked.name} FROM {join(child, column, parent, first='parent')} "
        f"GROUP BY T1.{column.parent[1]} ORDER BY sum(T2.{measure.name}) DESC LIMIT 1",
        slots | {"col": speaker.say(asked.says), "measure": speaker.say(measure.says)},
    )


MORE_PATTERNS = [
    Pattern("ordered either way", ordered_either_way, (), (), 0.6),
    Pattern("parent with highest total", parent_with_highest_total, (), (), 0.4),
]

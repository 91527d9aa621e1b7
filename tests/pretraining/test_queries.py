"""Rewriting the queries of lessons."""

from __future__ import annotations

from random import Random

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.pretraining.queries import answer, asks_for_label, joined_as_shown, showing_more
from distill_sql.pretraining.worlds import make_world
from distill_sql.prompting.prompts import extract_sql


def test_a_bridge_comes_first_and_other_joins_are_unchanged() -> None:
    def table(name: str, **refers: str) -> TableSpec:
        columns = [ColumnSpec(f"{name}_id", "integer", key=True)]
        columns += [ColumnSpec(own, "integer", references=other) for own, other in refers.items()]
        return TableSpec(name, (name,), (f"{name}s",), 3, tuple(columns))

    world = Domain(
        "world", "train", "", (table("a"), table("b"), table("ab", x="a.a_id", y="b.b_id"))
    )
    assert joined_as_shown(
        "SELECT a.a_id FROM a JOIN ab ON a.a_id = ab.x JOIN b ON ab.y = b.b_id LIMIT 1", world
    ) == ("SELECT a.a_id FROM ab JOIN a ON ab.x = a.a_id JOIN b ON ab.y = b.b_id LIMIT 1")
    for other in (
        "SELECT count(*) FROM a",
        "SELECT a.a_id FROM a JOIN b ON a.a_id = b.b_id",
        "SELECT T1.x FROM ab AS T1 JOIN ab AS T2 ON T1.x = T2.y",
    ):
        assert joined_as_shown(other, world) == other


def test_extra_columns_are_the_key_and_those_of_order_by_and_having(lexicon: Lexicon) -> None:
    world = make_world(Random(3), lexicon, 0)
    name, key = world.tables[0].name, world.tables[0].keys[0]
    for sql, shown in {
        f"SELECT a FROM {name} WHERE b = 1": f"SELECT {key}, a FROM {name} WHERE b = 1",
        f"SELECT a FROM {name} ORDER BY b DESC LIMIT 1": (
            f"SELECT {key}, a, b FROM {name} ORDER BY b DESC LIMIT 1"
        ),
        f"SELECT a FROM {name} GROUP BY a HAVING count(*) > 2": (
            f"SELECT a, count(*) FROM {name} GROUP BY a HAVING count(*) > 2"
        ),
        f"SELECT {name}.a FROM {name} JOIN x ON x.b = {name}.{key} GROUP BY {name}.{key} "
        "ORDER BY count(*) DESC LIMIT 1": (
            f"SELECT {name}.{key}, {name}.a, count(*) FROM {name} JOIN x ON x.b = {name}.{key} "
            f"GROUP BY {name}.{key} ORDER BY count(*) DESC LIMIT 1"
        ),
    }.items():
        assert showing_more(sql, world) == shown
    for sql in (
        f"SELECT {key} FROM {name}",
        f"SELECT a, count(*) FROM {name} GROUP BY a",
        f"SELECT count(*) FROM {name}",
        f"SELECT DISTINCT a FROM {name}",
        f"SELECT a FROM {name} UNION SELECT a FROM x",
        "SELECT a FROM elsewhere",
    ):
        assert showing_more(sql, world) == sql


def test_a_query_for_the_label_is_recognized(lexicon: Lexicon) -> None:
    world = make_world(Random(3), lexicon, 0)
    table = world.tables[0]
    label = next(c.name for c in table.columns if c.role == "label")
    assert asks_for_label(world, f"SELECT {label} FROM {table.name} WHERE x = 1")
    assert asks_for_label(world, f"SELECT DISTINCT {table.name}.{label} FROM other JOIN x")
    assert not asks_for_label(world, f"SELECT {table.keys[0]} FROM {table.name}")
    assert not asks_for_label(world, f"SELECT count(*) FROM {table.name}")


def test_reasoning_comes_before_the_query() -> None:
    sql = (
        "SELECT T1.name FROM farm AS T1 JOIN bean AS T2 ON T1.farm_id = T2.farm_id "
        "WHERE T2.decaf = 1 ORDER BY T2.price DESC LIMIT 1"
    )
    text = answer(sql, "reasoning")
    assert text.startswith(
        "Tables: farm, bean. Conditions: T2.decaf = 1. Order: T2.price DESC.\n```sql\n"
    )
    assert extract_sql(text) == sql == extract_sql(answer(sql, "direct"))

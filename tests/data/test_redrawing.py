from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distill_sql.data.redrawing import parents_first
from distill_sql.data.schema import ForeignKey, Schema, Table


def test_parents_come_first_and_a_chain_may_be_long() -> None:
    tables = tuple(Table(f"t{number}", ()) for number in range(5000))
    chain = tuple(ForeignKey(f"T{n}", ("a",), f"t{n + 1}", ("a",)) for n in range(4999))
    ordered = parents_first(Schema("d", tables, chain))
    assert [table.name for table in ordered] == [f"t{n}" for n in reversed(range(5000))]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_every_table_is_there_once_whatever_the_keys(pairs: list[tuple[int, int]]) -> None:
    tables = tuple(Table(f"t{number}", ()) for number in range(7))
    keys = tuple(ForeignKey(f"t{a}", ("x",), f"t{b}", ("x",)) for a, b in pairs)
    ordered = [table.name for table in parents_first(Schema("d", tables, keys))]
    assert sorted(ordered) == [table.name for table in tables]
    above = {(a, b) for a, b in pairs if a != b}
    for _ in range(7):
        above |= {(a, d) for a, b in above for c, d in above if b == c}
    if not any((b, a) in above for a, b in above):  # no circle
        for a, b in above:
            assert ordered.index(f"t{b}") < ordered.index(f"t{a}")

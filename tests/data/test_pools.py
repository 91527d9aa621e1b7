from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.data.pools import Pool, Value
from distill_sql.data.schema import COARSE_TYPES
from tests.hostile import values


def drawn(column: list[Value], kind: str, near: list[int | float | str], size: int) -> list[Value]:
    pool = Pool(column, kind, near, random.Random(1))
    rng = random.Random(2)
    return [pool.value(rng.choice(column) if column else None, 0.8) for _ in range(size)]


@given(
    st.lists(values().filter(lambda value: value == value), max_size=40),  # SQLite has no NaN
    st.sampled_from(COARSE_TYPES),
    st.lists(st.integers() | st.floats() | st.text(max_size=5), max_size=5),
)
def test_any_column_gives_values_that_sqlite_stores(
    column: list[Value], kind: str, near: list[int | float | str]
) -> None:
    for value in drawn(column, kind, near, 60):
        assert isinstance(value, int | float | str | bytes | None)
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63
        if isinstance(value, float):
            assert value == value  # NaN would be NULL
        assert value is not None or None in column


@pytest.mark.parametrize(
    "column",
    [
        [bytes([number]) for number in range(9)],
        [b"", b"x" * 1000],
        [float("inf"), float("-inf")],
        [1e308, -1e308, 5e-324, 0.0],
        [2**63 - 1 - number for number in range(50)],
        [-(2**63) + number for number in range(50)],
        [0, 1],
        [1, "1", 1.5, b"1", ""],
        ["y" * 500, "z" * 500],
    ],
    ids=lambda column: str(column)[:30],
)
@pytest.mark.parametrize("kind", COARSE_TYPES)
def test_a_column_without_repeats_has_none_where_others_can_be_found(
    column: list[Value], kind: str
) -> None:
    counts = Counter(drawn(column, kind, [], 60))
    assert max(counts.values()) == 1


def test_a_column_that_cannot_be_varied_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "_moved", lambda self, value: value)
    assert set(drawn([1, 2, 3], "number", [], 50)) <= {1, 2, 3}

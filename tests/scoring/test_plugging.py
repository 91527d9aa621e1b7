from __future__ import annotations

import pytest

from distill_sql.scoring.plugging import fillings


@pytest.mark.parametrize(
    ("gold", "pred", "expected"),
    [
        # every slot takes every gold value
        (
            "SELECT a FROM t WHERE b = 'x' AND c = 3",
            "SELECT a FROM t WHERE b = 'y' AND c = 4",
            {
                f"select a from t where b = {b} and c = {c}"
                for b in ("'x'", "3")
                for c in ("'x'", "3")
            },
        ),
        # no slot: the prediction, spaced out; no gold value for a slot: nothing
        ("SELECT a FROM t WHERE b = 3", "SELECT count(*) FROM t", {"select count ( * ) from t"}),
        ("SELECT a FROM t", "SELECT a FROM t WHERE b = 3", set()),
        # an alias is no number, and decimals are values
        (
            "SELECT T1.a FROM t AS T1 WHERE T1.b > 2.5",
            "SELECT T2.a FROM t AS T2 WHERE T2.b > 7",
            {"select t2 . a from t as t2 where t2 . b > 2.5"},
        ),
        # names are lowered, values keep their case; LIMIT is a slot like any other
        ('SELECT A FROM T WHERE B = "Mc Donald"', "SELECT A FROM T LIMIT 1",
         {'select a from t limit "Mc Donald"'}),
    ],
)  # fmt: skip
def test_fillings(gold: str, pred: str, expected: set[str]) -> None:
    assert set(fillings(gold, pred)) == expected


def test_there_are_as_many_as_values_to_the_power_of_slots() -> None:
    gold = "SELECT a FROM t WHERE b IN ( 1 , 2 , 3 )"
    pred = "SELECT a FROM t WHERE b = 7 OR b = 8"
    assert len(list(fillings(gold, pred))) == 9
    many = " OR ".join(f"b = {number}" for number in range(30))
    endless = fillings(gold, f"SELECT a FROM t WHERE {many}")
    assert next(endless).startswith("select a from t")  # one at a time: 3 ** 30 are never made

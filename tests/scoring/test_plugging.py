from __future__ import annotations

import re
import time

import pytest
import sqlparse
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.scoring.clock import GRACE, Clock, OutOfTime
from distill_sql.scoring.plugging import _DECIMAL, _upper_keywords, fillings


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
        # no slot: the prediction with spaces; a slot but no gold value: nothing
        ("SELECT a FROM t WHERE b = 3", "SELECT count(*) FROM t", {"select count ( * ) from t"}),
        ("SELECT a FROM t", "SELECT a FROM t WHERE b = 3", set()),
        # the number in an alias is not a value; decimals are
        (
            "SELECT T1.a FROM t AS T1 WHERE T1.b > 2.5",
            "SELECT T2.a FROM t AS T2 WHERE T2.b > 7",
            {"select t2 . a from t as t2 where t2 . b > 2.5"},
        ),
        # names are lower-cased, values keep their case; LIMIT's number is a slot, too
        ('SELECT A FROM T WHERE B = "Mc Donald"', "SELECT A FROM T LIMIT 1",
         {'select a from t limit "Mc Donald"'}),
    ],
)  # fmt: skip
def test_fillings(gold: str, pred: str, expected: set[str]) -> None:
    assert set(fillings(gold, pred)) == expected


def test_the_number_of_fillings_is_values_to_the_power_of_slots() -> None:
    gold = "SELECT a FROM t WHERE b IN ( 1 , 2 , 3 )"
    pred = "SELECT a FROM t WHERE b = 7 OR b = 8"
    assert len(list(fillings(gold, pred))) == 9
    many = " OR ".join(f"b = {number}" for number in range(30))
    endless = fillings(gold, f"SELECT a FROM t WHERE {many}")
    assert next(endless).startswith("select a from t")  # lazily: 3 ** 30 are never made


@given(st.text(alphabet="12.+-a ", max_size=30))
def test_decimals_are_those_that_the_evaluator_finds(text: str) -> None:
    assert _DECIMAL.findall(text) == re.findall(r"[-+]?\d*\.\d+", text)


@given(st.text(alphabet="selct frm;'\"-/*\n1a", max_size=40))
def test_keywords_are_upper_cased_as_by_sqlparse(text: str) -> None:
    expected = sqlparse.format(text, keyword_case="upper")
    assert _upper_keywords(text, Clock(10)) == expected


def test_a_long_number_takes_linear_time() -> None:
    start = time.process_time()
    next(fillings("SELECT a FROM t WHERE b = 1", "SELECT " + "1" * 90_000))
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["SELECT " + "(" * 49_000, "SELECT " + "'a' " * 20_000])
def test_filling_ends_with_the_clock(text: str) -> None:
    with pytest.raises(OutOfTime):
        next(fillings("SELECT a FROM t WHERE b = 1", text, Clock(-GRACE)))

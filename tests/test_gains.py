from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.datasets import Dataset, load_dataset
from distill_sql.gains import Gain, gain
from distill_sql.scoring import Prediction, ScoreReport, score

RIGHT = ("SELECT count(*) FROM customer", "SELECT T1.name FROM customer AS T1 WHERE T1.id = 1")
#: Right, but for a column that nobody asked for.
MORE = (
    "SELECT count(*), 1 FROM customer",
    "SELECT T1.id, T1.name FROM customer AS T1 WHERE id = 1",
)
WRONG = ("SELECT 99", "SELECT 'Nobody'")


@pytest.fixture(scope="module")
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def answered(shop: Dataset, *queries: str) -> ScoreReport:
    return score(
        [Prediction(e.question_id, e.db_id, q) for e, q in zip(shop, queries, strict=True)], shop
    )


def test_a_gain_that_is_columns_alone_is_form(shop: Dataset) -> None:
    found = gain([answered(shop, *MORE)], [answered(shop, *RIGHT)], shop)
    assert (found.strict.difference, found.kinder.difference, found.form) == (1, 0, 1)
    words = found.in_words("pocket-l")
    assert "changes the accuracy of pocket-l by **+100.0 points** (95 % interval over que" in words
    assert "by **+0.0 points**" in words
    assert "So **all** of the gain is the form of the answer" in words


def test_a_gain_on_questions_that_were_wrong_is_no_form(shop: Dataset) -> None:
    found = gain([answered(shop, *WRONG)], [answered(shop, *RIGHT)], shop)
    assert found.form == 0
    assert "So 0.0 of the 100.0 points, **0%** of the gain" in found.in_words("x")


def test_half_of_a_gain(shop: Dataset) -> None:
    found = gain([answered(shop, MORE[0], WRONG[1])], [answered(shop, *RIGHT)], shop)
    assert (found.strict.difference, found.kinder.difference) == (1, 0.5)
    assert "So 50.0 of the 100.0 points, **50%** of the gain" in found.in_words("x")
    assert found.in_words("x").endswith("That rest may be chance: its interval holds zero.")


def test_seeds_are_averaged(shop: Dataset) -> None:
    after = [answered(shop, *RIGHT), answered(shop, RIGHT[0], WRONG[1])]
    assert gain([answered(shop, *WRONG)], after, shop).strict.runs_b == (1, 0.5)


def test_without_a_gain_nothing_is_said_of_its_form(shop: Dataset) -> None:
    found: Gain = gain([answered(shop, *RIGHT)], [answered(shop, *MORE)], shop)
    assert found.strict.difference == -1
    assert found.in_words("x").endswith("There is no gain here whose form could be asked about.")

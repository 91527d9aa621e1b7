from __future__ import annotations

from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.scoring import Prediction, ScoreReport, score
from distill_sql.scoring.comparison import MeanComparison
from distill_sql.scoring.gains import Gain, conclusions, gain, widest

RIGHT = ("SELECT count(*) FROM customer", "SELECT T1.name FROM customer AS T1 WHERE T1.id = 1")
#: Right apart from one column that was not asked for.
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


def test_a_gain_from_columns_alone_is_form(shop: Dataset) -> None:
    found = gain([answered(shop, *MORE)], [answered(shop, *RIGHT)], shop)
    assert (found.strict.difference, found.kinder.difference, found.form) == (1, 0, 1)
    words = found.in_words("pocket-l")
    assert "forgiven, distillation changes accuracy by **+0.0 points** (95 % interval over" in words
    assert "itself changes by **+100.0 points** (95 % interval over questions" in words
    assert "on 2 questions, with 1 seed. The intervals do not include the variance" in words
    assert "So **all** of the gain in execution accuracy comes from the form" in words


def test_a_gain_on_wrong_answers_is_not_form(shop: Dataset) -> None:
    found = gain([answered(shop, *WRONG)], [answered(shop, *RIGHT)], shop)
    assert found.form == 0
    assert "So 0.0 of the 100.0 points, **0%** of the gain" in found.in_words("x")


def test_half_of_a_gain_is_form(shop: Dataset) -> None:
    found = gain([answered(shop, MORE[0], WRONG[1])], [answered(shop, *RIGHT)], shop)
    assert (found.strict.difference, found.kinder.difference) == (1, 0.5)
    assert "So 50.0 of the 100.0 points, **50%** of the gain" in found.in_words("x")


def test_seeds_are_averaged(shop: Dataset) -> None:
    after = [answered(shop, *RIGHT), answered(shop, RIGHT[0], WRONG[1])]
    found = gain([answered(shop, *WRONG)], after, shop)
    assert list(found.strict.runs_b) == [1, 0.5]
    assert [len(runs) for runs in found.forgiven] == [1, 2]
    assert "2 questions, with 2 seeds." in found.in_words("x")
    assert "variance over seeds" not in found.in_words("x")


def test_the_gain_of_a_group_is_measured_on_its_questions(shop: Dataset) -> None:
    found = gain([answered(shop, MORE[0], WRONG[1])], [answered(shop, *RIGHT)], shop)
    first, second = (example.question_id for example in shop)
    parts = found.by_group({second: "b", first: "a"})
    assert {group: (part.n, part.difference) for group, part in parts.items()} == {
        "b": (1, 1), "a": (1, 0),
    }  # fmt: skip
    words = found.groups_in_words({second: "b", first: "a"})
    assert words.startswith("b (1) **+100.0 points** (95 % interval over questions ")
    assert "; a (1) **+0.0 points** (" in words


def compared(difference: float, low: float, high: float) -> MeanComparison:
    return MeanComparison(
        100, (0.2,), (0.2 + difference,), 5, (-1.0, 1.0), (low, high), clustered_p_value=0.5
    )


@pytest.mark.parametrize(
    ("strict", "kinder", "said"),
    [
        (
            (0.4, 0.3, 0.5),
            (0.0, -0.1, 0.1),
            "teaches x which columns an answer has. These data do not",
        ),
        ((0.4, 0.3, 0.5), (0.2, 0.1, 0.3), "teaches x to answer questions that the base cannot"),
        ((0.1, -0.1, 0.3), (0.1, -0.1, 0.3), "do not show that distillation makes x more"),
        ((-0.4, -0.5, -0.3), (-0.4, -0.5, -0.3), "do not show that distillation makes x more"),
    ],
)
def test_the_conclusion_follows_from_both_intervals_over_databases(
    strict: tuple[float, float, float], kinder: tuple[float, float, float], said: str
) -> None:
    found = Gain(compared(*strict), compared(*kinder), ((), ()))
    first, _, rest = found.in_words("x").removeprefix("**").partition("**")
    assert said in first
    assert "100 questions about 5 databases, with 1 seed" in rest


def test_names_with_the_same_conclusion_share_a_sentence() -> None:
    clear, unclear = compared(0.4, 0.3, 0.5), compared(0.1, -0.1, 0.3)
    learned, form, nothing = (
        Gain(strict, kinder, ((), ()))
        for strict, kinder in ((clear, clear), (clear, unclear), (unclear, unclear))
    )
    found = conclusions({"s": form, "m": learned, "l": form, "xl": nothing})
    assert found == [
        form.conclusion("s, l"), learned.conclusion("m"), nothing.conclusion("xl"),
    ]  # fmt: skip
    assert len(set(found)) == 3


def test_the_interval_is_over_databases_if_there_are_several(shop: Dataset) -> None:
    assert widest(compared(0.1, -0.1, 0.3)) == ("databases", (-0.1, 0.3))
    alone = gain([answered(shop, *WRONG)], [answered(shop, *RIGHT)], shop).strict
    assert widest(alone) == ("questions", alone.interval)


def test_without_a_gain_there_is_nothing_to_explain(shop: Dataset) -> None:
    found: Gain = gain([answered(shop, *RIGHT)], [answered(shop, *MORE)], shop)
    assert found.strict.difference == -1
    assert found.in_words("x").endswith("There is no gain in execution accuracy to explain.")

"""The pretraining chapter's table, lessons and curves."""

from __future__ import annotations

from typing import Any

import pytest

from distill_sql.book.pages import pretraining
from distill_sql.book.pages.pretraining import Pretrained, pretrained
from distill_sql.book.shown import Table

NAMES = ["pocket-s", "pocket-m", "pocket-l", "pocket-teacher"]


def run(name: str, tokens: int, losses: list[list[float]], **shape: Any) -> dict[str, Any]:
    """The record of a run, as far as the chapter reads it."""
    lesson = {
        "context": "pet: id, name\n",
        "turns": [
            {"question": "Question: Which pets?\nAnswer.", "answer": "SELECT name FROM pet"},
            {"question": "Question: How many?", "answer": "SELECT count(*) FROM pet"},
        ],
    }  # fmt: skip
    return {
        "shape": {"name": name, "layers": 3, "rich": 0.25, **shape}, "tokens": tokens,
        "losses": losses, "wall_time_s": 90, "hardware": {"cpu": "Z80"}, "example": lesson,
    }  # fmt: skip


@pytest.fixture
def large() -> Pretrained:
    """Two runs of its own, of 200 and 300 tokens, after one of 100 tokens of a smaller model."""
    small = run("small", 100, [[100, 4.0]])
    middle = run("large", 200, [[100, 3.0], [200, 2.0]]) | {"after": small}
    last = run("large", 300, [[300, 1.0]], form="text") | {"after": middle}
    return Pretrained("large", last)


def test_tokens_are_counted_over_all_runs(large: Pretrained) -> None:
    assert [run["tokens"] for run in large.runs] == [100, 200, 300]
    assert large.millions("chat", "sentences") == pytest.approx(75e-6)
    assert large.millions("chat", "keywords") == pytest.approx(225e-6)
    assert large.millions("text", "sentences") == pytest.approx(75e-6)


def test_a_curve_starts_where_the_runs_before_ended(large: Pretrained) -> None:
    assert pretraining.learning_points([large]) == [
        {"model": "large", "tokens": 200, "loss": 3.0},
        {"model": "large", "tokens": 300, "loss": 2.0},
        {"model": "large", "tokens": 600, "loss": 1.0},
    ]
    figure = pretraining.learning_curves([large])
    assert figure.alt == "Falling loss curves: large ends at 1.00"
    assert figure.chart.to_dict()


def test_a_lesson_has_its_schema_and_some_of_its_questions(large: Pretrained) -> None:
    text, table = pretraining.lesson(large, 1)
    assert isinstance(text, str)
    assert "1 of its 2 questions" in text
    assert "```\npet: id, name\n```" in text
    assert isinstance(table, Table)
    assert table.rows == [{"question": "Which pets?", "answer": "SELECT name FROM pet"}]
    assert len(pretraining.lessons([large], 2)) == 2
    assert len(pretraining.lessons([large, large, large], 2)) == 4


def test_the_ladder_in_the_package_grows() -> None:
    models = pretrained(NAMES)
    table = pretraining.ladder(models)
    assert [row["model"] for row in table.rows] == ["s", "m", "l", "teacher"]
    for column in ("parameters", "layers", "minutes"):
        values = [row[column] for row in table.rows]
        assert values == sorted(values), column
    for row, model in zip(table.rows, models, strict=True):
        read = sum(run["tokens"] for run in model.runs) / 1e6
        # Plain texts are all in sentences.
        assert row["keywords"] + row["sentences"] + row["texts"] == pytest.approx(read)
        assert row["minutes"] > 0

from __future__ import annotations

import pytest

from distill_sql.book.pages import grammar, training

from . import students

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    return students.training_run(tmp_path_factory.mktemp("students"))


def test_the_grammar_is_compared_with_free_answers(run: training.Run) -> None:
    found = grammar.decoding(run)
    assert {name: grammar.stuck_share(one) for name, one in found.by_name().items()} == {
        "free": 0, "grammar": 1 / 6,
    }  # fmt: skip
    table = grammar.table(run, found)
    assert [(row["right"], row["stuck"]) for row in table.rows] == [(4 / 6, 0), (5 / 6, 1 / 6)]
    dev = run.setup.dev
    mixed = grammar.Decoding(students.report(dev, "eeeerw"), students.report(dev, "rwweee"))
    words = grammar.in_words(mixed)
    assert "4 answers do not run without the grammar." in words
    assert "With it, 1 of them are right, 2 run and are wrong, and 1 still do not run." in words
    assert "errors with the grammar: no such column (3)." in words
    clean = grammar.Decoding(students.report(dev, "rrrrrr"), students.report(dev, "rrrrrr"))
    assert "errors with the grammar: none." in grammar.in_words(clean)

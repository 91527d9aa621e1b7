"""The failure chapter on incomplete datasets: it runs to the end and says what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_sql.book.cache import inputs_digest
from distill_sql.book.chapters import Chapter
from distill_sql.book.layout import Book
from distill_sql.data.datasets import load_dataset
from tests.book.test_systems import leave

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Execute the chapter's cells in this process; return all that it shows, as text."""

    def run(**parameters: Any) -> str:
        shown: list[str] = []

        def display(what: Any, **_: Any) -> None:
            shown.append(what.data if hasattr(what, "data") else "\n".join(map(str, what.values())))

        monkeypatch.setattr("IPython.display.display", display)
        monkeypatch.chdir(ROOT)
        scope: dict[str, Any] = {}
        given = {"students": str(tmp_path / "students"), "neighbours": 1} | parameters
        for cell in Chapter.load(Book(ROOT), "07_failure_analysis").notebook().cells:
            if cell.cell_type == "code":
                exec(cell.source, scope)
                if "parameters" in cell.metadata.get("tags", ()):
                    assert given.keys() <= scope.keys()
                    scope |= given
        return "\n".join(shown)

    return run


def ask(root: Path, *queries: str, split: str = "dev") -> Path:
    """The dataset at ``root``, with one question for each of these gold queries and no others."""
    questions = [{"db_id": "shop", "question": f"Question {n}?", "query": query}
                 for n, query in enumerate(queries)]  # fmt: skip
    (root / f"{split}.json").write_text(json.dumps(questions))
    return root


@pytest.fixture
def folder(toy_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_dataset, tmp_path / "toy"))


def test_one_question_whose_gold_query_cannot_be_broken(folder: Path, run: Run) -> None:
    page = run(dataset=str(ask(folder, "SELECT 1")))
    assert "There are no students' answers to toy dev here" in page
    assert "toy has no training split, so the baseline uses pocket's training questions" in page
    assert "No gold query here can be broken" in page
    assert "All wrong predictions (1)" in page


def test_no_gold_query_that_runs(folder: Path, run: Run) -> None:
    page = run(dataset=str(ask(folder, "SELECT a FROM nowhere")))
    assert "Left out because their gold queries fail: 1 questions**, question_id 0." in page
    assert "There are no answers to analyse" in page


def test_students_are_shown_beside_the_floor(folder: Path, run: Run, tmp_path: Path) -> None:
    ask(folder, "SELECT name FROM customer", split="train")
    ask(folder, "SELECT count(*) FROM customer", "SELECT name FROM customer WHERE id > 0")
    dataset = load_dataset(folder)
    leave(tmp_path / "students", dataset, "pocket-s-base-0", recipe="pocket-s-base", traces=0)
    leave(tmp_path / "students", dataset, "pocket-s-0", recipe="pocket-s")
    leave(tmp_path / "students", dataset, "pocket-s-1", recipe="pocket-s", seed=43)
    page = run(dataset=str(folder))
    assert "**2 systems** of other chapters: " in page
    assert "pocket-s, seed 42; pocket-s-base." in page
    assert "1 more prediction files are not shown" in page
    assert "no training split" not in page
    assert "pocket-s, seed 43" not in page
    assert "pocket-s, seed 43" in run(dataset=str(folder), shown="all", floor=False)


def test_bird_with_a_database_that_is_missing(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bird = tmp_path / "bird"
    (bird / "dev").mkdir(parents=True)
    (folder / "database").rename(bird / "dev_databases")
    questions = [
        {"question_id": 0, "db_id": "away", "question": "?", "SQL": "SELECT a FROM t"},
        {"question_id": 1, "db_id": "shop", "question": "?", "SQL": "SELECT name FROM customer"},
    ]
    (bird / "dev" / "dev.json").write_text(json.dumps(questions))
    tables = [
        {"db_id": name, "table_names_original": [table], "table_names": [table],
         "column_names_original": [[-1, "*"], [0, column]],
         "column_names": [[-1, "*"], [0, column]], "column_types": ["text", "text"],
         "primary_keys": [], "foreign_keys": []}
        for name, table, column in [("away", "t", "a"), ("shop", "customer", "name")]
    ]  # fmt: skip
    (bird / "dev" / "dev_tables.json").write_text(json.dumps(tables))
    answers = tmp_path / "answers"
    answers.mkdir()
    lines = [{"question_id": q["question_id"], "pred_sql": q["SQL"]} for q in questions]
    (answers / "gold.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("BIRD_DIR", str(bird))
    page = run(dataset="bird", predictions=str(answers), timings=1)
    assert "Left out because their databases are missing: 1 questions** on away." in page
    assert "own metrics on 1 questions" in page
    assert ">100.0<" in page  # EX and soft F1 of the gold queries
    assert "R-VES" in page


def test_new_answers_of_students_make_the_page_stale(tmp_path: Path) -> None:
    inputs = Chapter.load(Book(ROOT), "07_failure_analysis").inputs
    digests = [inputs_digest(Book(tmp_path), parameters={}, inputs=inputs)]
    for file in ("book/.work/students/a/predictions-1.jsonl", "book/results/failure_labels/l"):
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        path.write_text("")
        digests.append(inputs_digest(Book(tmp_path), parameters={}, inputs=inputs))
    assert len(set(digests)) == 3

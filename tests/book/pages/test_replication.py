"""Published predictions scored again, on three questions that can be counted by hand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql import Dataset, load_dataset
from distill_sql.book.pages import replication
from distill_sql.book.pages.replication import PUBLISHED, Rescored
from distill_sql.book.shown import Figure, Table

GOLD = (
    "SELECT name FROM pet",
    "SELECT town FROM pet",
    "SELECT vet FROM visit",  # its table has no rows
)


@pytest.fixture
def pets(tmp_path: Path) -> Dataset:
    root = tmp_path / "pets"
    database = root / "database" / "pets" / "pets.sqlite"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            "CREATE TABLE pet (name TEXT, town TEXT); CREATE TABLE visit (vet TEXT);"
            "INSERT INTO pet VALUES ('Rex', 'York'), ('Tom', 'York');"
        )
    (root / "dev.json").write_text(
        json.dumps([{"db_id": "pets", "question": "?", "query": sql} for sql in GOLD])
    )
    return load_dataset(root)


def leave(folder: Path, stem: str, queries: Sequence[str]) -> None:
    """A prediction file, as the study published them."""
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"question_id": n, "pred_sql": sql}) for n, sql in enumerate(queries)]
    (folder / f"{stem}.jsonl").write_text("\n".join(lines))


@pytest.fixture
def scored(pets: Dataset, tmp_path: Path) -> Rescored:
    """The 0.5B is right but for DISTINCT, the untrained model on the empty table alone."""
    folder = tmp_path / "predictions"
    leave(folder, "distilled_primary", (GOLD[0], "SELECT DISTINCT town FROM pet", GOLD[2]))
    leave(folder, "base_qwen_0p5b", ("SELECT 1", "SELECT 1", "SELECT name FROM pet WHERE 0"))
    found = replication.rescore(pets, replication.published_files(pets, str(folder)), neighbours=1)
    assert found is not None
    return found


def test_files_are_those_of_the_study_that_answer_the_dataset(
    pets: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    leave(folder, "distilled_7b", GOLD)
    leave(folder, "base_qwen_0p5b", GOLD)
    leave(folder, "distilled_3b", GOLD[:1])  # of another dataset
    leave(folder, "someone_elses", GOLD)
    found = replication.published_files(pets, str(folder))
    assert list(found) == ["0.5B untrained", "7B"]
    assert replication.published_files(pets) == {}


def test_without_files_only_the_published_accuracies_are_shown(pets: Dataset) -> None:
    assert replication.rescore(pets, {}, neighbours=1) is None
    assert "no published predictions for pets" in replication.found(pets, None)
    table = replication.headline(None)
    assert [row["published"] for row in table.rows] == [m.accuracy for m in PUBLISHED.values()]


def test_the_headline_has_published_and_own_accuracies(scored: Rescored) -> None:
    assert "**2 of 8 prediction files were found.**" in replication.found(scored.dataset, scored)
    untrained, small = replication.headline(scored).rows
    assert (untrained["model"], untrained["published"]) == ("0.5B untrained", 0.339)
    assert untrained["ours"] == untrained["strict"] == pytest.approx(1 / 3)
    assert (small["ours"], small["strict"]) == (1, pytest.approx(2 / 3))
    assert (untrained["exact"], small["exact"]) == (0, 1)  # exact set match ignores DISTINCT, too
    assert small["interval"] == "43.9% to 100.0%"  # Wilson: 3 / (3 + 1.96 ** 2)


def test_questions_about_empty_tables_are_found_and_counted(scored: Rescored) -> None:
    assert replication.read_empty_tables(scored.dataset) == {2: ["pets.visit"]}
    text = replication.luck(scored)
    # Published: round(0.339 * 3) = 1 and round(0.6 * 3) = 2 right answers; ours: 1 and 3.
    assert "Ours is 0 to 1 right answers above" in text
    assert "**1 gold queries read a table without rows** (`pets.visit`)" in text
    assert "By model, 1 to 1 of these questions count as right." in text
    assert "is enough to explain it" in text
    assert "**1** gold queries return no rows" in text


def test_leniencies_say_what_rules_and_neighbours_change(scored: Rescored) -> None:
    figure, text = replication.leniencies(scored)
    assert isinstance(text, str)
    assert "change a score by -1 to +0 answers" in text
    assert "3 of 3 gold queries are right by the strict rules and 3 by" in text
    # The neighbour has a visit, so the lucky query is wrong there.
    assert "With 1 neighbours, 0.0% to 33.3% of all answers become wrong" in text
    assert isinstance(figure, Figure)
    assert "0.5B official 100.0%; 0.5B strict 66.7%; 0.5B 1 neighbours too 100.0%" in figure.alt
    assert figure.chart.to_dict()


def test_a_headline_is_a_table_of_the_book(scored: Rescored) -> None:
    table = replication.headline(scored)
    assert isinstance(table, Table)
    assert isinstance(table.columns, dict)
    assert set(table.columns) == set(table.rows[0])

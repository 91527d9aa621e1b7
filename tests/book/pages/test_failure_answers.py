"""Which questions and answers the failure chapter uses, on a dataset of three questions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql import Dataset, Example, load_dataset
from distill_sql.book.pages import failure_answers
from distill_sql.book.pages.failure_answers import FLOOR, Answers, Questions
from distill_sql.scoring import ScoreReport
from tests.book.test_systems import leave

NO_ANSWERS = Answers({}, {}, 0, {}, (), False)


@pytest.fixture
def asked(toy_dataset: Path) -> Dataset:
    """The toy's two questions; a third whose gold query fails; a fourth without a database."""
    shop = load_dataset(toy_dataset)
    schemas = {"shop": shop.schema("shop"), "away": replace(shop.schema("shop"), db_id="away")}
    failing = Example(2, "shop", "?", "SELECT a FROM nowhere")
    away = Example(3, "away", "?", "SELECT 1")
    return replace(shop, examples=(*shop, failing, away), schemas=schemas)


@pytest.fixture
def questions(asked: Dataset) -> Questions:
    return failure_answers.scorable(asked, deadline=10)


def write(folder: Path, name: str, *queries: str) -> Path:
    """A prediction file with one query for each question."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.jsonl"
    lines = [{"question_id": n, "pred_sql": query} for n, query in enumerate(queries)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_question_is_scored_if_its_database_and_its_gold_query_work(questions: Questions) -> None:
    assert [example.question_id for example in questions.scored] == [0, 1]
    assert questions.failing == (2,)
    text = failure_answers.sources(questions, NO_ANSWERS, shown="main", train=None)
    assert "2 questions of " in text
    assert "on 1 database." in text
    assert "databases are missing: 1 questions** on away" in text
    assert "gold queries fail: 1 questions**, question_id 2." in text


def test_answers_of_students_are_found_with_their_answers_without_synonyms(
    toy_dataset: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(toy_dataset)
    usual = leave(tmp_path, dataset, "pocket-l-0")
    plain = leave(tmp_path, dataset, "pocket-l-0", file=".plain", way="no-synonyms")
    leave(tmp_path, dataset, "pocket-l-1", seed=43)

    def find(shown: str) -> Answers:
        return failure_answers.find_answers(
            dataset, predictions="", students=str(tmp_path), shown=shown
        )

    found = find("main")
    assert found.systems == {"pocket-l, seed 42": usual}
    assert found.no_synonyms == {"pocket-l, seed 42": plain}
    assert found.not_shown == 2
    assert find("all").not_shown == 0
    assert len(find("all").systems) == 3


def test_a_folder_of_predictions_replaces_the_students(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(toy_dataset)
    leave(tmp_path / "students", dataset, "pocket-l-0")
    good = write(tmp_path / "files", "good", "SELECT 1", "SELECT 2")
    bad = write(tmp_path / "files", "other", "SELECT 1")
    students = str(tmp_path / "students")

    given = failure_answers.find_answers(
        dataset, predictions=str(tmp_path / "files"), students=students, shown="main"
    )
    assert (given.systems, given.given) == ({}, True)
    assert given.files == {"good": good, "other": bad}  # reading it will say what does not fit

    monkeypatch.setenv("PREDICTIONS_DIR", str(tmp_path / "files"))
    beside = failure_answers.find_answers(dataset, predictions="", students=students, shown="main")
    assert list(beside.systems) == ["pocket-l, seed 42"]
    assert (beside.files, beside.unfit) == ({"good": good}, (bad,))


def test_systems_are_scored_in_every_way_from_the_worst_to_the_best(
    questions: Questions, asked: Dataset, tmp_path: Path
) -> None:
    gold = [example.query for example in asked]
    # The official rules remove DISTINCT: three towns, of which two differ.
    lenient = 'SELECT count(DISTINCT "home town") FROM customer'
    name = "SELECT name FROM customer WHERE name = 'Ada'"
    files = {
        "perfect": write(tmp_path, "perfect", *gold),
        "lenient": write(tmp_path, "lenient", lenient, gold[1], "", ""),
        "lucky": write(tmp_path, "lucky", "SELECT 2", name, "", ""),
    }
    answers = replace(NO_ANSWERS, files=files, no_synonyms={"lucky": files["perfect"]})
    scores = failure_answers.score_answers(
        questions, answers, train=None, neighbours=2, deadline=10
    )

    def shares(reports: Mapping[str, ScoreReport]) -> dict[str, float]:
        return {name: report.accuracy().share for name, report in reports.items()}

    assert scores.names == ["lucky", "perfect", "lenient"] == scores.models
    assert shares(scores.reports) == {"lucky": 0.5, "perfect": 1, "lenient": 1}
    assert shares(scores.strict) == {"lucky": 0.5, "perfect": 1, "lenient": 0.5}
    assert shares(scores.wide) == {"lucky": 0, "perfect": 1, "lenient": 1}
    assert shares(scores.no_synonyms) == {"lucky": 1}
    assert {len(paths) for paths in scores.variants.values()} == {2}
    assert [(name, v.question_id) for name, v in scores.wrong] == [("lucky", 0)]
    assert [p.question_id for p in scores.answers["lucky"]] == [0, 1]


def test_the_floor_is_no_model_unless_it_is_alone(questions: Questions, tmp_path: Path) -> None:
    train = questions.scored
    alone = failure_answers.score_answers(
        questions, NO_ANSWERS, train=train, neighbours=0, deadline=10
    )
    assert alone.models == [FLOOR]
    file = write(tmp_path, "one", "SELECT 1", "SELECT 1", "", "")
    both = failure_answers.score_answers(
        questions, replace(NO_ANSWERS, files={"one": file}), train=train, neighbours=0, deadline=10
    )
    assert both.models == ["one"]
    assert set(both.names) == {"one", FLOOR}


def test_without_questions_there_are_no_reports(questions: Questions) -> None:
    none = replace(questions, scored=questions.scored.with_examples([]))
    train = questions.scored
    scores = failure_answers.score_answers(none, NO_ANSWERS, train=train, neighbours=1, deadline=10)
    assert (scores.reports, scores.wrong, scores.models) == ({}, [], [])


def test_the_list_says_what_is_missing(questions: Questions) -> None:
    def text(answers: Answers, train: Dataset | None = None, split: str = "dev") -> str:
        asked = replace(questions.asked, split=split)
        return failure_answers.sources(
            replace(questions, asked=asked), answers, shown="main", train=train
        )

    assert "There are no students' answers to" in text(NO_ANSWERS)
    assert "students" not in text(replace(NO_ANSWERS, given=True))
    assert "`floor` turns it off" in text(NO_ANSWERS)
    assert "from these same questions" in text(NO_ANSWERS, split="train")
    own, pocket = replace(questions.asked, split="train"), load_dataset("pocket", split="train")
    assert "uses pocket's training questions" not in text(NO_ANSWERS, own)
    assert "uses pocket's training questions" in text(NO_ANSWERS, pocket)
    unfit = replace(NO_ANSWERS, files={"a": Path("a.jsonl")}, unfit=(Path("there/b.jsonl"),))
    assert "**1 prediction files** were found" in text(unfit)
    assert "1 prediction files in there answer other questions" in text(unfit)


def test_the_floor_retrieves_from_the_training_split_where_there_is_one(
    toy_dataset: Path, tmp_path: Path
) -> None:
    assert failure_answers.lender(str(toy_dataset)).name == "pocket"
    assert failure_answers.lender("pocket").split == "train"

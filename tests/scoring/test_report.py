from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, Example, load_dataset
from distill_sql.errors import DatasetError, PredictionError
from distill_sql.scoring import Accuracy, Prediction, Rules, read_predictions, score
from distill_sql.scoring.predictions import prediction_files

#: Correct predictions of the published files, counted by the official evaluator on these databases.
RECOMPUTED = {
    "base_qwen_0p5b": 354,
    "distilled_ablation_direct": 615,
    "distilled_primary": 621,
    "distilled_1p5b_q4": 649,
    "distilled_1p5b": 721,
    "distilled_3b": 754,
    "distilled_7b": 778,
    "gpt_4o_mini_reference": 832,
}


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset)


def predict(dataset: Dataset, *queries: str) -> list[Prediction]:
    return [
        Prediction(example.question_id, example.db_id, sql)
        for example, sql in zip(dataset, queries, strict=True)
    ]


def test_gold_scored_against_itself(spider_dev: Dataset) -> None:
    gold = predict(spider_dev, *(example.query for example in spider_dev))
    report = score(gold, spider_dev, Rules(strict=True))
    assert report.accuracy() == Accuracy(1034, 1034)
    assert {v.failure_mode for v in report.verdicts} == {"ok"}
    assert {v.cause for v in report.verdicts} == {None}
    assert sum(v.gold_is_empty for v in report.verdicts) == 57
    assert [report.accuracy(level).n for level in ("easy", "medium", "hard", "extra")] == [
        248, 446, 174, 166,
    ]  # fmt: skip


@pytest.mark.parametrize("name", RECOMPUTED)
def test_published_files_have_the_recomputed_counts(
    spider_dev: Dataset, data_dir: Path, name: str
) -> None:
    path = data_dir / "published_predictions" / f"{name}.jsonl"
    before = path.read_bytes()
    report = score(read_predictions(path, spider_dev), spider_dev)
    assert report.accuracy().correct == RECOMPUTED[name]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "exec_", "mode", "cause"),
    [
        ("SELECT count(id) FROM customer", True, "ok", None),
        ("SELECT 3", True, "ok", None),
        ("SELECT count(*) FROM orders", False, "wrong-result", "wrong table"),
        ("SELECT count(*) FROM customers", False, "execution", "wrong table"),
        ("SELECT count(x) FROM customer", False, "execution", "wrong column"),
        ("SELECT count( FROM customer", False, "parse", "unparsable"),
        ("", False, "empty", "unparsable"),
        ("DROP TABLE customer", False, "execution", "unparsable"),
        ("SELECT a.id FROM customer a, customer b, customer c", False, "wrong-result", "aggregate"),
    ],
)
def test_modes_and_causes(
    shop: Dataset, sql: str, exec_: bool, mode: str, cause: str | None
) -> None:
    verdict = score(predict(shop.limit(1), sql), shop.limit(1)).verdicts[0]
    assert (verdict.exec, verdict.failure_mode, verdict.cause) == (exec_, mode, cause)


def test_an_endless_query_takes_its_deadline_once(toy_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "suite"))
    folder = root / "database" / "shop"
    for number in range(3):
        shutil.copy(folder / "shop.sqlite", folder / f"shop_{number}.sqlite")
    dataset = load_dataset(root).limit(1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    verdict = score(predict(dataset, endless), dataset, deadline=0.3).verdicts[0]
    assert (verdict.exec, verdict.failure_mode) == (False, "timeout")
    assert "0.3 s" in verdict.error


def test_a_prediction_must_be_right_on_every_database_of_the_folder(
    toy_dataset: Path, tmp_path: Path
) -> None:
    """A query that is right by chance fails on a variant, as in test-suite accuracy."""
    root = Path(shutil.copytree(toy_dataset, tmp_path / "suite"))
    folder = root / "database" / "shop"
    lucky = "SELECT count(*) FROM order_item"  # three items, three customers
    dataset = load_dataset(root).limit(1)
    assert score(predict(dataset, lucky), dataset).accuracy().correct == 1
    shutil.copy(folder / "shop.sqlite", folder / "shop_variant.sqlite")
    with closing(sqlite3.connect(folder / "shop_variant.sqlite")) as connection:
        connection.execute("DELETE FROM order_item")
        connection.commit()
    assert score(predict(dataset, lucky), dataset).accuracy().correct == 0


def test_a_failing_gold_query_is_an_error_of_the_dataset(toy_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "bad"))
    records = [{"db_id": "shop", "question": "?", "query": "SELECT nope FROM customer"}]
    (root / "dev.json").write_text(json.dumps(records))
    dataset = load_dataset(root)
    with pytest.raises(DatasetError, match=r"gold query .* no such column: nope"):
        score(predict(dataset, "SELECT 1"), dataset)


def test_predictions_that_do_not_line_up_are_an_error(shop: Dataset) -> None:
    with pytest.raises(PredictionError, match="do not line up"):
        score(predict(shop, "SELECT 1", "SELECT 2")[:1], shop)


def test_table_by_hardness(shop: Dataset) -> None:
    lines = score(predict(shop, "SELECT 3", "SELECT 1"), shop).table().splitlines()
    assert lines[0].split() == ["all", "easy", "medium", "hard", "extra"]
    assert lines[1].split() == ["count", "2", "1", "0", "1", "0"]
    assert lines[2].split() == ["execution", "accuracy", "50.0", "100.0", "-", "0.0", "-"]


def test_wilson_interval_by_hand() -> None:
    low, high = Accuracy(10, 5).interval
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)
    assert Accuracy(10, 0).interval[0] == pytest.approx(0)


def test_folders_of_prediction_files(
    shop: Dataset, spider_dev: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREDICTIONS_DIR", raising=False)
    assert prediction_files(shop) == []
    assert [file.stem for file in prediction_files(spider_dev)] == sorted(RECOMPUTED)
    (tmp_path / "m.jsonl").write_text("")
    assert [file.name for file in prediction_files(shop, tmp_path)] == ["m.jsonl"]
    monkeypatch.setenv("PREDICTIONS_DIR", str(tmp_path))
    assert [file.name for file in prediction_files(shop)] == ["m.jsonl"]
    (tmp_path / "m.jsonl").unlink()
    with pytest.raises(PredictionError, match="No predictions in"):
        prediction_files(shop)


def with_gold(dataset: Dataset, *queries: str) -> Dataset:
    return dataset.with_examples(
        Example(number, "shop", "?", query) for number, query in enumerate(queries)
    )


def test_questions_without_a_level_count_under_all_and_are_reported(shop: Dataset) -> None:
    plain = with_gold(shop, "SELECT count(*) FROM customer", "SELECT name FROM customer")
    odd = with_gold(
        shop,
        *(example.query for example in plain),
        "SELECT CAST(id AS UNSIGNED BIG INT) FROM customer",
    )
    before, after = (score(predict(d, *(e.query for e in d)), d) for d in (plain, odd))
    assert before.remarks() == []
    assert (after.accuracy().n, after.accuracy("easy").n) == (3, 2)
    assert (after.accuracy(metric="exact").n, after.accuracy("easy", metric="exact").n) == (2, 2)
    level, exact = after.remarks()
    assert level.startswith("1 of 3 questions have no level of hardness")
    assert exact.startswith("1 of 3 questions have no exact set match")
    assert "(question_id 2)" in level
    assert "(question_id 2)" in exact
    summary = after.summary()
    assert (summary["without_level"], summary["without_exact"]) == ([2], [2])
    assert summary["exec"]["n"] == 3
    only_exec = score(predict(odd, *(e.query for e in odd)), odd, Rules(etype="exec"))
    assert only_exec.without_exact == ()
    assert after.components(odd).keys() == before.components(plain).keys()


def test_skipped_questions_do_not_count_and_are_reported(shop: Dataset) -> None:
    failing = [f"SELECT nothing_{number} FROM customer" for number in range(7)]
    dataset = with_gold(shop, "SELECT count(*) FROM customer", *failing)
    answers = predict(dataset, *(example.query for example in dataset))
    with pytest.raises(DatasetError, match=r"question 1 .*--skip-failing-gold"):
        score(answers, dataset)
    report = score(answers, dataset, Rules(skip_failing_gold=True))
    assert report.accuracy() == Accuracy(1, 1)
    assert report.accuracy(metric="exact") == Accuracy(1, 1)
    assert sum(report.failure_modes().values()) == 1
    (remark,) = report.remarks()
    assert remark.startswith("7 of 8 questions are skipped")
    assert "(question_id 1, 2, 3, 4, 5, ...)" in remark
    assert "nothing_0" in remark
    assert report.summary()["skipped"] == [1, 2, 3, 4, 5, 6, 7]
    nothing = score(answers[1:], dataset.with_examples(dataset.examples[1:]), report.rules)
    assert nothing.accuracy() == Accuracy(0, 0)
    assert nothing.table().split() == ["all", "easy", "medium", "hard", "extra"]


@pytest.mark.parametrize(
    "case",
    ["04_gold_sqlite_keyword_as_name", "04b_gold_semicolon_comment", "04d_gold_cast_multiword_type",
     "05_pred_double_semicolon"],
)  # fmt: skip
def test_inputs_that_failed_in_the_past(cases: Path, case: str) -> None:
    dataset = load_dataset(cases / case)
    report = score(read_predictions(cases / case / "pred.jsonl", dataset), dataset)
    assert report.accuracy() == Accuracy(len(dataset), len(dataset))
    for verdict in report.verdicts:
        assert (verdict.hardness is None) == ("level" in verdict.note)
        assert (verdict.exact is None) == ("exact" in verdict.note)

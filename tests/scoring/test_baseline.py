from __future__ import annotations

import json
import shutil
from pathlib import Path

from distill_sql.data.datasets import load_dataset
from distill_sql.scoring import score
from distill_sql.scoring.baseline import NearestQuestion
from distill_sql.sql.sandbox import Sandbox


def test_it_is_right_on_its_own_training_questions(toy_dataset: Path, tmp_path: Path) -> None:
    """A training question is its own nearest question, so its names are right."""
    root = Path(shutil.copytree(toy_dataset, tmp_path / "toy"))
    shutil.copy(root / "dev.json", root / "train.json")
    train = load_dataset(root, split="train")
    predictions = NearestQuestion(train).predict(train.limit(1))
    assert predictions[0].pred_sql == "SELECT COUNT(*) FROM customer"


def test_names_and_values_are_replaced(toy_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "toy"))
    train = [
        {"db_id": "shop", "question": "What is the price of the product rug?",
         "query": "SELECT price FROM order_item WHERE product = 'rug'"},
    ]  # fmt: skip
    dev = [{"db_id": "shop", "question": "What is the id of the name Ada?",
            "query": "SELECT id FROM customer WHERE name = 'Ada'"}]  # fmt: skip
    (root / "train.json").write_text(json.dumps(train))
    (root / "dev.json").write_text(json.dumps(dev))
    dataset = load_dataset(root)
    predictions = NearestQuestion(load_dataset(root, split="train")).predict(dataset)
    assert predictions[0].pred_sql == "SELECT id FROM customer WHERE name = 'Ada'"
    assert score(predictions, dataset).accuracy().correct == 1


def test_it_is_a_low_baseline_on_pocket() -> None:
    dev = load_dataset("pocket").limit(170)
    predictions = NearestQuestion(load_dataset("pocket", split="train")).predict(dev)
    assert [p.question_id for p in predictions] == [e.question_id for e in dev]
    with Sandbox() as sandbox:
        runs = [sandbox.run(dev.database_path(p.db_id), p.pred_sql).ok for p in predictions]
    assert sum(runs) / len(runs) > 0.9
    assert 0 < score(predictions, dev).accuracy().share < 0.3


def test_unusable_training_queries_are_skipped(toy_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "toy"))
    asked = "How many customers are there?"
    unusable = [
        {"db_id": "shop", "question": asked, "query": query}
        for query in ("SELECT a FROM t WHERE if > 2", "VALUES (1)", "SELECT 1", "")
    ]
    usable = {"db_id": "shop", "question": "customers", "query": "SELECT count(*) FROM customer"}
    for train, expected in ((unusable, ""), ([*unusable, usable], "SELECT COUNT(*) FROM customer")):
        (root / "train.json").write_text(json.dumps(train))
        baseline = NearestQuestion(load_dataset(root, split="train"))
        (prediction,) = baseline.predict(load_dataset(root).limit(1))
        assert prediction.pred_sql == expected

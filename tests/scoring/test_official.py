"""Running the official evaluator, against a stand-in checkout with the same functions.

The stand-in has its own simple rules. The tests check that its verdicts are read one example at a
time and compared with ours.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.cli import main
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.tables_json import schema_to_tables_json
from distill_sql.errors import PredictionError
from distill_sql.files import write_json
from distill_sql.scoring import Prediction, Rules, score
from distill_sql.scoring.official import Disagreement, disagreements

STAND_IN = """
import json, os, sqlite3

def build_foreign_key_map_from_json(table):
    return {entry["db_id"]: {} for entry in json.load(open(table))}

def eval_exec_match(db, p_str, g_str, plug_value, keep_distinct, progress_bar_for_each_datapoint):
    connection = sqlite3.connect(db)
    return int(connection.execute(p_str).fetchall() == connection.execute(g_str).fetchall())

class Evaluator:
    def eval_exact_match(self, pred, label):
        return int(pred == label)

def evaluate(gold, predict, db_dir, etype, kmaps, plug_value, keep_distinct, progress):
    g_str, db = open(gold).read().strip().split("\\t")
    p_str = open(predict).read().strip()
    kmaps[db]
    print("noise on the standard output")
    if etype in ("all", "exec"):
        eval_exec_match(db=os.path.join(db_dir, db, db + ".sqlite"), p_str=p_str, g_str=g_str,
                        plug_value=plug_value, keep_distinct=keep_distinct,
                        progress_bar_for_each_datapoint=progress)
    if etype in ("all", "match"):
        Evaluator().eval_exact_match(p_str, g_str)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "evaluation.py").write_text(STAND_IN)
    return tmp_path / "official"


@pytest.fixture
def shop(toy_dataset: Path, tmp_path: Path) -> Dataset:
    root = Path(shutil.copytree(toy_dataset, tmp_path / "shop"))
    dataset = load_dataset(root)
    write_json(root / "tables.json", [schema_to_tables_json(dataset.schema("shop"))])
    return dataset


def found(dataset: Dataset, checkout: Path, rules: Rules, *queries: str) -> list[Disagreement]:
    pairs = zip(dataset, queries, strict=True)
    report = score([Prediction(e.question_id, e.db_id, q) for e, q in pairs], dataset, rules)
    return list(disagreements(report.verdicts, dataset, checkout, rules))


def test_agreement_yields_nothing(shop: Dataset, checkout: Path) -> None:
    assert found(shop, checkout, Rules(), *(e.query for e in shop)) == []


def test_every_disagreement_is_listed(shop: Dataset, checkout: Path) -> None:
    lower, gold = shop.examples[0].query.lower(), shop.examples[1].query
    (difference,) = found(shop, checkout, Rules(), lower, gold)
    assert (difference.question_id, difference.metric) == (0, "exact")
    assert (difference.ours, difference.official) == (True, False)


def test_a_crash_is_a_disagreement_and_the_run_continues(shop: Dataset, checkout: Path) -> None:
    differences = found(shop, checkout, Rules(etype="exec"), "SELEC", shop.examples[1].query)
    assert [(d.metric, d.official) for d in differences] == [("exec", None)]
    assert "OperationalError" in differences[0].error


def test_the_command_prints_them(
    shop: Dataset, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.sql"
    file.write_text("\n".join([shop.examples[0].query.lower(), shop.examples[1].query]) + "\n")
    command = ["score", str(file), "--dataset", str(shop.root), "--official", str(checkout)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "question 0, exact: ours True, official False" in out
    assert out.rstrip().endswith(f"1 disagreements with {checkout} on 2 examples")


def test_errors_name_what_is_missing(shop: Dataset, checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"No evaluation.py in .* clone it"):
        found(shop, tmp_path, Rules(), "SELECT 1", "SELECT 1")
    (checkout / "evaluation.py").write_text("import a_package_nobody_has")
    with pytest.raises(PredictionError, match="a_package_nobody_has"):
        found(shop, checkout, Rules(), "SELECT 1", "SELECT 1")


def test_a_timeout_is_a_crash_and_the_run_continues(shop: Dataset, checkout: Path) -> None:
    endless = "\n    if 'endless' in p_str:\n        while True: pass\n    kmaps[db]\n"
    (checkout / "evaluation.py").write_text(STAND_IN.replace("\n    kmaps[db]\n", endless))
    gold = shop.examples[1].query
    answers = [Prediction(0, "shop", "SELECT 'endless'"), Prediction(1, "shop", gold)]
    report = score(answers, shop, Rules(etype="exec"))
    (difference,) = disagreements(report.verdicts, shop, checkout, report.rules, deadline=1)
    assert (difference.question_id, difference.official) == (0, None)
    assert difference.error == "over 1 s"


def test_skipped_examples_are_left_out(shop: Dataset, checkout: Path) -> None:
    dataset = shop.with_examples([replace(shop.examples[0], query="SELECT nowhere FROM customer")])
    assert found(dataset, checkout, Rules(skip_failing_gold=True), "SELECT 1") == []


def test_any_text_can_be_judged(shop: Dataset, checkout: Path) -> None:
    odd = f"{shop.examples[0].query}\r\n -- \ud800 \u2028"
    assert found(shop, checkout, Rules(etype="exec"), odd, shop.examples[1].query) == []

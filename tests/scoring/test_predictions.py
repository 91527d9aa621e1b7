from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import PredictionError
from distill_sql.scoring import Prediction, read_predictions

LINES: list[dict[str, object]] = [
    {"question_id": 0, "db_id": "shop", "pred_sql": "SELECT 1"},
    {"question_id": 1, "db_id": "shop", "pred_sql": None, "raw_text": "no idea"},
]
READ = [Prediction(0, "shop", "SELECT 1"), Prediction(1, "shop", "")]


@pytest.fixture
def shop(toy_dataset: Path) -> Dataset:
    return load_dataset(toy_dataset).limit(2)


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


SEPARATOR = "\t----- bird -----\t"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", "\n".join(map(json.dumps, LINES))),
        ("p.jsonl", "\ufeff" + "\r\n\r\n".join(map(json.dumps, LINES))),
        ("p.json", json.dumps(LINES)),
        ("p.json", json.dumps(LINES, indent=2)),
        ("p.jsonl", json.dumps(LINES, indent=2)),
        ("answers.txt", "\n".join(map(json.dumps, LINES))),
        (
            "p.json",
            json.dumps({"0": f"SELECT 1{SEPARATOR}shop", "1": f" {SEPARATOR}shop"}, indent=1),
        ),
        ("p.json", json.dumps({"0": "SELECT 1", "1": None})),
        ("p.sql", "SELECT 1\n\n"),
        ("p.sql", "\ufeffSELECT 1\r\n\r\n"),
    ],
)
def test_every_format_is_read(shop: Dataset, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_predictions(tmp_path / name, shop) == READ


@pytest.mark.parametrize("form", [str, float, lambda number: f" {number} "])
def test_ids_may_be_texts(shop: Dataset, tmp_path: Path, form: type[str]) -> None:
    lines = [line | {"question_id": form(line["question_id"])} for line in LINES]
    assert read_predictions(write(tmp_path / "p.jsonl", [*lines]), shop) == READ


def test_what_is_ignored_may_hold_anything(shop: Dataset, tmp_path: Path) -> None:
    lines = [line | {"score": float("nan"), "note": "a\u2028b\x0bc\x85d"} for line in LINES]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    assert read_predictions(path, shop) == READ


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINES[:1], "ends after 1 predictions; the dataset has 2 questions, and 1 is the first"),
        ([*LINES, LINES[0]], "line 3: the dataset has 2 questions, and this is one more"),
        (LINES[::-1], "line 1: found question_id 1, db_id 'shop'; expected 0, 'shop'"),
        ([LINES[0], LINES[0]], "line 2: found question_id 0"),
        ([LINES[0] | {"db_id": "zoo"}, LINES[1]], "line 1: found question_id 0, db_id 'zoo'"),
        ([LINES[0] | {"db_id": ["shop"]}, LINES[1]], "line 1: db_id is list ['shop']"),
        ([{"question_id": 0}, LINES[1]], "line 1: no 'pred_sql'"),
        ([{"pred_sql": ""}, LINES[1]], "line 1: no 'question_id'"),
        ([[1, 2], LINES[1]], "entry 0: int 1 is no object"),
        ([LINES[0], "SELECT 1"], "line 2: str 'SELECT 1' is no object"),
        ([LINES[0] | {"pred_sql": ["SELECT 1"]}], "line 1: pred_sql is list ['SELECT 1']"),
        ([LINES[0] | {"pred_sql": 5}], "line 1: pred_sql is int 5"),
        ([LINES[0] | {"pred_sql": False}], "line 1: pred_sql is bool False"),
        ([LINES[0] | {"pred_sql": float("nan")}], "line 1: pred_sql is float nan"),
        ([LINES[0] | {"question_id": True}], "line 1: question_id is bool True"),
        ([LINES[0] | {"question_id": 0.5}], "line 1: question_id is float 0.5"),
        ([LINES[0] | {"question_id": float("inf")}], "line 1: question_id is float inf"),
        ([LINES[0] | {"question_id": None}], "line 1: question_id is NoneType None"),
        ([LINES[0] | {"question_id": "9" * 5000}], "line 1: question_id is str '999"),
        ([LINES[0] | {"question_id": "\u00b2"}], "line 1: question_id is str"),
    ],
)
def test_files_that_do_not_line_up(
    shop: Dataset, tmp_path: Path, lines: list[object], message: str
) -> None:
    path = write(tmp_path / "p.jsonl", lines)
    if message.startswith("entry"):  # a list as the first line: read as an array, and cut off there
        path = tmp_path / "p.json"
        path.write_text(json.dumps(lines[0]))
    with pytest.raises(PredictionError) as error:
        read_predictions(path, shop)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question_id": 0, "pre', "line 1: not JSON"),
        ('{"question_id": 0, "pred_sql": ' + "[" * 100_000, "nested too deeply"),
        ('{"question_id": ' + "9" * 5000 + ', "pred_sql": ""}', "line 1: not JSON"),
        ("[1,", "not valid JSON at line 1, column 4"),
        ('{"0": 5}', "question 0: its value is int 5"),
    ],
)
def test_texts_that_are_no_predictions(
    shop: Dataset, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(PredictionError, match=r"p\.jsonl") as error:
        read_predictions(tmp_path / "p.jsonl", shop)
    assert message in str(error.value)


def test_absent_files_and_folders(shop: Dataset, tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(PredictionError, match=r"No prediction file at|is a folder"):
            read_predictions(path, shop)


@given(
    text=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")),
    suffix=st.sampled_from(["json", "jsonl", "txt"]),
)
def test_no_text_is_more_than_an_error(
    toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"p.{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(PredictionError):
        found = read_predictions(path, load_dataset(toy_dataset))
        assert all(isinstance(one.pred_sql, str) for one in found)


def test_the_cases_are_read_or_told(cases: Path) -> None:
    folder = cases / "08_bad_pred_values"
    dataset = load_dataset(folder)
    queries = [example.query for example in dataset]
    for name in (
        "array.json",
        "array_indent.json",
        "bird.json",
        "bom.jsonl",
        "bom.txt",
        "strid.jsonl",
    ):
        assert [one.pred_sql for one in read_predictions(folder / name, dataset)] == queries
    for name, place in (("list.jsonl", 1), ("nan.jsonl", 3), ("num.jsonl", 1)):
        with pytest.raises(PredictionError, match=rf"{name}, line {place}: pred_sql is "):
            read_predictions(folder / name, dataset)
    assert read_predictions(folder / "surr.jsonl", dataset)[0].pred_sql == "SELECT \ufffd"
    lines = cases / "02_unicode_line_separators"
    for name in ("u2028.jsonl", "nel.jsonl"):
        assert [p.pred_sql for p in read_predictions(lines / name, load_dataset(lines))] == queries

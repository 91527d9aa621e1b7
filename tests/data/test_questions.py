from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.data.tables_json import schema_to_tables_json
from distill_sql.errors import DatasetError

RECORD = {"db_id": "shop", "question": "How many?", "query": "SELECT count(*) FROM customer"}


def written(folder: Path, text: str) -> Path:
    (folder / "dev.json").write_bytes(text.encode("utf-8", errors="surrogatepass"))
    return folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "has no questions"),
        ('{"a": 1}', "expected a list of questions, found dict"),
        ('[{"db_id": "shop", "question": "x"}]', "question 0 has no text for query/SQL"),
        ('["x"]', "question 0 has no text for db_id, question, query/SQL"),
        ('[{"db_id": "shop", "ques', "not valid JSON at line 1"),
        (
            '[{"db_id": "shopp", "question": "x", "query": "y"}]',
            r"unknown db_id 'shopp'.*Did you mean 'shop'\?",
        ),
    ],
)
def test_malformed_question_files(folder: Path, content: str, message: str) -> None:
    from_sqlite = load_dataset(folder).schema("shop")
    (folder / "tables.json").write_text(json.dumps([schema_to_tables_json(from_sqlite)]))
    (folder / "dev.json").write_text(content)
    with pytest.raises(DatasetError, match=message) as error:
        load_dataset(folder)
    assert "dev.json" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + json.dumps([RECORD, RECORD]),
        json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n",
        "\ufeff" + json.dumps(RECORD) + "\r\n\r\n" + json.dumps(RECORD),
        json.dumps([RECORD, RECORD | {"extra": [{"a": 1}], "evidence": None}], indent=2),
        json.dumps([RECORD, RECORD | {"query": None, "SQL": RECORD["query"]}]),
        json.dumps([{**RECORD, "question_id": value} for value in ("7", 7)]),
        json.dumps([{**RECORD, "question_id": value} for value in ([1], {"a": 2})]),
        json.dumps([{**RECORD, "question_id": value} for value in (True, 2.0)]),
        json.dumps([{**RECORD, "question_id": value} for value in (-1, 10**30)]),
    ],
)  # fmt: skip
def test_unambiguous_question_files_are_read(folder: Path, text: str) -> None:
    dataset = load_dataset(written(folder, text))
    assert [(e.question_id, e.query, e.evidence) for e in dataset] == [
        (0, RECORD["query"], ""),
        (1, RECORD["query"], ""),
    ]


def test_ids_are_kept_as_numbers_if_they_are_distinct(folder: Path) -> None:
    text = json.dumps([{**RECORD, "question_id": value} for value in ("7", 3, "0012")])
    assert [e.question_id for e in load_dataset(written(folder, text))] == [7, 3, 12]


def test_a_file_with_one_json_line_has_one_question(folder: Path) -> None:
    assert len(load_dataset(written(folder, json.dumps(RECORD)))) == 1


def test_a_lone_surrogate_becomes_the_replacement_character(folder: Path) -> None:
    text = json.dumps([RECORD | {"question": "odd \ud83d one"}])
    (example,) = load_dataset(written(folder, text))
    assert example.question == "odd \ufffd one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps([RECORD, RECORD | {"query": None}]),
         "question 1 has no text for query/SQL (found None)"),
        (json.dumps([RECORD | {"db_id": 5}]), "question 0 has no text for db_id (found 5)"),
        (json.dumps([RECORD | {"question": ["a"] * 99}]), "for question (found ['a', 'a'"),
        (json.dumps([RECORD | {"evidence": 1}]), "for evidence (found 1)"),
        (json.dumps(RECORD) + "\n{nothing", "line 2"),
        (json.dumps("text"), "found str"),
        ("null", "found NoneType"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[{}]", "no text for db_id, question, query/SQL"),
        ('[{"question_id": NaN}]', "NaN is not JSON"),
        ("", "not valid JSON"),
        ("\udcff", "not UTF-8"),
        *(
            (json.dumps([RECORD, RECORD | {"db_id": name}]), "question 1: the db_id")
            for name in ("..", "../x", "/etc", "a\\b", "a\0b", "", ".", "x" * 300)
        ),
    ],
)  # fmt: skip
def test_invalid_question_files_are_errors_with_the_place(
    folder: Path, text: str, said: str
) -> None:
    with pytest.raises(DatasetError) as error:
        load_dataset(written(folder, text))
    assert said in str(error.value)
    assert str(folder / "dev.json") in str(error.value)
    assert len(str(error.value)) < 600

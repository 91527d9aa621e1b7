from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.tables_json import schema_to_tables_json
from distill_sql.errors import DatasetError


def test_own_folder_without_tables_json(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert (dataset.name, dataset.split, len(dataset)) == ("mine", "dev", 2)
    assert [example.question_id for example in dataset] == [0, 1]
    assert dataset.schema("shop").table("orders")
    assert dataset.database_path("shop").is_file()
    assert len(dataset.limit(1)) == 1
    assert len(dataset.limit(None)) == 2


def test_fingerprint_follows_questions_and_database_bytes(folder: Path) -> None:
    first = load_dataset(folder).fingerprint
    assert load_dataset(folder).fingerprint == first
    database = folder / "database/shop/shop.sqlite"
    database.write_bytes(database.read_bytes().replace(b"lamp", b"lump"))
    second = load_dataset(folder).fingerprint
    records = json.loads((folder / "dev.json").read_text())
    records[0]["question"] = "How many?"
    (folder / "dev.json").write_text(json.dumps(records))
    assert len({first, second, load_dataset(folder).fingerprint}) == 3


def test_spider_splits_are_the_papers(spider_dir: Path) -> None:
    dev = load_dataset("spider", path=spider_dir)
    train = load_dataset("spider", split="train", path=spider_dir)
    assert (len(dev), len(dev.db_ids)) == (1034, 20)
    assert (len(train), len(train.db_ids)) == (8659, 146)
    assert dev.examples[0].query == "SELECT count(*) FROM singer"
    with pytest.raises(DatasetError, match="'baseball_1' of spider is missing"):
        train.database_path("baseball_1")


def test_bird_loads_with_evidence_and_descriptions(data_dir: Path) -> None:
    dev = load_dataset("bird", path=data_dir / "bird")
    assert (len(dev), len(dev.db_ids)) == (1534, 11)
    assert dev.examples[0].evidence.startswith("Eligible free rate")
    # mini-dev repeats two question ids, so positions stand in for them
    mini = load_dataset("bird", split="mini_dev", path=data_dir / "bird")
    assert sorted(example.question_id for example in mini) == list(range(500))
    column = dev.schema("superhero").table("superhero").columns[0]
    assert column.description == "the unique identifier of the superhero"
    assert column.comment == "the unique identifier of the superhero"


def test_questions_on_databases_that_are_there_go_on(data_dir: Path) -> None:
    dev = load_dataset("bird", path=data_dir / "bird")
    there = dev.present()
    assert there.db_ids == ("superhero",)
    assert [e.question_id for e in there] == [e.question_id for e in dev if e.db_id == "superhero"]
    assert len(dev.missing_databases) == 10
    assert "superhero" not in dev.missing_databases
    assert there.missing_databases == ()
    assert there.present() is there


def test_a_dataset_without_any_database_says_what_to_do(folder: Path) -> None:
    entry = schema_to_tables_json(load_dataset(folder).schema("shop"))
    (folder / "tables.json").write_text(json.dumps([entry]))
    (folder / "database/shop/shop.sqlite").unlink()
    dataset = load_dataset(folder)
    assert dataset.missing_databases == ("shop",)
    with pytest.raises(DatasetError, match="'shop' of mine is missing: no file at"):
        dataset.present()


def test_an_incomplete_database_is_an_error(folder: Path) -> None:
    (folder / "database/shop/shop.sqlite").write_bytes(b"")
    entry = schema_to_tables_json(load_dataset("pocket").schema("city_zoo"))
    (folder / "tables.json").write_text(json.dumps([entry | {"db_id": "shop"}]))
    dataset = load_dataset(folder)
    assert dataset.present() is dataset
    with pytest.raises(DatasetError, match="it is empty"):
        dataset.database_path("shop")


def test_folder_without_databases(folder: Path) -> None:
    shutil.rmtree(folder / "database")
    with pytest.raises(DatasetError, match=r"has no databases: expected the folder .*database"):
        load_dataset(folder)


def test_question_for_a_database_that_is_not_there(folder: Path) -> None:
    (folder / "dev.json").write_text('[{"db_id": "zoo", "question": "x", "query": "y"}]')
    with pytest.raises(DatasetError, match="unknown db_id 'zoo'; 0 databases are known"):
        load_dataset(folder)


def test_the_path_looked_for_is_named_without_tables_json(folder: Path) -> None:
    (folder / "database/shop/shop.sqlite").rename(folder / "database/shop/shop.sqlite3")
    with pytest.raises(DatasetError, match="unknown db_id 'shop'") as error:
        load_dataset(folder)
    for said in (
        folder / "dev.json", folder / "database/shop/shop.sqlite ", "Found", "shop.sqlite3",
    ):  # fmt: skip
        assert str(said).strip() in str(error.value)


def test_tables_json_cannot_name_a_path(folder: Path) -> None:
    entry = schema_to_tables_json(load_dataset(folder).schema("shop"))
    (folder / "tables.json").write_text(json.dumps([entry, entry | {"db_id": "../shop"}]))
    with pytest.raises(DatasetError, match=r"tables\.json, entry 1: the db_id '\.\./shop'"):
        load_dataset(folder)


def test_a_db_id_cannot_lead_out_of_the_folder(folder: Path) -> None:
    dataset = load_dataset(folder)
    shutil.copytree(folder / "database/shop", folder / "escaped")
    for name in ("../escaped", "..", "/etc", ""):
        with pytest.raises(DatasetError, match="cannot be used"):
            dataset.database_path(name)


def test_a_database_is_looked_for_once(folder: Path) -> None:
    dataset = load_dataset(folder)
    path = dataset.database_path("shop")
    path.rename(path.with_suffix(".moved"))
    assert dataset.database_path("shop") == path
    with pytest.raises(DatasetError, match="'shop' of mine is missing"):
        dataset.limit(1).database_path("shop")


def test_a_dataset_without_its_synonyms_differs_in_nothing_else() -> None:
    pocket = load_dataset("pocket", split="validation")
    plain = pocket.without_synonyms()
    assert plain.examples == pocket.examples
    assert plain.fingerprint != pocket.fingerprint
    for db_id in pocket.schemas:
        ours, theirs = plain.schema(db_id), pocket.schema(db_id)
        assert ours == theirs.without_synonyms() != theirs


# --- Another file of questions --------------------------------------------------------------------


def other_questions(folder: Path, *records: dict[str, str]) -> Path:
    file = folder / "synonyms" / "dev.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(records))
    return file


def test_other_questions_are_about_the_datasets_databases(folder: Path, tmp_path: Path) -> None:
    own = load_dataset(folder)
    query = "SELECT count(*) FROM customer"
    for field in ("question", "SpiderSynQuestion"):
        record = {"db_id": "shop", "SpiderQuestion": "Count.", "query": query, field: " How many? "}
        dataset = load_dataset(folder, questions=other_questions(tmp_path, record))
        assert [(e.question_id, e.question, e.query) for e in dataset] == [(0, "How many?", query)]
        assert dataset.schema("shop") == own.schema("shop")
        assert dataset.database_path("shop") == own.database_path("shop")
        about = dataset.description()
        assert (about["name"], about["split"]) == ("mine+synonyms/dev", "dev")
        assert about["fingerprint"] != own.fingerprint
    same = other_questions(tmp_path, *json.loads((folder / "dev.json").read_text()))
    assert load_dataset(folder, questions=same).fingerprint == own.fingerprint


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"db_id": "shops", "question": "?", "query": "SELECT 1"}], "unknown db_id 'shops'"),
        ([{"db_id": "shop", "SpiderQuestion": "?", "query": "SELECT 1"}], "no text for question"),
        ([], "no questions"),
    ],
)
def test_other_questions_are_checked(
    folder: Path, tmp_path: Path, records: list[dict[str, str]], message: str
) -> None:
    file = other_questions(tmp_path, *records)
    with pytest.raises(DatasetError, match=message) as error:
        load_dataset(folder, questions=file)
    assert str(file) in str(error.value)
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset(folder, questions=tmp_path / "none.json")


def test_spider_syn_is_spiders_dev_in_other_words(data_dir: Path, spider_dev: Dataset) -> None:
    file = data_dir / "spider-syn" / "dev.json"
    if not file.is_file():
        pytest.skip(f"no Spider-Syn at {file}")
    found = load_dataset("spider", path=data_dir / "spider", questions=file)
    assert found.name == "spider+spider-syn/dev"
    assert [e.db_id for e in found] == [e.db_id for e in spider_dev]
    assert found.examples[0].question == "How many vocalists do we have?"
    assert spider_dev.examples[0].question == "How many singers do we have?"

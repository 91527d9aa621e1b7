from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from distill_sql.data.datasets import has_split, load_dataset, reported_split
from distill_sql.data.schema import schema_to_tables_json
from distill_sql.errors import DatasetError


@pytest.fixture
def folder(toy_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the toy dataset that a test may damage."""
    return Path(shutil.copytree(toy_dataset, tmp_path / "mine"))


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


def test_spider_directory_from_the_environment(
    spider_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIDER_DIR", str(spider_dir))
    assert len(load_dataset("spider")) == 1034


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


def test_a_database_that_is_not_whole_is_not_passed_over(folder: Path) -> None:
    (folder / "database/shop/shop.sqlite").write_bytes(b"")
    entry = schema_to_tables_json(load_dataset("pocket").schema("city_zoo"))
    (folder / "tables.json").write_text(json.dumps([entry | {"db_id": "shop"}]))
    dataset = load_dataset(folder)
    assert dataset.present() is dataset
    with pytest.raises(DatasetError, match="it is empty"):
        dataset.database_path("shop")


def test_birds_training_databases_have_a_folder_of_their_own(
    toy_dataset: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train"
    shutil.copytree(toy_dataset / "database", train / "train_databases")
    shutil.copy(toy_dataset / "dev.json", train / "train.json")
    dataset = load_dataset("bird", split="train", path=tmp_path)
    assert dataset.database_path("shop").is_relative_to(train)
    assert dataset.present() is dataset


def test_birds_mini_dev_stands_in_for_dev(data_dir: Path, tmp_path: Path) -> None:
    assert reported_split("bird", path=data_dir / "bird") == "dev"
    (tmp_path / "mini_dev").mkdir()
    (tmp_path / "dev_databases").mkdir()
    assert reported_split("bird", path=tmp_path) == "dev"  # whose absence is then told
    for name in ("mini_dev_sqlite.json", "mini_dev_sqlite_tables.json"):
        shutil.copy(data_dir / "bird/mini_dev" / name, tmp_path / "mini_dev")
    assert reported_split("bird", path=tmp_path) == "mini_dev"
    assert len(load_dataset("bird", split="mini_dev", path=tmp_path)) == 500


def test_unknown_name_split_and_folder(spider_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected pocket, spider, bird, or a folder"):
        load_dataset("spidr")
    with pytest.raises(DatasetError, match="no split 'test'; it has dev, train"):
        load_dataset("spider", split="test", path=spider_dir)
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset("spider", path=tmp_path / "nowhere")


def test_bird_must_be_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRD_DIR", raising=False)
    with pytest.raises(DatasetError, match="Set BIRD_DIR"):
        load_dataset("bird")


def test_folder_without_databases(folder: Path) -> None:
    shutil.rmtree(folder / "database")
    with pytest.raises(DatasetError, match=r"has no databases: expected the folder .*database"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no questions"),
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


RECORD = {"db_id": "shop", "question": "How many?", "query": "SELECT count(*) FROM customer"}


def written(folder: Path, text: str) -> Path:
    (folder / "dev.json").write_bytes(text.encode("utf-8", errors="surrogatepass"))
    return folder


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
def test_question_files_that_can_only_mean_one_thing_are_read(folder: Path, text: str) -> None:
    dataset = load_dataset(written(folder, text))
    assert [(e.question_id, e.query, e.evidence) for e in dataset] == [
        (0, RECORD["query"], ""),
        (1, RECORD["query"], ""),
    ]


def test_ids_are_kept_as_numbers_if_they_are_distinct(folder: Path) -> None:
    text = json.dumps([{**RECORD, "question_id": value} for value in ("7", 3, "0012")])
    assert [e.question_id for e in load_dataset(written(folder, text))] == [7, 3, 12]


def test_one_question_as_a_line_is_one_question(folder: Path) -> None:
    assert len(load_dataset(written(folder, json.dumps(RECORD)))) == 1


def test_a_half_of_a_pair_becomes_a_character_that_can_be_written(folder: Path) -> None:
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
def test_question_files_that_cannot_be_read_name_the_place(
    folder: Path, text: str, said: str
) -> None:
    with pytest.raises(DatasetError) as error:
        load_dataset(written(folder, text))
    assert said in str(error.value)
    assert str(folder / "dev.json") in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("split", ["../x", "/etc/x", "", "..", "a\0b", "x" * 300])
def test_a_split_is_a_name(folder: Path, split: str) -> None:
    (folder.parent / "x.json").write_text(json.dumps([RECORD]))
    for dataset in (folder, "pocket"):
        with pytest.raises(DatasetError, match="The split"):
            load_dataset(dataset, split=split)


def test_tables_json_cannot_name_a_path(folder: Path) -> None:
    entry = schema_to_tables_json(load_dataset(folder).schema("shop"))
    (folder / "tables.json").write_text(json.dumps([entry, entry | {"db_id": "../shop"}]))
    with pytest.raises(DatasetError, match=r"tables\.json, entry 1: the db_id '\.\./shop'"):
        load_dataset(folder)


def test_a_dataset_made_by_hand_stays_in_its_folder(folder: Path) -> None:
    dataset = load_dataset(folder)
    shutil.copytree(folder / "database/shop", folder / "escaped")
    for name in ("../escaped", "..", "/etc", ""):
        with pytest.raises(DatasetError, match="cannot be used"):
            dataset.database_path(name)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "no/such/folder"])
def test_a_dataset_that_cannot_be_a_folder_is_told(name: str) -> None:
    with pytest.raises(DatasetError, match="No dataset"):
        load_dataset(name)
    with pytest.raises(DatasetError, match="folder given for spider does not exist"):
        load_dataset("spider", path=name)


def test_splits_that_are_there(folder: Path, spider_dir: Path) -> None:
    assert has_split(folder, "dev")
    assert not has_split(folder, "train")
    assert has_split("pocket", "validation")
    assert has_split("spider", "train", path=spider_dir)
    assert not has_split("spider", "test", path=spider_dir)


def test_a_database_is_looked_for_once(folder: Path) -> None:
    dataset = load_dataset(folder)
    path = dataset.database_path("shop")
    path.rename(path.with_suffix(".moved"))
    assert dataset.database_path("shop") == path
    with pytest.raises(DatasetError, match="'shop' of mine is missing"):
        dataset.limit(1).database_path("shop")


@pytest.fixture
def hub(toy_dataset: Path, tmp_path: Path) -> Iterator[str]:
    """A local stand-in for the hub that serves one file: Spider's archive."""
    archive = tmp_path / "spider.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(toy_dataset / "dev.json", "spider/dev.json")
        file.writestr("spider/tables.json", "[]")
        file.write(toy_dataset / "database/shop/shop.sqlite", "spider/database/shop/shop.sqlite")
    body = archive.read_bytes()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found = self.path == "/datasets/xlangai/spider/resolve/script/data/spider.zip"
            self.send_response(200 if found else 404)
            self.send_header("ETag", '"abc"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


FETCH = "from distill_sql.data.datasets import fetch_spider; print(fetch_spider())"


def fetch(tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "DISTILL_SQL_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
    return subprocess.run(
        [sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True, check=False
    )


def test_spider_is_fetched_from_the_hub_once(hub: str, tmp_path: Path) -> None:
    first = fetch(tmp_path, hub)
    assert first.returncode == 0, first.stderr
    root = Path(first.stdout.strip())
    assert (root / "database/shop/shop.sqlite").is_file()
    again = fetch(tmp_path, "http://127.0.0.1:9")  # nothing listens: the copy must do
    assert again.stdout == first.stdout


def test_when_the_hub_has_it_not_the_error_names_the_way_out(hub: str, tmp_path: Path) -> None:
    result = fetch(tmp_path, f"{hub}/elsewhere")
    assert "could not be fetched from the hub" in result.stderr
    assert "set SPIDER_DIR" in result.stderr


def test_a_dataset_without_its_synonyms_differs_in_nothing_else() -> None:
    pocket = load_dataset("pocket", split="validation")
    plain = pocket.without_synonyms()
    assert plain.examples == pocket.examples
    assert plain.fingerprint != pocket.fingerprint
    for db_id in pocket.schemas:
        ours, theirs = plain.schema(db_id), pocket.schema(db_id)
        assert ours == theirs.without_synonyms() != theirs

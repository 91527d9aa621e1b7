from __future__ import annotations

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
from distill_sql.errors import DatasetError


def test_spider_directory_from_the_environment(
    spider_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIDER_DIR", str(spider_dir))
    assert len(load_dataset("spider")) == 1034


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
    assert reported_split("bird", path=tmp_path) == "dev"  # loading it then raises an error
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


def test_bird_needs_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRD_DIR", raising=False)
    with pytest.raises(DatasetError, match="Set BIRD_DIR"):
        load_dataset("bird")


@pytest.mark.parametrize("split", ["../x", "/etc/x", "", "..", "a\0b", "x" * 300])
def test_a_split_is_a_name(folder: Path, split: str) -> None:
    (folder.parent / "x.json").write_text("[]")
    for dataset in (folder, "pocket"):
        with pytest.raises(DatasetError, match="The split"):
            load_dataset(dataset, split=split)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "no/such/folder"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
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


FETCH = "from distill_sql.data.layouts import fetch_spider; print(fetch_spider())"


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
    again = fetch(tmp_path, "http://127.0.0.1:9")  # nothing listens there: the copy is used
    assert again.stdout == first.stdout


def test_without_the_hub_the_error_names_the_variable(hub: str, tmp_path: Path) -> None:
    result = fetch(tmp_path, f"{hub}/elsewhere")
    assert "could not be fetched from the hub" in result.stderr
    assert "set SPIDER_DIR" in result.stderr

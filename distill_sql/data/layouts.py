"""Locating a dataset: its folder, and the files of each split in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distill_sql.data.archives import unpack_spider
from distill_sql.data.carried import carried_folder
from distill_sql.data.databases import check_name, is_file, is_folder
from distill_sql.errors import DatasetError
from distill_sql.settings import DATASET_VARIABLES, cache_dir

#: The original archive on the hub (questions, schemas and databases in one zip file).
SPIDER_HUB = ("xlangai/spider", "data/spider.zip")
#: The branch that has it: the main branch has the questions only.
SPIDER_HUB_REVISION = "script"


@dataclass(frozen=True)
class Layout:
    """The files of one kind of dataset, relative to its root."""

    splits: Mapping[str, tuple[str, ...]]
    tables: tuple[str, ...] = ("tables.json",)
    databases: str = "database"
    #: The folder of a split's databases, if the split has its own.
    own_databases: Mapping[str, str] = field(default_factory=dict)


_SPIDER = Layout({"train": ("train_spider.json", "train_others.json"), "dev": ("dev.json",)})
_BIRD = Layout(
    {
        "train": ("train/train.json",),
        "dev": ("dev/dev.json",),
        "mini_dev": ("mini_dev/mini_dev_sqlite.json",),
    },
    tables=(
        "mini_dev/mini_dev_sqlite_tables.json",
        "dev/dev_tables.json",
        "train/train_tables.json",
    ),
    databases="dev_databases",
    own_databases={"train": "train/train_databases"},
)


def locate(
    name_or_path: str | Path, split: str, path: str | Path | None
) -> tuple[str, Path, Layout]:
    """A dataset's name, its folder, and its layout; the arguments are ``load_dataset``'s."""
    name = str(name_or_path)
    check_name(split, what="The split")
    if (root := carried_folder(name, split)) is not None:
        return name, root, _folder_layout(split)
    if name in DATASET_VARIABLES:
        return name, _benchmark_root(name, path), _SPIDER if name == "spider" else _BIRD
    root = Path(name_or_path)
    if not is_folder(root):
        raise DatasetError(
            f"No dataset {name!r}: expected pocket, spider, bird, or a folder in Spider's layout "
            f"(dev.json, database/<db_id>/<db_id>.sqlite), and {root} is not a folder."
        )
    return root.resolve().name, root, _folder_layout(split)


def _folder_layout(split: str) -> Layout:
    return Layout({split: (f"{split}.json",)})


def _benchmark_root(name: str, path: str | Path | None) -> Path:
    variable = DATASET_VARIABLES[name]
    given = path or os.environ.get(variable)
    if given:
        root = Path(given).expanduser()
        if not is_folder(root):
            raise DatasetError(
                f"The folder given for {name} does not exist: {root}. Set {variable} (or the path "
                "parameter) to the folder with its questions and databases."
            )
        return root
    if name == "spider":
        return fetch_spider()
    raise DatasetError(
        f"No folder is given for {name}. Set {variable} to its folder; it is too large to be "
        "downloaded automatically. Download it from its authors' page and unpack it."
    )


def fetch_spider() -> Path:
    """Spider's folder in the cache; on first use, Spider is downloaded from the hub.

    Raises :class:`DatasetError` without a network: set ``SPIDER_DIR`` instead.
    """
    target = cache_dir() / "spider"
    if is_file(target / "dev.json"):
        return target
    from huggingface_hub import hf_hub_download

    try:
        archive = hf_hub_download(*SPIDER_HUB, repo_type="dataset", revision=SPIDER_HUB_REVISION)
    except Exception as error:  # the hub's client raises many kinds, all meaning "not downloaded"
        raise DatasetError(
            f"Spider is not on this machine and could not be fetched from the hub "
            f"({type(error).__name__}: {error}). Download it from the authors' page and set "
            "SPIDER_DIR to the folder with dev.json, tables.json and database/."
        ) from error
    return unpack_spider(Path(archive), target)

"""Settings: environment variables, the folders that they name, checks of command-line numbers.

:data:`VARIABLES` has every environment variable of the package. ``distill-sql book`` executes
chapters in the book's root and JupyterLab in ``notebooks/``; both find the same folders.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from platformdirs import user_cache_path

from distill_sql.errors import ParameterError

#: The environment variables, with the value of each.
VARIABLES = {
    "SPIDER_DIR": "folder of Spider: dev.json, train_spider.json, tables.json, database/",
    "BIRD_DIR": "folder of BIRD, as its archives unpack",
    "MODELS_DIR": "folder of base models: a folder or a GGUF file each; else the hub is used",
    "TOKENIZER_DIR": "folder of the tokenizer that counts prompts of Qwen2.5 models",
    "PREDICTIONS_DIR": "folder of published predictions, one <model>.jsonl each",
    "OPENAI_API_KEY": "key of the teacher's endpoint",
    "OPENAI_BASE_URL": "base URL of the teacher's endpoint; without it OpenAI's",
    "DISTILL_SQL_CACHE": "folder for what can be rebuilt; without it the user's cache",
    "GIT_COMMIT": "commit of a copy of the code without its git history",
}
#: The variables for the folders of datasets, by the dataset's name.
DATASET_VARIABLES = {"spider": "SPIDER_DIR", "bird": "BIRD_DIR"}


def cache_dir() -> Path:
    """The folder for what can be rebuilt: ``DISTILL_SQL_CACHE``, or the user's cache folder."""
    given = os.environ.get("DISTILL_SQL_CACHE")
    return Path(given).expanduser() if given else user_cache_path("distill-sql")


def book_root(start: Path | None = None) -> Path | None:
    """The nearest folder with a book, from ``start`` (default: the current folder) upwards.

    A folder with a book has ``_toc.yml`` and ``notebooks/``. None if there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


def work_folder() -> Path:
    """The folder for traces, students and the embedded teacher's answers: ``book/.work``.

    It is in the root of the book around the current folder, else in the current folder.
    """
    return (book_root() or Path.cwd()) / "book" / ".work"


def check_numbers(arguments: argparse.Namespace, **least: int) -> None:
    """Raise :class:`ParameterError` if an argument is below its minimum in ``least``.

    Arguments without a value are not checked.
    """
    for name, low in least.items():
        value = getattr(arguments, name)
        if value is not None and value < low:
            option = name.replace("_", "-")
            raise ParameterError(f"--{option} {value}: expected {low} or more.")

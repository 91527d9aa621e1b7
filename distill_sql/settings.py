"""What comes from outside: environment variables, the folders they name, numbers on a command line.

Every variable that the package reads is in :data:`VARIABLES`. A chapter is run from the book's root
by ``distill-sql book``, and from ``notebooks/`` by JupyterLab; both find the same folders.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from platformdirs import user_cache_path

from distill_sql.errors import ParameterError

#: Environment variables, and what each is for.
VARIABLES = {
    "SPIDER_DIR": "folder of Spider: dev.json, train_spider.json, tables.json, database/",
    "BIRD_DIR": "folder of BIRD, as its archives unpack",
    "MODELS_DIR": "folder of base models, one folder each; without it they come from the hub",
    "TOKENIZER_DIR": "folder of the tokenizer that counts prompts of Qwen2.5 models",
    "PREDICTIONS_DIR": "folder of published predictions, one <model>.jsonl each",
    "OPENAI_API_KEY": "key of the teacher's endpoint",
    "OPENAI_BASE_URL": "address of the teacher's endpoint; without it OpenAI's",
    "DISTILL_SQL_CACHE": "folder for what can be made again; without it the user's cache",
    "GIT_COMMIT": "commit that a copy without a history was made from",
}
#: The variables that name a dataset's folder, by the dataset's name.
DATASET_VARIABLES = {"spider": "SPIDER_DIR", "bird": "BIRD_DIR"}


def cache_dir() -> Path:
    """The folder for what can be made again: ``DISTILL_SQL_CACHE``, or the user's cache."""
    given = os.environ.get("DISTILL_SQL_CACHE")
    return Path(given).expanduser() if given else user_cache_path("distill-sql")


def book_root(start: Path | None = None) -> Path | None:
    """The nearest folder from ``start`` upwards (default: the current one) that holds a book.

    That is a folder with ``_toc.yml`` and ``notebooks/``; None if there is no such folder.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


def work_folder() -> Path:
    """The folder for traces, students and the embedded teacher's answers: ``book/.work``.

    It lies in the book around the current folder, or in the current folder if there is no book.
    """
    return (book_root() or Path.cwd()) / "book" / ".work"


def check_numbers(arguments: argparse.Namespace, **least: int) -> None:
    """Raise :class:`ParameterError` if an argument is below the least that ``least`` has for it.

    Arguments that were left out are passed over.
    """
    for name, low in least.items():
        value = getattr(arguments, name)
        if value is not None and value < low:
            option = name.replace("_", "-")
            raise ParameterError(f"--{option} {value}: expected {low} or more.")

"""The teacher that ships with the package: a small model, for use without a key.

The server is :mod:`distill_sql.models.endpoint` in a separate process. It serves any model folder
that transformers can load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from distill_sql.data.carried import CHECKPOINTS
from distill_sql.errors import MissingDependencyError, TeacherError
from distill_sql.models.folders import name_with_digest
from distill_sql.teacher.addresses import EMBEDDED as BASE_URL
from distill_sql.teacher.local import Served, started

__all__ = ["ANSWER", "AT_ONCE", "BASE_URL", "FOLDER", "name", "running", "serving"]

#: The teacher that ships with the package.
FOLDER = CHECKPOINTS / "pocket-teacher"
#: Concurrent requests to use: requests on one database are answered together.
AT_ONCE = 192
#: Timeout of an answer in seconds. A busy machine takes minutes for so many requests, and a retry
#: after a timeout would add to its load.
ANSWER = 1800.0


def name(model: Path = FOLDER) -> str:
    """The model name of the teacher in a folder."""
    return name_with_digest(model)


@contextmanager
def running(model: Path = FOLDER) -> Iterator[Served]:
    """Serve a model folder on this machine while the context is open.

    The server ends with this process, however that ends. Raises :class:`MissingDependencyError`
    without torch, transformers and tornado, and :class:`TeacherError` if the server does not start.
    """
    if not (model / "config.json").is_file():
        raise TeacherError(f"No model in {model}: expected config.json, weights and a tokenizer.")
    if not all(map(find_spec, ("torch", "transformers", "tornado"))):
        raise MissingDependencyError(
            "Serving the embedded teacher needs torch and tornado: "
            "pip install 'distill-sql[train]'."
        )
    with started("distill_sql.models.endpoint", [str(model)], what=str(model)) as served:
        yield served


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """The base URL of :func:`running`."""
    with running(model) as served:
        yield served.url

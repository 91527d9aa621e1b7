"""Where the book around the current folder is, and where its chapters leave what others read.

A chapter is run from the book's root by ``distill-sql book``, and from ``notebooks/`` by
JupyterLab. Both find the same files.
"""

from __future__ import annotations

from pathlib import Path


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

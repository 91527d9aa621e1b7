"""Lets ``papermill notebooks/01_data.md out.ipynb -p name value`` read a text chapter.

papermill itself reads only JSON. It finds this handler through the entry point ``papermill.io``
named ``notebooks/``, for every path with this prefix. Used directly, papermill only warns about
unknown parameters and accepts any value; ``distill-sql book run`` rejects both.
"""

from __future__ import annotations

from pathlib import Path


class TextNotebooks:
    """papermill's handler for paths below ``notebooks/``."""

    @classmethod
    def read(cls, path: str) -> str:
        import nbformat

        from distill_sql.book.chapters import Chapter

        source = Path(path)
        text = source.read_text(encoding="utf-8")
        if source.suffix != ".md":
            return text
        notebook = Chapter(source.stem, source, text).notebook()
        return str(nbformat.writes(notebook))  # type: ignore[no-untyped-call]

    @classmethod
    def write(cls, text: str, path: str) -> None:
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        return [str(entry) for entry in Path(path).iterdir()]

    @classmethod
    def pretty_path(cls, path: str) -> str:
        return path

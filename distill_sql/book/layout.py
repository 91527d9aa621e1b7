"""The folders and files of a book."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distill_sql.errors import ChapterError, MissingDependencyError
from distill_sql.settings import book_root

_CHAPTER_ENTRY = "book/chapters/"


@dataclass(frozen=True)
class Book:
    """A folder with ``_toc.yml``, ``_config.yml``, ``notebooks/`` and ``book/``."""

    root: Path

    @property
    def notebooks(self) -> Path:
        """Chapters as text: the sources."""
        return self.root / "notebooks"

    @property
    def chapters(self) -> Path:
        """Chapters as notebooks executed by papermill."""
        return self.root / "book" / "chapters"

    @property
    def work(self) -> Path:
        """Working files, such as running and failed notebooks; may be deleted at any time."""
        return self.root / "book" / ".work"

    @property
    def static(self) -> Path:
        return self.root / "book" / "_static"

    @property
    def site(self) -> Path:
        return self.root / "_build" / "html"

    @cached_property
    def toc(self) -> tuple[str, ...]:
        """Every page of ``_toc.yml`` in reading order, as paths without suffix."""
        try:
            import yaml
        except ImportError:
            raise missing_book_extra("PyYAML") from None
        path = self.root / "_toc.yml"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ChapterError(f"cannot read the table of contents {path}: {error}") from None

        def pages(node: object) -> list[str]:
            if isinstance(node, list):
                return [page for item in node for page in pages(item)]
            if not isinstance(node, dict):
                return []
            own = [str(node[key]) for key in ("root", "file") if key in node]
            return own + [page for value in node.values() for page in pages(value)]

        return tuple(page.removesuffix(".md").removesuffix(".ipynb") for page in pages(content))

    @cached_property
    def chapter_names(self) -> tuple[str, ...]:
        """The names of the chapters in the order of the table of contents.

        Raises ChapterError for an entry without a source, or a source without an entry.
        """
        listed = [p.removeprefix(_CHAPTER_ENTRY) for p in self.toc if p.startswith(_CHAPTER_ENTRY)]
        present = {path.stem for path in self.notebooks.glob("*.md")}
        for name in listed:
            if name not in present:
                raise ChapterError(
                    f"_toc.yml lists {_CHAPTER_ENTRY}{name}, but there is no notebooks/{name}.md: "
                    "write it, or take the entry out"
                )
        for name in sorted(present - set(listed)):
            raise ChapterError(
                f"notebooks/{name}.md is not in _toc.yml: add the entry {_CHAPTER_ENTRY}{name}, "
                "or move the file away"
            )
        return tuple(listed)

    def chapter_name(self, text: str) -> str:
        """The chapter with the name, number or source path ``text``."""
        wanted = Path(text).name.removesuffix(".md")
        for name in self.chapter_names:
            number, _, title = name.partition("_")
            if wanted in {name, number, number.lstrip("0"), title}:
                return name
        raise ChapterError(f"no chapter {text!r}: the book has {', '.join(self.chapter_names)}")


def find_book(start: Path | None = None) -> Book:
    """The book that contains ``start`` (default: the current folder): the nearest ``_toc.yml``."""
    root = book_root(start)
    if root is not None:
        return Book(root=root)
    raise ChapterError(
        f"no book in {(start or Path.cwd()).resolve()} or above it: expected a folder with "
        "_toc.yml and notebooks/. Change into a checkout of distill-sql first"
    )


def missing_book_extra(package: str) -> MissingDependencyError:
    """The error for a package of the ``book`` extra that is not installed."""
    return MissingDependencyError(
        f"{package} is not installed, and the book needs it: pip install 'distill-sql[book]'"
    )

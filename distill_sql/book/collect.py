"""Collects the figures that executed chapters noted, and the time of each chapter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distill_sql.book import cache, figures
from distill_sql.book.build import plan
from distill_sql.book.layout import Book
from distill_sql.errors import ChapterError
from distill_sql.settings import DATASET_VARIABLES

#: The parameter whose value begins the name of a figure. If another parameter was changed, the
#: figure is not the book's.
_DATASET = "dataset"


def collect(book: Book) -> dict[str, tuple[float, str]]:
    """Every figure by ``<dataset>.<chapter>.<name>``, with its unit.

    ``<dataset>.<chapter>.seconds`` is the time of a chapter, ``<dataset>.book.seconds`` the time of
    all chapters. It is the time of a whole build only if nothing, such as students, was reused.
    Raises :class:`ChapterError` for a chapter that is missing, stale or had changed parameters.
    """
    found: dict[str, tuple[float, str]] = {}
    total = 0.0
    datasets: set[str] = set()
    for name in book.chapter_names:
        path = book.chapters / f"{name}.ipynb"
        record = cache.Record.read(path)
        if record is None:
            raise ChapterError(f"chapter {name} was never executed. Run: distill-sql book build")
        if own := sorted(record.overrides.keys() - {_DATASET}):
            raise ChapterError(
                f"chapter {name} ran with {', '.join(own)} set, so its figures are not the "
                f"book's. Run: distill-sql book build --chapter {name} --force"
            )
        if reason := plan(book, names=[name], parameters=record.overrides)[0].reason:
            raise ChapterError(f"chapter {name} is stale: {reason}. Run: distill-sql book build")
        dataset = record.parameters.get(_DATASET)
        if dataset:
            dataset = Path(dataset).name  # of a folder, its name
            datasets.add(dataset)
        title = name.partition("_")[2] or name
        prefix = f"{dataset or 'book'}.{title}"
        for figure, noted in figures.noted(path).items():
            found[f"{prefix}.{figure}"] = noted["value"], noted["unit"]
        found[f"{prefix}.seconds"] = record.seconds, "s"
        total += record.seconds
    if len(datasets) != 1:
        raise ChapterError(
            f"chapters were executed on {', '.join(sorted(datasets)) or 'no dataset'}; their "
            "figures can be collected only from one. Run: distill-sql book build --dataset NAME"
        )
    found[f"{datasets.pop()}.book.seconds"] = total, "s"
    return found


def made_by(names: Iterable[str]) -> str:
    """The command that builds the book with these figures."""
    dataset = next(iter(names)).partition(".")[0]
    variable = DATASET_VARIABLES.get(dataset)
    if variable:
        return f"make book DATASET={dataset} {variable}=/path/to/{dataset}"
    return "make book" if dataset == "pocket" else f"make book DATASET={dataset}"

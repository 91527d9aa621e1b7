"""The footer of every chapter: its parameters, data, machine and versions."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from distill_sql.data.datasets import Dataset
from distill_sql.provenance import elapsed, git_state, hardware, machine_in_words, packages


def footer(
    parameters: Mapping[str, Any] | None = None,
    *datasets: Dataset,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Display the provenance of the calling chapter, in its last cell.

    ``parameters`` are the chapter's parameters by name. ``extra`` rows follow the standard ones.
    The wall time starts at the first import of :mod:`~distill_sql.provenance`, so it does not
    include the start of the kernel.
    """
    from IPython.display import display

    display({"text/html": footer_html(parameters, *datasets, extra=extra)}, raw=True)  # type: ignore[no-untyped-call]


def footer_html(
    parameters: Mapping[str, Any] | None = None,
    *datasets: Dataset,
    extra: Mapping[str, str] | None = None,
) -> str:
    """The HTML of :func:`footer`."""
    state = git_state()
    machine = hardware()
    rows: dict[str, str] = {}
    if parameters:
        rows["Parameters"] = ", ".join(f"{name} = {value!r}" for name, value in parameters.items())
    for dataset in datasets:
        about = dataset.description()
        rows["Data" if len(datasets) == 1 else f"Data ({dataset.split})"] = (
            f"{about['name']} {about['split']}: {about['examples']:,} examples, "
            f"{about['databases']:,} databases, sha256 {about['fingerprint'][:12]}"
        )
    rows["Machine"] = machine_in_words(machine)
    rows["Versions"] = ", ".join(f"{name} {version}" for name, version in packages().items())
    if state["commit"] is None:
        rows["Commit"] = "not in a git checkout"
    else:
        rows["Commit"] = state["commit"][:12] + (" with local edits" if state["dirty"] else "")
    rows["Wall time"] = f"{elapsed():.1f} s"
    rows["Executed"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows |= extra or {}
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in rows.items()
    )
    return (
        '<aside class="ds-provenance" aria-label="Provenance of this chapter">'
        f"<p>How this page was made</p><dl>{items}</dl></aside>"
    )

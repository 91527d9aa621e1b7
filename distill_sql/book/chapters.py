"""Chapters as text notebooks, and the parameters they declare.

A chapter is ``notebooks/NN_name.md`` in jupytext's MyST format, with exactly one code cell tagged
``parameters``. Each line of that cell is ``name = literal  # help``. A help text that lists
alternatives separated by ``|`` declares the allowed values::

    dataset = "pocket"  # pocket | spider | bird | a folder in Spider's layout
    size = "0.5b"  # 0.5b | 1.5b | 3b; students this size are trained
    predictions = ""  # empty | a folder of prediction files
    seed = 0  # any whole number

An alternative is a literal, the word ``empty``, or begins with ``a folder`` or ``a file``, which
stands for any existing path. Text after a ``;`` is an explanation. Without ``|`` (and without a
leading ``a folder`` or ``a file``) every value of the default's type is allowed.

A value from the command line gets the type of the default: a size such as ``0.5b``, or ``0.5``,
stays a string if the default is one.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sql.book.layout import Book, missing_book_extra
from distill_sql.errors import ChapterError, ParameterError

if TYPE_CHECKING:
    from nbformat import NotebookNode

_TAG = "parameters"
_PATHS = ("a folder", "a file")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a chapter: its name, default (a Python literal) and help text."""

    name: str
    default: Any
    help: str

    @cached_property
    def choices(self) -> tuple[str, ...] | None:
        """The declared alternatives, or None if any value of the right type is allowed."""
        declared = self.help.partition(";")[0].strip()
        if "|" not in declared and not declared.startswith(_PATHS):
            return None
        return tuple(choice.strip() for choice in declared.split("|"))

    @property
    def expected(self) -> str:
        """A description of the allowed values, for messages."""
        if self.choices is None:
            return f"a value of type {type(self.default).__name__}"
        return " | ".join(self.choices)

    def parse(self, value: object, *, root: Path) -> Any:
        """``value`` as this parameter's type, checked against its choices.

        Text is converted; other values must have the right type. A path is relative to the current
        folder, and is returned relative to ``root``, where chapters run. Raises ValueError with the
        reason if the value is not allowed.
        """
        parsed = self._convert(value)
        if self.choices is None:
            return parsed
        if isinstance(parsed, list):
            return [self._choose(item, root) for item in parsed]
        return self._choose(parsed, root)

    def _choose(self, value: Any, root: Path) -> Any:
        assert self.choices is not None
        literal = "empty" if value == "" else str(value)
        if literal in self.choices:
            return value
        if value != "" and any(choice.startswith(_PATHS) for choice in self.choices):
            path = Path(str(value)).expanduser()
            found = path if path.exists() else root / path
            if found.exists():
                return os.path.relpath(found, root)
            raise ValueError(f"expected {self.expected}; there is no file or folder of that name")
        raise ValueError(f"expected {self.expected}")

    def _convert(self, value: object) -> Any:
        kind = type(self.default)
        if not isinstance(value, str):
            if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
                return value
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                return float(value)
            raise ValueError(f"expected {self.expected}, found {type(value).__name__}")
        if kind is str:
            return value
        if kind is bool:
            if value.lower() in {"true", "false"}:
                return value.lower() == "true"
            raise ValueError("expected true or false")
        if kind in {int, float}:
            try:
                return kind(value)
            except ValueError:
                noun = "a whole number" if kind is int else "a number"
                raise ValueError(f"expected {noun}") from None
        if value.startswith("["):
            try:
                return list(json.loads(value))
            except json.JSONDecodeError as error:
                raise ValueError(f"expected a JSON list or words with commas: {error}") from None
        return [item.strip() for item in value.split(",") if item.strip()]


@dataclass(frozen=True)
class Chapter:
    """The source of one chapter."""

    name: str
    path: Path
    text: str

    @classmethod
    def load(cls, book: Book, name: str) -> Chapter:
        path = book.notebooks / f"{name}.md"
        try:
            return cls(name=name, path=path, text=path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ChapterError(f"cannot read chapter {path}: {error}") from None

    def notebook(self) -> NotebookNode:
        """The chapter as a notebook without outputs, for the kernel of this interpreter."""
        try:
            import jupytext
            from nbformat import ValidationError
            from yaml import YAMLError
        except ImportError as error:
            raise missing_book_extra(error.name or "jupytext") from None
        try:
            notebook: NotebookNode = jupytext.reads(self.text, fmt="md:myst")
        except (ValueError, YAMLError, ValidationError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ChapterError(f"{self.path} is not a MyST text notebook: {reason}") from None
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        return notebook

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The declared parameters by name; ChapterError if the cell breaks the rules above."""
        try:
            import papermill
        except ImportError:
            raise missing_book_extra("papermill") from None
        notebook = self.notebook()
        cells = [cell for cell in notebook.cells if _TAG in cell.metadata.get("tags", [])]
        if len(cells) != 1:
            raise ChapterError(
                f"{self.path} has {len(cells)} cells tagged {_TAG!r}, expected exactly one"
            )
        found = {
            name: self._parameter(name, entry["default"], entry["help"])
            for name, entry in papermill.inspect_notebook(notebook).items()
        }
        assigned = _assigned_names(cells[0].source)
        if assigned != list(found):
            raise ChapterError(
                f"{self.path}: papermill reads the parameters {list(found)}, but the cell assigns "
                f"{assigned}. Keep one `name = literal  # help` per line, without a second '='"
            )
        return found

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Files and folders, relative to the book, that make this chapter stale if they change.

        Declared in the front matter as ``distill_sql: {inputs: [...]}``; by default the recorded
        results, ``book/results``. Paths given as parameters need no declaration.
        """
        declared = self.notebook().metadata.get("distill_sql", {}).get("inputs", ["book/results"])
        return tuple(str(path) for path in declared)

    def resolve(self, overrides: Mapping[str, object], *, root: Path) -> dict[str, Any]:
        """All parameters with ``overrides``; ParameterError for an unknown name or a bad value."""
        for name in overrides:
            if name not in self.parameters:
                raise ParameterError(
                    unknown_name(name, self.parameters, where=f"chapter {self.name}")
                )
        resolved = {}
        for name, parameter in self.parameters.items():
            value = overrides.get(name, parameter.default)
            try:
                resolved[name] = parameter.parse(value, root=root)
            except ValueError as error:
                raise ParameterError(
                    f"chapter {self.name}: {name} = {value!r} is not allowed: {error}"
                ) from None
        return resolved

    def _parameter(self, name: str, default: str, help: str) -> Parameter:
        try:
            value = ast.literal_eval(default)
        except (SyntaxError, ValueError):
            value = object
        if not isinstance(value, str | int | float | list):
            raise ChapterError(
                f"{self.path}: parameter {name} = {default} must be a string, number, "
                "true/false or list, written as a Python literal"
            )
        return Parameter(name=name, default=value, help=help)


def unknown_name(name: str, known: Mapping[str, object], *, where: str) -> str:
    """The message for an unknown parameter."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"unknown parameter {name!r} for {where}: it knows {', '.join(known) or 'none'}.{hint}"


def _assigned_names(source: str) -> list[str]:
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            names.append(statement.targets[0].id)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
        else:
            names.append(ast.unparse(statement))
    return names

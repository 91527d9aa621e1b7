"""``distill-sql models``: lists base models, downloads and converts one, or removes one."""

from __future__ import annotations

import argparse

from distill_sql.models.folders import base_folder
from distill_sql.models.recipes import recipe_for
from distill_sql.models.shelf import Base, base_of, bases, remove


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql models`` to ``parser``."""
    verbs = parser.add_subparsers(metavar="ACTION")
    get = verbs.add_parser("get", help="download a recipe's base model, and convert a GGUF file")
    get.add_argument("recipe", metavar="RECIPE", help="such as coder-0.5b")
    get.set_defaults(run=_get)
    rm = verbs.add_parser("rm", help="remove downloads and conversions; never what MODELS_DIR has")
    rm.add_argument("recipe", metavar="RECIPE")
    rm.set_defaults(run=_remove)
    parser.set_defaults(run=_list)


def _list(_: argparse.Namespace) -> int:
    for base in bases():
        print(f"{base.base}\n  recipes: {', '.join(base.recipes)}")
        for line in _lines(base):
            print(f"  {line}")
    return 0


def _lines(base: Base) -> list[str]:
    words = {"yours": "in MODELS_DIR", "hub": "downloaded", "converted": "converted to float32"}
    return [f"{words[c.kind]}: {gib(c.size)}, {c.path}" for c in base.copies] or ["not here"]


def _get(arguments: argparse.Namespace) -> int:
    base_of(arguments.recipe)
    print(base_folder(recipe_for(arguments.recipe)))
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    base = base_of(arguments.recipe)
    freed = remove(base)
    kept = [copy for copy in base.copies if copy.kind == "yours"]
    print(f"freed {gib(freed)}" + "".join(f"; {copy.path} is yours and stays" for copy in kept))
    return 0


def gib(size: int) -> str:
    """Bytes for people.

    >>> gib(3 * 2**29)
    '1.50 GiB'
    """
    return f"{size / 2**30:.2f} GiB"

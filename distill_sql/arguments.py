"""Numbers of the command line that a verb cannot work with."""

from __future__ import annotations

import argparse

from distill_sql.errors import ParameterError


def check_numbers(arguments: argparse.Namespace, **least: int) -> None:
    """Raise :class:`ParameterError` if an argument is below the least that ``least`` has for it.

    Arguments that were left out are passed over.
    """
    for name, low in least.items():
        value = getattr(arguments, name)
        if value is not None and value < low:
            option = name.replace("_", "-")
            raise ParameterError(f"--{option} {value}: expected {low} or more.")

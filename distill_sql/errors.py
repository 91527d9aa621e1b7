"""The exceptions of the package: every mistake of a user raises one of these.

Each message says what was found, what was expected and what to do next. The command line prints it
without a traceback.
"""

from __future__ import annotations


class DistillSqlError(Exception):
    """Base class of the package's errors; ``str(error)`` is a message for the user."""


class DatasetError(DistillSqlError):
    """A dataset, or one of its files or databases, is missing or malformed."""


class GoldQueryError(DatasetError):
    """A gold query fails on its database."""


class PredictionError(DistillSqlError):
    """A prediction file does not match its dataset."""


class OutputError(DistillSqlError):
    """An output file or folder cannot be written."""


class ParameterError(DistillSqlError):
    """A parameter is unknown, or its value is invalid."""


class ChapterError(DistillSqlError):
    """A chapter failed to execute, or the site failed to build."""


class MissingDependencyError(DistillSqlError):
    """An optional package or program is required and not installed."""


class TeacherError(DistillSqlError):
    """The teacher's endpoint or cache cannot be used, or the budget is exceeded."""


class TrainingError(DistillSqlError):
    """A student cannot be loaded, trained or saved."""


class OutOfTime(DistillSqlError):
    """A time limit was reached; what was computed is saved, and the same command continues."""

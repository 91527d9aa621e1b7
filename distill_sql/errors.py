"""The exception tree: everything a user can get wrong ends in one of these.

Each message says what was found, what was expected and what to do next; the command line prints it
without a traceback.
"""

from __future__ import annotations


class DistillSqlError(Exception):
    """Base of all errors raised on purpose; ``str(error)`` is written for the user."""


class DatasetError(DistillSqlError):
    """A dataset, or one of its files or databases, is missing or malformed."""


class GoldQueryError(DatasetError):
    """A gold query fails on its database."""


class PredictionError(DistillSqlError):
    """A prediction file does not line up with the dataset it claims to answer."""


class OutputError(DistillSqlError):
    """A file or folder that was asked for cannot be written."""


class ParameterError(DistillSqlError):
    """A parameter is unknown, or its value is not allowed."""


class ChapterError(DistillSqlError):
    """A chapter failed to execute, or the site failed to build."""


class MissingDependencyError(DistillSqlError):
    """An optional package or program is needed here and is not installed."""


class TeacherError(DistillSqlError):
    """The teacher's endpoint cannot be used, or its cache or budget stands in the way."""


class TrainingError(DistillSqlError):
    """A student cannot be loaded, trained or saved as asked."""

"""Failure causes labelled by reading, and the rule's agreement with these labels.

The labelled set is in ``book/results/failure_labels``, with its guidelines and a manifest. Each
label was given blind: the reader saw the question, both queries and the database's message, but not
the cause that :mod:`distill_sql.sql.failures` names. The first reader knew the rule's text, the
second did not. Agreement is the share of labels that the rule also names. Cohen's kappa corrects it
for chance (Cohen, "A Coefficient of Agreement for Nominal Scales", 1960). Left out: weights for
causes that are nearly the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from distill_sql.errors import DatasetError
from distill_sql.files import read_json_lines
from distill_sql.scoring.clusters import NONE, NORMAL, Interval, wilson_interval
from distill_sql.sql.failures import CAUSES, primary_cause

#: The halves of the set: the rule was improved on one and is evaluated on the other.
TUNING, HELD_OUT = "tuning", "held out"


@dataclass(frozen=True)
class Labelled:
    """A wrong prediction and its labelled cause, one of the rule's causes.

    ``error`` is the database's message about the prediction, empty if it ran. ``second`` is the
    label of a second reader, who knew neither the first label nor the rule.
    """

    dataset: str
    split: str
    question_id: int
    db_id: str
    model: str
    half: str
    gold_sql: str
    pred_sql: str
    error: str
    label: str
    second: str

    @property
    def named(self) -> str:
        """The cause that the rule names."""
        return primary_cause(self.pred_sql, self.gold_sql, error=self.error)


@dataclass(frozen=True)
class Agreement:
    """The number of labels, the number of agreements, and Cohen's kappa."""

    n: int
    agreed: int
    kappa: float

    @property
    def share(self) -> float:
        """The share of agreements; NaN if there are no labels."""
        return self.agreed / self.n if self.n else math.nan

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share over errors (Wilson); NaN if there are no labels."""
        return wilson_interval(self.share, self.n, NORMAL) if self.n else NONE


def read_labels(path: Path) -> list[Labelled]:
    """Read the labels of a JSON Lines file with :class:`Labelled`'s fields.

    Raises :class:`DatasetError` that names the first line without one of the fields, or with a
    label that is not a cause.
    """
    names = [field.name for field in fields(Labelled)]
    found = []
    for number, record in read_json_lines(path, fix=f"Each line has {', '.join(names)}."):
        lacking = [name for name in names if not isinstance(record, dict) or name not in record]
        strange = [] if lacking else [
            label for label in (record["label"], record["second"]) if label not in CAUSES
        ]  # fmt: skip
        if lacking or strange:
            wrong = f"no {', '.join(lacking)}" if lacking else f"the label {strange[0]!r}"
            raise DatasetError(
                f"{path}, line {number}: found {wrong}; expected the fields {', '.join(names)} and "
                f"a label of {', '.join(CAUSES)}. Correct the line."
            )
        found.append(Labelled(**{name: record[name] for name in names}))
    return found


def agreement(labels: Iterable[Labelled]) -> Agreement:
    """The rule's agreement with the first reader; kappa is NaN if there is only one cause."""
    return _agreement([(each.label, each.named) for each in labels])


def with_second(labels: Iterable[Labelled]) -> Agreement:
    """The rule's agreement with the second reader, who did not know it."""
    return _agreement([(each.second, each.named) for each in labels])


def between_readers(labels: Iterable[Labelled]) -> Agreement:
    """The agreement of the two readers, about the best that a rule can reach."""
    return _agreement([(each.label, each.second) for each in labels])


def _agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    n, agreed = len(pairs), sum(one == other for one, other in pairs)
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(ones[cause] * others[cause] for cause in ones)
    if chance == n * n:  # no labels, or one cause everywhere
        return Agreement(n, agreed, math.nan)
    return Agreement(n, agreed, (n * agreed - chance) / (n * n - chance))


def confusion(labels: Sequence[Labelled]) -> list[dict[str, Any]]:
    """A record for each pair of causes that occurs: ``label``, ``named``, ``errors``, ``share``.

    ``share`` is the share among the errors with this label.
    """
    totals = Counter(each.label for each in labels)
    pairs = Counter((each.label, each.named) for each in labels)
    return [
        {"label": label, "named": named, "errors": count, "share": count / totals[label]}
        for (label, named), count in sorted(pairs.items())
    ]

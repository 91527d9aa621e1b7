"""Accuracy by group of questions: by source, database, hardness or query skeleton.

One number for a whole split hides which questions a model answers. The records made here are rows
of :func:`distill_sql.book.tables.show_table`. A grouping maps question ids to group names, in the
order in which the groups are shown. Questions outside it do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, Literal, TypeAlias

from distill_sql.data.datasets import Dataset
from distill_sql.errors import DatasetError
from distill_sql.scoring import LEVELS, Accuracy, ScoreReport, hardness
from distill_sql.scoring.report import Metric
from distill_sql.sql.skeletons import skeleton, skeletons

Groups: TypeAlias = Mapping[int, str]
#: One run of a model, or several runs that differ in their seeds.
Runs: TypeAlias = ScoreReport | Sequence[ScoreReport]
By: TypeAlias = Literal["source", "database", "hardness", "skeleton"]
#: The ways to group questions, and what decides the group of a question.
GROUPINGS: dict[By, str] = {
    "source": "the source of the question, if its file has one, as pocket's does",
    "database": "the database of the question",
    "hardness": "Spider's hardness level of the gold query",
    "skeleton": "whether the training split has a query with the gold query's skeleton",
}
#: The name of the group of all questions.
ALL = "all"
SEEN, UNSEEN = "form in training", "form not in training"


def group_by(by: By, dataset: Dataset, train: Dataset | None = None) -> dict[int, str]:
    """The group of each question of a dataset; skeletons need ``train``.

    Raises :class:`~distill_sql.errors.DatasetError` if questions have no source and are grouped by
    it.
    """
    if by == "source":
        found = {example.question_id: example.source for example in dataset}
        if not all(found.values()):
            raise DatasetError(
                f"{dataset.name} cannot be grouped by source: at least one has "
                'no "source" in its file. Group them by database, hardness or skeleton.'
            )
        return _in_order(found, ("handwritten", *sorted(set(found.values()) - {"handwritten"})))
    if by == "database":
        return _in_order({e.question_id: e.db_id for e in dataset}, dataset.db_ids)
    if by == "hardness":
        levels = {e.question_id: hardness(e.query) or "no level" for e in dataset}
        return _in_order(levels, (*LEVELS, "no level"))
    if train is None:
        raise ValueError("grouping by skeleton needs the training split: give train")
    learned = skeletons(example.query for example in train)
    forms = {e.question_id: SEEN if skeleton(e.query) in learned else UNSEEN for e in dataset}
    return _in_order(forms, (SEEN, UNSEEN))


def parts(report: ScoreReport, groups: Groups) -> list[tuple[str, ScoreReport]]:
    """The report on the questions of all groups, named :data:`ALL`, and on those of each group."""
    members: dict[str, set[int]] = {ALL: set(groups)}
    for question_id, group in groups.items():
        members.setdefault(group, set()).add(question_id)
    return [(group, report.only(ids)) for group, ids in members.items()]


def breakdown(
    reports: Mapping[str, ScoreReport], groups: Groups, *, metric: Metric = "exec"
) -> list[dict[str, Any]]:
    """A record per report and group, all questions first, with both intervals of the accuracy.

    Keys: ``model``, ``group``, ``questions``, ``correct``, ``share``, ``low``, ``high`` (interval
    over questions), ``databases``, ``low_databases``, ``high_databases`` (interval over databases;
    NaN if there is only one).
    """
    return [
        {"model": name, "group": group} | _numbers(part.accuracy(metric=metric))
        for name, report in reports.items()
        for group, part in parts(report, groups)
    ]


def side_by_side(
    models: Mapping[str, Mapping[str, Runs]], groups: Groups, *, metric: Metric = "exec"
) -> list[dict[str, Any]]:
    """A record per model and group, with the accuracy under each of several conditions.

    ``models`` has the reports of each model by condition, such as with and without synonyms, on one
    database and on its neighbours, or with further columns
    :func:`~distill_sql.scoring.columns.forgiven`. The accuracy of several runs is their mean. Keys:
    ``model``, ``group``, ``questions``, and the conditions; None if a model has no such report.
    """
    conditions = list(dict.fromkeys(name for reports in models.values() for name in reports))
    records = []
    for model, reports in models.items():
        found = {
            name: {group: _mean(each, metric) for group, each in _parts_of_runs(runs, groups)}
            for name, runs in reports.items()
        }
        for group in (ALL, *dict.fromkeys(groups.values())):
            counts = [by_group[group][0] for by_group in found.values()]
            records.append(
                {"model": model, "group": group, "questions": max(counts, default=0)}
                | {name: found[name][group][1] if name in found else None for name in conditions}
            )
    return records


def _in_order(groups: Groups, order: Sequence[str]) -> dict[int, str]:
    """The same grouping, sorted by the place of the group in ``order``."""
    place = {name: number for number, name in enumerate(order)}
    return dict(sorted(groups.items(), key=lambda item: place[item[1]]))


def _parts_of_runs(runs: Runs, groups: Groups) -> list[tuple[str, list[ScoreReport]]]:
    every = [parts(run, groups) for run in ([runs] if isinstance(runs, ScoreReport) else runs)]
    return [(same[0][0], [part for _, part in same]) for same in zip(*every, strict=True)]


def _mean(runs: Sequence[ScoreReport], metric: Metric) -> tuple[int, float | None]:
    """The number of questions, and the mean accuracy of the runs."""
    found = [run.accuracy(metric=metric) for run in runs]
    return found[0].n, mean(each.share for each in found) if found[0].n else None


def _numbers(accuracy: Accuracy) -> dict[str, Any]:
    (low, high), (low_databases, high_databases) = accuracy.interval, accuracy.clustered_interval
    return {
        "questions": accuracy.n,
        "correct": accuracy.correct,
        "share": accuracy.share,
        "low": low,
        "high": high,
        "databases": len(accuracy.databases),
        "low_databases": low_databases,
        "high_databases": high_databases,
    }

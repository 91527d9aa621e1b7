"""``distill-sql score``: scores prediction files and prints tables."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import COUNT, build_neighbours
from distill_sql.errors import DistillSqlError, OutputError, ParameterError
from distill_sql.files import check_output, write_json
from distill_sql.scoring.bird import score_bird
from distill_sql.scoring.breakdown import GROUPINGS, By, group_by, parts
from distill_sql.scoring.columns import forgiven
from distill_sql.scoring.comparison import Comparison, compare
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.official import disagreements
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.report import (
    METRICS,
    Metric,
    ScoreReport,
    align,
    as_percent,
    score,
    score_with,
)
from distill_sql.scoring.verdicts import Rules
from distill_sql.settings import check_numbers
from distill_sql.sql.sandbox import DEADLINE

#: The longest --deadline in seconds: a day.
LONGEST = 86_400


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distill-sql score`` to ``parser``."""
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="predictions: JSON Lines, or plain text with one query per line in dataset order",
    )
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="folder of the dataset (default: SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="other questions about the dataset's databases, in Spider's format",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument(
        "--database",
        action="append",
        metavar="DB_ID",
        help="only the questions on this database (may be repeated)",
    )
    parser.add_argument(
        "--etype",
        choices=("exec", "match", "all"),
        default="all",
        help="execution accuracy, exact set match, or both (default)",
    )
    parser.add_argument("--strict", action="store_true", help="without the official leniencies")
    parser.add_argument("--keep-distinct", action="store_true", help="do not drop DISTINCT")
    parser.add_argument("--plug-value", action="store_true", help="try the gold query's values")
    parser.add_argument(
        "--skip-failing-gold",
        action="store_true",
        help="leave out questions whose gold query fails, and report them",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        nargs="?",
        const=COUNT,
        metavar="N",
        help=f"judge on N generated variants of each database, too (default {COUNT})",
    )
    parser.add_argument(
        "--by",
        action="append",
        choices=tuple(GROUPINGS),
        metavar="GROUPS",
        help="also show groups by "
        + "; ".join(f"{name} ({what})" for name, what in GROUPINGS.items())
        + "; may be repeated",
    )
    parser.add_argument(
        "--components",
        action="store_true",
        help="also show the component scores of exact set match",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="score two files and say whether B is better than A",
    )
    parser.add_argument(
        "--official",
        type=Path,
        metavar="DIR",
        help="also run the official evaluator, a checkout in DIR, and list every disagreement",
    )
    parser.add_argument(
        "--bird", action="store_true", help="also show BIRD's metrics: EX, soft F1, R-VES"
    )
    parser.add_argument("--jobs", type=int, help="worker processes (default: one per core)")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds per prediction")
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write summary and verdicts to OUT"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    files: list[Path] = list(dict.fromkeys([*arguments.files, *(arguments.compare or ())]))
    _check(arguments, files)
    dataset = load_dataset(
        arguments.dataset,
        split=arguments.split,
        path=arguments.path,
        questions=arguments.questions,
    ).limit(arguments.limit)
    if arguments.database:
        dataset = dataset.only(*arguments.database)
    groupings = _groupings(arguments, dataset)
    # All files are read before any is scored, so that a broken one is reported at once.
    answers = {file: read_predictions(file, dataset) for file in files}
    reports, groups = _score(arguments, answers, dataset, groupings)
    found: dict[Metric, Comparison] = {}
    if arguments.compare:
        found = _compare(*(reports[file] for file in arguments.compare))
    if arguments.official:
        for file, report in reports.items():
            _official(file, report, dataset, arguments.official)
    if arguments.json:
        records = [_record(file, report) for file, report in reports.items()]
        for record, file in zip(records, reports, strict=True):
            if groups:
                record["summary"]["by"] = groups[file]
            if arguments.compare and file == arguments.compare[1]:
                record["summary"]["compared"] = {"with": str(arguments.compare[0])} | {
                    metric: comparison.summary() for metric, comparison in found.items()
                }
        write_json(arguments.json, records[0] if len(records) == 1 else records)
    return 0


def _check(arguments: argparse.Namespace, files: list[Path]) -> None:
    """Raise an error for arguments that make no sense, before any work."""
    if not files:
        raise DistillSqlError("Nothing to score: give a prediction FILE, or --compare A B.")
    if arguments.components and arguments.etype == "exec":
        raise DistillSqlError("--components belongs to exact set match: use --etype match or all.")
    check_numbers(arguments, jobs=1, neighbours=0, limit=1)
    if not 0 < arguments.deadline <= LONGEST:
        raise ParameterError(
            f"--deadline {arguments.deadline:g}: expected seconds, more than 0 and at most "
            f"{LONGEST:,}."
        )
    if arguments.json:
        _check_json(arguments.json, files)
    if (arguments.dataset, arguments.split) == ("pocket", "test"):
        raise DistillSqlError(
            "Pocket's test split is not for choosing: each version of the package reads it once, "
            "and this is logged. Use: distill-sql pocket test FILE ..."
        )


def _score(
    arguments: argparse.Namespace,
    answers: Mapping[Path, Sequence[Prediction]],
    dataset: Dataset,
    groupings: Mapping[By, dict[int, str]],
) -> tuple[dict[Path, ScoreReport], dict[Path, dict[str, Any]]]:
    """Score every file and print its tables; returns the reports and the content of ``--by``."""
    rules = Rules(
        etype=arguments.etype,
        strict=arguments.strict,
        keep_distinct=arguments.keep_distinct,
        plug_value=arguments.plug_value,
        skip_failing_gold=arguments.skip_failing_gold,
    )
    reports: dict[Path, ScoreReport] = {}
    groups: dict[Path, dict[str, Any]] = {}
    progress = sys.stderr.isatty()
    made = None
    if arguments.neighbours:
        made = build_neighbours(dataset, count=arguments.neighbours, progress=progress)
    with Judge(
        dataset, rules, neighbours=made, jobs=arguments.jobs, deadline=arguments.deadline
    ) as judge:
        for file, predictions in answers.items():
            report = score_with(judge, predictions, progress=progress)
            reports[file] = report
            print("\n".join([str(file), report.table(), *report.remarks()]) + "\n")
            if groupings:
                groups[file] = _by(report, groupings, dataset, made, arguments)
            if arguments.components:
                print(f"{report.components_table(dataset)}\n")
            if arguments.bird:
                _bird(predictions, dataset, rules, progress=progress)
    return reports, groups


def _check_json(out: Path, files: list[Path]) -> None:
    if any(file.exists() and out.exists() and out.samefile(file) for file in files):
        raise OutputError(f"--json {out} would replace the predictions. Name another file.")
    check_output(out)


def _bird(
    predictions: Sequence[Prediction], dataset: Dataset, rules: Rules, *, progress: bool
) -> None:
    bird = score_bird(
        predictions, dataset, skip_failing_gold=rules.skip_failing_gold, progress=progress
    )
    r_ves = math.nan if bird.r_ves is None else bird.r_ves
    missing = len(dataset) - len(bird.verdicts)
    print(
        f"BIRD: EX {bird.ex:.1f}, soft F1 {bird.soft_f1:.1f}, R-VES {r_ves:.1f}"
        + f"; {missing} questions are skipped, since their gold queries fail" * bool(missing)
    )


def _groupings(arguments: argparse.Namespace, dataset: Dataset) -> dict[By, dict[int, str]]:
    """The groups of ``--by``; raises an error if the dataset cannot be grouped like that."""
    found: dict[By, dict[int, str]] = {}
    for by in dict.fromkeys(arguments.by or ()):
        train = None
        if by == "skeleton":
            train = load_dataset(arguments.dataset, split="train", path=arguments.path)
        found[by] = group_by(by, dataset, train)
    return found


def _by(
    report: ScoreReport,
    groupings: Mapping[By, dict[int, str]],
    dataset: Dataset,
    made: Mapping[str, Sequence[Path]] | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Print a table for each grouping, and return its content.

    Execution accuracy is also shown with further columns forgiven and, with neighbours, on the
    original database alone.
    """
    metric: Metric = "exact" if report.rules.etype == "match" else "exec"
    beside: dict[str, ScoreReport] = {}
    if metric == "exec":
        if made:
            predictions = [Prediction(v.question_id, v.db_id, v.pred_sql) for v in report.verdicts]
            rules = replace(report.rules, etype="exec")
            beside["one database"] = score(
                predictions, dataset, rules, jobs=arguments.jobs, deadline=arguments.deadline
            )
        beside["further columns forgiven"] = forgiven(report, dataset, neighbours=made)
    count = report.neighbour_count
    title = METRICS[metric] + f", {count} neighbours too" * bool(count)
    shown: dict[str, Any] = {}
    for by, groups in groupings.items():
        rows = [[f"by {by}", "count", title, "95 % interval", "over databases", *beside]]
        records = []
        both = zip(*(parts(each, groups) for each in (report, *beside.values())), strict=True)
        for (group, part), *others in both:
            found = part.accuracy(metric=metric)
            shares = {
                name: other.accuracy().share if found.n else None
                for name, (_, other) in zip(beside, others, strict=True)
            }
            records.append({"group": group} | found.summary() | shares)
            intervals = map(as_percent, (found.interval, found.clustered_interval))
            values = (_percent(share) for share in shares.values())
            share = _percent(found.share if found.n else None)
            rows.append([group, str(found.n), share, *intervals, *values])
        print(f"{align(rows)}\n")
        shown[by] = records
    return shown


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _compare(a: ScoreReport, b: ScoreReport) -> dict[Metric, Comparison]:
    metric: Metric
    found = {}
    for metric, title in METRICS.items():
        if a.accuracy(metric=metric).n:
            found[metric] = compare(a, b, metric=metric)
            print(f"{title}, {found[metric]}")
    return found


def _official(file: Path, report: ScoreReport, dataset: Dataset, checkout: Path) -> None:
    count = 0
    total = len(report.verdicts) - len(report.skipped)
    progress = sys.stderr.isatty()
    for found in disagreements(report.verdicts, dataset, checkout, report.rules, progress=progress):
        count += 1
        print(
            f"{file}, question {found.question_id}, {found.metric}: ours {found.ours}, official "
            f"{'crashed: ' + found.error if found.official is None else found.official}\n"
            f"  prediction: {found.pred_sql}\n  gold:       {found.gold_sql}"
        )
    print(f"{file}: {count} disagreements with {checkout} on {total} examples")


def _record(file: Path, report: ScoreReport) -> dict[str, Any]:
    return {
        "summary": {"file": str(file), "rules": asdict(report.rules)} | report.summary(),
        "examples": [asdict(verdict) | {"cause": verdict.cause} for verdict in report.verdicts],
    }

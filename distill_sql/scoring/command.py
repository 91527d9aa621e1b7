"""``distill-sql score``: the verdicts on prediction files, as tables by hardness."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from distill_sql.arguments import check_numbers
from distill_sql.datasets import Dataset, load_dataset
from distill_sql.errors import DistillSqlError, OutputError, ParameterError
from distill_sql.files import check_output, write_json
from distill_sql.neighbours import COUNT, build_neighbours
from distill_sql.sandbox import DEADLINE
from distill_sql.scoring.bird import score_bird
from distill_sql.scoring.compare import compare
from distill_sql.scoring.judge import Judge
from distill_sql.scoring.official import disagreements
from distill_sql.scoring.predictions import Prediction, read_predictions
from distill_sql.scoring.score import METRICS, Metric, ScoreReport, score_with
from distill_sql.scoring.verdicts import Rules

#: Longest deadline that can be asked for, in seconds: a day.
LONGEST = 86_400


def configure(parser: argparse.ArgumentParser) -> None:
    """Make ``parser`` that of ``distill-sql score``."""
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="predictions: JSON Lines, or plain text with one query a line in dataset order",
    )
    parser.add_argument("--dataset", default="pocket", help="pocket, spider, bird, or a folder")
    parser.add_argument("--path", type=Path, help="where the dataset lies (else SPIDER_DIR)")
    parser.add_argument("--split", default="dev")
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
        help="leave questions out whose gold query fails, and report them",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        nargs="?",
        const=COUNT,
        metavar="N",
        help=f"judge on N made variants of each database, too (default {COUNT})",
    )
    parser.add_argument(
        "--components", action="store_true", help="also the component scores of exact set match"
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
        help="also run the official evaluator, checked out in DIR, and list every disagreement",
    )
    parser.add_argument(
        "--bird", action="store_true", help="also BIRD's metrics: EX, soft F1, R-VES"
    )
    parser.add_argument("--jobs", type=int, help="worker processes (default: one per core)")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds per prediction")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write summary and verdicts here")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    files: list[Path] = list(dict.fromkeys([*arguments.files, *(arguments.compare or ())]))
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
    dataset = load_dataset(arguments.dataset, split=arguments.split, path=arguments.path)
    dataset = dataset.limit(arguments.limit)
    if arguments.database:
        dataset = dataset.only(*arguments.database)
    rules = Rules(
        etype=arguments.etype,
        strict=arguments.strict,
        keep_distinct=arguments.keep_distinct,
        plug_value=arguments.plug_value,
        skip_failing_gold=arguments.skip_failing_gold,
    )
    # Every file is read before any is scored: a broken one is told at once.
    answers = {file: read_predictions(file, dataset) for file in files}
    reports: dict[Path, ScoreReport] = {}
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
            if arguments.components:
                print(f"{report.components_table(dataset)}\n")
            if arguments.bird:
                _bird(predictions, dataset, rules, progress=progress)
    if arguments.compare:
        _compare(*(reports[file] for file in arguments.compare))
    if arguments.official:
        for file, report in reports.items():
            _official(file, report, dataset, arguments.official)
    if arguments.json:
        found = [_record(file, report) for file, report in reports.items()]
        write_json(arguments.json, found[0] if len(found) == 1 else found)
    return 0


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


def _compare(a: ScoreReport, b: ScoreReport) -> None:
    metric: Metric
    for metric, title in METRICS.items():
        if a.accuracy(metric=metric).n:
            print(f"{title}, {compare(a, b, metric=metric)}")


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


def _record(file: Path, report: ScoreReport) -> dict[str, object]:
    return {
        "summary": {"file": str(file), "rules": asdict(report.rules)} | report.summary(),
        "examples": [asdict(verdict) | {"cause": verdict.cause} for verdict in report.verdicts],
    }

"""Running a checkout of the official evaluator, and listing its disagreements with ours."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from distill_sql.data.datasets import Dataset
from distill_sql.errors import PredictionError
from distill_sql.scoring.execution import prediction_text
from distill_sql.scoring.verdicts import Rules, Verdict

#: Seconds that the official code may take for one example; its own timeout does not work.
DEADLINE = 120.0

_DRIVER = Path(__file__).with_name("official_driver.py")


@dataclass(frozen=True)
class Disagreement:
    """A metric and example on which the two differ; ``official`` is None if it crashed."""

    question_id: int
    metric: str
    ours: bool
    official: bool | None
    pred_sql: str
    gold_sql: str
    error: str = ""


def disagreements(
    verdicts: Sequence[Verdict],
    dataset: Dataset,
    checkout: Path,
    rules: Rules,
    *,
    python: str = sys.executable,
    deadline: float = DEADLINE,
    progress: bool = False,
) -> Iterator[Disagreement]:
    """Judge again with the official code (taoyds/test-suite-sql-eval), one example at a time.

    Examples that ours skipped are left out. An example that takes longer than ``deadline`` seconds
    counts as a crash of the official code.

    The code runs in a separate process in the folder ``checkout``. Its interpreter, ``python``,
    needs the packages that the code imports (sqlparse, nltk with its ``punkt`` data). The code
    opens the databases for writing and its timeout does not work, so use it on a copy and on
    predictions that you trust. Raises :class:`PredictionError` if there is no such code or it
    cannot start.
    """
    if not (checkout / "evaluation.py").is_file():
        raise PredictionError(
            f"No evaluation.py in {checkout}. Expected a checkout of taoyds/test-suite-sql-eval; "
            "clone it and pass its folder."
        )
    tables = dataset.root / "tables.json"
    if not tables.is_file():
        raise PredictionError(
            f"No {tables}: the official evaluator reads foreign keys from it. Score Spider, or a "
            "folder that has this file."
        )
    judged = [verdict for verdict in verdicts if not verdict.skipped]
    if not judged:
        return
    setup = {
        "databases": str(dataset.database_path(judged[0].db_id).parent.parent.resolve()),
        "tables": str(tables.resolve()),
        "etype": rules.etype,
        "plug_value": rules.plug_value,
        "keep_distinct": rules.keep_distinct,
    }
    process = _start(checkout, python)
    try:
        for verdict in tqdm(judged, desc="official evaluator", disable=not progress):
            pred = prediction_text(verdict.pred_sql, strict=True)
            case = setup | {"db_id": verdict.db_id, "gold": verdict.gold_sql, "pred": pred}
            line = _ask(process, json.dumps(case), deadline)
            if line is None:
                _end(process)
                process = _start(checkout, python)
                line = json.dumps({"exec": None, "exact": None, "error": f"over {deadline:g} s"})
            if not line:
                raise PredictionError(
                    f"The official evaluator in {checkout} stopped at question "
                    f"{verdict.question_id}: {_end(process).strip()[-500:]}. Install the packages "
                    "that it imports, and run its own command first."
                )
            yield from _differences(verdict, json.loads(line))
    finally:
        _end(process)


def _start(checkout: Path, python: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, str(_DRIVER)],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> str:
    """Kill the process and return its standard error."""
    process.kill()
    return process.communicate()[1]


def _ask(process: subprocess.Popen[str], case: str, deadline: float) -> str | None:
    """The answer's line: empty if the process ended, None if the deadline has passed."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(case + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    if not select.select([process.stdout], [], [], deadline)[0]:
        return None
    return process.stdout.readline()


def _differences(verdict: Verdict, found: dict[str, str | int | None]) -> Iterator[Disagreement]:
    for metric in ("exec", "exact"):
        ours = getattr(verdict, metric)
        official = found[metric]
        if ours is not None and (official is None or ours != bool(official)):
            yield Disagreement(
                verdict.question_id,
                metric,
                ours,
                None if official is None else bool(official),
                verdict.pred_sql,
                verdict.gold_sql,
                str(found["error"]),
            )

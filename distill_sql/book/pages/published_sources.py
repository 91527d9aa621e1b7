"""The replication chapter: where the published sources differ from ours, and from one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from distill_sql.book.pages.replication import Rescored
from distill_sql.book.shown import Shown, Table
from distill_sql.files import read_json_lines
from distill_sql.scoring import FAILURE_MODES, LEVELS, Verdict

#: The study has no timeouts: one of ours counts as a failed execution.
_MODES = tuple(mode for mode in FAILURE_MODES if mode != "timeout")


def failure_modes(scored: Rescored) -> list[Shown]:
    """Predictions by failure mode, published and ours; nothing without the study's results."""
    counts = {
        name: {
            mode: (summary["failure_breakdown"].get(mode, 0), _count(scored, name, mode))
            for mode in _MODES
        }
        for name, summary in scored.summaries.items()
    }
    if not counts:
        return []
    table = Table(
        [
            {"model": name} | {mode: f"{theirs} / {ours}" for mode, (theirs, ours) in row.items()}
            for name, row in counts.items()
        ],
        "Predictions by failure mode: published / ours. A timeout counts as execution.",
    )
    largest = max(abs(theirs - ours) for row in counts.values() for theirs, ours in row.values())
    return [table, f"The largest difference in any cell is **{largest}**."]


def _count(scored: Rescored, name: str, mode: str) -> int:
    return sum(
        ("execution" if verdict.failure_mode == "timeout" else verdict.failure_mode) == mode
        for verdict in scored.official[name].verdicts
    )


@dataclass(frozen=True)
class Stated:
    """What a prediction file states about a question beside our verdict."""

    difficulty: str | None
    right: bool
    verdict: Verdict


def stated(scored: Rescored) -> dict[str, list[Stated]]:
    """What each prediction file states, by model and in the order of the questions."""
    read = {
        name: [line for _, line in read_json_lines(path, fix="Copy it again.")]
        for name, path in scored.files.items()
    }
    return {
        name: [
            Stated(line.get("difficulty"), bool(line.get("exec_match")), verdict)
            for line, verdict in zip(lines, scored.official[name].verdicts, strict=True)
        ]
        for name, lines in read.items()
    }


def disagreements(scored: Rescored) -> list[Shown]:
    """Stated difficulty against official hardness, and where the published sources disagree."""
    by_model = stated(scored)
    questions = by_model[scored.names[0]]  # difficulty and hardness are the same for all models
    everything = [one for each in by_model.values() for one in each]
    points = [
        _difficulty(questions),
        _correctness(everything),
        "**The 7B's failure modes.** The study's README gives 776 / 213 / 44 / 1 / 0. 776 is the "
        "official count of right answers. The other counts are neither ours nor those of its "
        "results file, which are in the table above.",
        *_results_file(scored, questions),
    ]
    return [_crossed(questions), "\n".join(f"- {point}" for point in points)]


def _crossed(questions: list[Stated]) -> Table:
    counts = Counter((one.difficulty, one.verdict.hardness) for one in questions)
    corner = "in the files \\ official"
    return Table(
        [
            {corner: difficulty} | {level: counts[difficulty, level] for level in LEVELS}
            for difficulty in LEVELS
        ],
        "The difficulty that the prediction files state (rows) against the official hardness "
        "(columns), in questions.",
        columns=[corner, *LEVELS],
    )


def _difficulty(questions: list[Stated]) -> str:
    moved = sum(one.difficulty != one.verdict.hardness for one in questions)
    return (
        "**Difficulty.** The files' `difficulty` is a count of keywords. It differs from the "
        f"official hardness for {moved} of {len(questions):,} questions. The published table by "
        "hardness uses the official one."
    )


def _correctness(everything: list[Stated]) -> str:
    wrong = [one for one in everything if one.right != one.verdict.exec]
    missed = sum(not one.right and bool(one.verdict.exec) for one in wrong)
    return (
        "**Correctness.** The files' `exec_match` comes from the study's own comparison, not from "
        f"the evaluator that its headline names. {len(wrong):,} of {len(everything):,} verdicts "
        f"differ; {missed} of these are wrong in the files and right by the official rules."
    )


def _results_file(scored: Rescored, questions: list[Stated]) -> list[str]:
    if not scored.summaries:
        return []
    first = next(iter(scored.summaries.values()))
    theirs = ", ".join(str(round(level["n"])) for level in first["by_difficulty"].values())
    official = Counter(one.verdict.hardness for one in questions)
    largest = max(
        abs(summary["exact_match_accuracy"] - scored.official[name].accuracy(metric="exact").share)
        for name, summary in scored.summaries.items()
    )
    return [
        "**Counts by difficulty.** The results file gives accuracies by official hardness, but "
        f"beside them the counts by keyword difficulty ({theirs}, not "
        f"{', '.join(str(official[level]) for level in LEVELS)}).",
        f"**Exact set match** agrees: published and ours differ by at most {largest:.2%}.",
    ]

"""The training chapter's answers by the schema's grammar, compared with unconstrained ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from distill_sql.book.pages.training import DISTILLED, Run, both_intervals
from distill_sql.book.shown import Table
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.comparison import compare

#: The failure modes of answers that the database refuses to run.
REFUSED = ("execution", "parse")


@dataclass(frozen=True)
class Decoding:
    """The reports of one student, decoded without a grammar and with one."""

    free: ScoreReport
    grammar: ScoreReport

    def by_name(self) -> dict[str, ScoreReport]:
        return {"free": self.free, "grammar": self.grammar}


def decoding(run: Run) -> Decoding:
    """The distilled student's reports with and without the grammar."""
    return Decoding(run.usual[DISTILLED].report, run.grammar.report)


def stuck(report: ScoreReport) -> set[int]:
    """The questions whose answers do not run."""
    return {one.question_id for one in report.verdicts if one.failure_mode in REFUSED}


def stuck_share(report: ScoreReport) -> float:
    """The share of answers that do not run."""
    return len(stuck(report)) / len(report.verdicts)


def table(run: Run, found: Decoding) -> Table:
    """Accuracy and the share of answers that do not run, with and without the grammar."""
    return Table(
        [
            {"answers": title, "right": report.accuracy().share, "stuck": stuck_share(report)}
            for title, report in (
                ("without a grammar", found.free),
                ("with the grammar", found.grammar),
            )
        ],
        f"{run.size} on {len(run.setup.dev):,} dev questions, with and without a grammar; seed "
        f"{run.recipe.seed}.",
        columns={"answers": "answers", "right": "right", "stuck": "does not run"},
        formats={"right": ".1%", "stuck": ".1%"},
    )


def in_words(found: Decoding) -> str:
    """What the grammar changes, and what is left of the failures, as Markdown."""
    free, bound = stuck(found.free), stuck(found.grammar)
    mended = found.grammar.only(free)
    errors = Counter(
        (verdict.error or "no message").partition(":")[0]
        for verdict in found.grammar.only(bound).verdicts
    )
    return (
        f"The grammar changes accuracy by {both_intervals(compare(found.free, found.grammar))}. "
        f"{len(free)} answers do not run without the grammar. With it, "
        f"{mended.accuracy().correct} of them are right, {mended.failure_modes()['wrong-result']} "
        f"run and are wrong, and {len(free & bound)} still do not run. Database errors with the "
        "grammar: "
        + ("; ".join(f"{said} ({n})" for said, n in errors.most_common()) or "none")
        + ". All other figures of this book are without the grammar; `distill-sql generate "
        "--grammar` turns it on."
    )

"""Chapter 3: what linking does to accuracy, by what a student was taught on and asked with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from distill_sql.book.pages.linking_students import Answers
from distill_sql.book.shown import Table
from distill_sql.prompting.recall import lost_tables, recall_curve
from distill_sql.scoring import ScoreReport
from distill_sql.scoring.comparison import Comparison, compare
from distill_sql.training.experiments import Outcome

#: Columns of the table of accuracies; those without a value in any row are left out.
_COLUMNS = {
    "taught": "taught on",
    "asked": "asked with",
    "recall": "table recall",
    "right": "right",
    "difference": "difference",
    "by hand": "written by hand",
    "no synonyms": "no synonyms",
    "its difference": "difference, no synonyms",
}
_SHARES = ("recall", "right", "by hand", "no synonyms")


def accuracy_table(answers: Answers) -> Table:
    """Execution accuracy by what a student was taught on and asked with."""
    plan, questions = answers.plan, answers.plan.questions
    asked = {one.experiment.schema_asked for one in answers.usual} - {0}
    curve = recall_curve(
        questions, plan.count, budgets=sorted(asked), strategies=["closure"],
        style=plan.recipe.style,
    )  # fmt: skip
    recall = {0: 1.0} | {one.budget: one.recall for one in curve}
    rows = [_row(one, answers, recall[one.experiment.schema_asked]) for one in answers.usual]
    columns = {
        name: title
        for name, title in _COLUMNS.items()
        if any(row[name] is not None for row in rows)
    }
    return Table(
        rows,
        f"Execution accuracy of {plan.recipe.name} on {len(questions):,} {questions.split} "
        f"questions of {questions.name}, by what it was taught on and asked with; "
        f"{len(plan.prepared.train):,} traces, seed {plan.recipe.seed}. Differences are to the "
        "whole schema, paired, in points, with 95 % intervals over "
        f"{len(questions.db_ids)} databases.",
        columns=columns,
        formats={name: ".1%" for name in _SHARES if name in columns},
    )


def _row(one: Outcome, answers: Answers, recall: float) -> dict[str, object]:
    taught, asked = one.experiment.recipe.schema_tokens, one.experiment.schema_asked
    by_hand = [e.question_id for e in answers.plan.questions if e.source == "handwritten"]
    row: dict[str, object] = dict.fromkeys(_COLUMNS)
    row |= {
        "taught": f"{taught} tokens" if taught else "whole schema",
        "asked": f"{asked} tokens" if asked else "whole schema",
        "recall": recall,
        "right": one.report.accuracy().share,
        "difference": _difference(answers.whole, one.report),
    }
    if by_hand:
        row["by hand"] = one.report.only(by_hand).accuracy().share
    if not taught and (bare := answers.bare.get(asked)):
        row["no synonyms"] = bare.accuracy().share
        row["its difference"] = _difference(answers.bare[0], bare)
    return row


def _difference(whole: ScoreReport, other: ScoreReport) -> str:
    """The difference to the whole schema with its interval; empty for the whole schema itself."""
    return "" if other is whole else _with_interval(compare(whole, other))


def _with_interval(found: Comparison) -> str:
    low, high = found.clustered_interval
    return f"{found.difference:+.1%} ({low:+.1%} to {high:+.1%})"


@dataclass(frozen=True)
class Cut:
    """The first student asked at a budget, on two kinds of questions.

    The prompts of ``lacking`` questions lack a gold table; ``right`` of these are answered
    correctly, and ``right_whole`` with the whole schema. On the ``others``, ``difference`` compares
    the whole schema with the budget, and ``bare`` does so where no synonyms are listed; both are
    None if there are none.
    """

    budget: int
    lacking: int
    right: int
    right_whole: int
    others: int
    difference: Comparison | None
    bare: Comparison | None


def cuts(answers: Answers) -> list[Cut]:
    """What each budget does to the student that was taught on whole schemas."""
    plan, whole, bare = answers.plan, answers.whole, answers.bare
    everything = {example.question_id for example in plan.questions}
    found = []
    for one in answers.usual:
        budget = one.experiment.schema_asked
        if not budget or one.experiment.recipe.schema_tokens:
            continue
        lost = lost_tables(plan.questions, plan.count, budget=budget, style=plan.recipe.style)
        missing = {loss.example.question_id for loss in lost}
        rest = everything - missing
        found.append(
            Cut(
                budget,
                lacking=len(missing),
                right=one.report.only(missing).accuracy().correct,
                right_whole=whole.only(missing).accuracy().correct,
                others=len(rest),
                difference=_compare_on(rest, whole, one.report),
                bare=_compare_on(rest, bare[0], bare[budget]) if bare else None,
            )
        )
    return found


def _compare_on(ids: Collection[int], whole: ScoreReport, cut: ScoreReport) -> Comparison | None:
    return compare(whole.only(ids), cut.only(ids)) if ids else None


def cuts_table(answers: Answers, found: Sequence[Cut]) -> Table:
    """What a missing table costs, and what a superfluous one does."""
    rows = [
        {
            "asked": cut.budget,
            "lacking": cut.lacking,
            "right": cut.right,
            "right, whole": cut.right_whole,
            "others": cut.others,
            "difference": _with_interval(cut.difference) if cut.difference else "",
            "no synonyms": _with_interval(cut.bare) if cut.bare else "",
        }
        for cut in found
    ]
    columns = {
        "asked": "tokens",
        "lacking": "lack a table",
        "right": "right",
        "right, whole": "with the whole schema",
        "others": "other questions",
        "difference": "difference",
    }
    if answers.bare:
        columns["no synonyms"] = "difference, no synonyms"
    return Table(
        rows,
        f"{answers.plan.recipe.name}, taught on whole schemas and asked with pruned ones. On "
        "questions whose prompt lacks a gold table: how many are answered correctly, and how many "
        "with the whole schema. On the other questions: the difference in accuracy from the whole "
        "schema, in points, with 95 % intervals over databases.",
        columns=columns,
    )


def cuts_note(found: Sequence[Cut]) -> str:
    """The budgets at which leaving out superfluous tables helps; empty if there is none."""
    clear = [cut.budget for cut in found if cut.bare and cut.bare.clustered_interval[0] > 0]
    if not clear:
        return ""
    return (
        "Without synonyms, tables that the answer does not need cost accuracy: leaving them out "
        f"gains at {', '.join(map(str, clear))} tokens, with intervals above 0."
    )


def conclusion(answers: Answers) -> str:
    """What teaching at the budget changes, and which schema gave the most correct answers."""
    reports = {
        (one.experiment.recipe.schema_tokens, one.experiment.schema_asked): one.report
        for one in answers.usual
    }
    changes = []
    for tokens in answers.plan.taught:
        pair = compare(reports[0, tokens], reports[tokens, tokens])
        low, high = pair.clustered_interval
        changes.append(
            f"at {tokens:,} tokens by {pair.difference * 100:+.1f} points "
            f"({low * 100:+.1f} to {high * 100:+.1f})"
        )
    best = max(answers.usual, key=lambda one: one.report.accuracy().correct)
    told = (
        "Teaching at the budget instead of on whole schemas changes accuracy "
        f"{'; '.join(changes)}. "
        if changes
        else ""
    )
    where = (
        "with the whole schema"
        if best.report is answers.whole
        else f"when asked with {best.experiment.schema_asked:,} tokens"
    )
    return (
        f"{told}The most correct answers come {where}. The whole schema stays the default: one "
        "seed, and budgets compared on the split that is reported, do not justify a change."
    )

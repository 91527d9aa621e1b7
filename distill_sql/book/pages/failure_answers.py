"""The input of the failure chapter: questions that can be scored, answers to them, their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_sql.book.systems import main, named, of_dataset, systems
from distill_sql.data.datasets import Dataset, has_split, load_dataset
from distill_sql.data.neighbours import build_neighbours
from distill_sql.scoring import (
    Judge,
    Prediction,
    Rules,
    ScoreReport,
    Verdict,
    read_predictions,
    score,
    score_with,
)
from distill_sql.scoring.baseline import NearestQuestion
from distill_sql.scoring.predictions import prediction_files
from distill_sql.settings import work_folder

#: The name of the nearest-question baseline, which is no model.
FLOOR = "nearest question"
#: How many questions a text names.
_NAMED = 10


@dataclass(frozen=True)
class Questions:
    """The questions of a split, and those of them that can be scored.

    ``failing`` has the ids of questions whose gold query fails. The other questions that are not in
    ``scored`` lack their database.
    """

    asked: Dataset
    scored: Dataset
    failing: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """Prediction files by the name of the system that gave them.

    ``systems`` are students, bases and pocket's teacher, as other chapters left them.
    ``no_synonyms`` has the answers of the same systems to schemas without synonyms. ``not_shown``
    counts the systems that are left out. ``files`` come from elsewhere; ``unfit`` are files found
    beside the dataset that answer other questions. ``given`` says whether the reader named the
    folder of prediction files.
    """

    systems: Mapping[str, Path]
    no_synonyms: Mapping[str, Path]
    not_shown: int
    files: Mapping[str, Path]
    unfit: tuple[Path, ...]
    given: bool


@dataclass(frozen=True)
class Scores:
    """Score reports by the name of the system, the lowest accuracy first.

    ``reports`` are by the official rules on each question's own database, and ``strict`` by the
    strict ones. For ``wide`` a query must also be right on ``variants``, the ``neighbours`` made of
    each database. ``no_synonyms`` are on answers to schemas without synonyms.
    """

    data: Dataset
    neighbours: int
    variants: Mapping[str, Sequence[Path]]
    answers: Mapping[str, Sequence[Prediction]]
    reports: Mapping[str, ScoreReport]
    strict: Mapping[str, ScoreReport]
    wide: Mapping[str, ScoreReport]
    no_synonyms: Mapping[str, ScoreReport]

    @property
    def names(self) -> list[str]:
        """All systems, the lowest accuracy first."""
        return list(self.reports)

    @property
    def models(self) -> list[str]:
        """The systems without the floor; the floor if there is nothing else."""
        return [name for name in self.reports if name != FLOOR] or self.names

    @property
    def wrong(self) -> list[tuple[str, Verdict]]:
        """Each system's wrong answers, as its name and the verdict."""
        return [(name, v) for name in self.names for v in self.reports[name].verdicts if not v.exec]


def scorable(asked: Dataset, *, deadline: float) -> Questions:
    """Find the questions whose database is there and whose gold query runs within the deadline."""
    present = asked.present()
    gold = [Prediction(e.question_id, e.db_id, e.query) for e in present]
    report = score(gold, present, Rules(skip_failing_gold=True), deadline=deadline)
    failing = tuple(verdict.question_id for verdict in report.skipped)
    scored = present.with_examples(e for e in present if e.question_id not in set(failing))
    return Questions(asked, scored, failing)


def find_answers(asked: Dataset, *, predictions: str, students: str, shown: str) -> Answers:
    """Find answers to a dataset's questions; the arguments are the chapter's parameters.

    A folder of ``predictions`` replaces the systems of other chapters, and its files must fit.
    """
    beside = prediction_files(asked, predictions)
    # Files that merely lie beside the dataset may be another dataset's.
    fitting = beside if predictions else of_dataset(beside, asked)
    folder = Path(students) if students else work_folder() / "students"
    found = [] if predictions else systems(asked, folder)
    chosen = named(main(found) if shown == "main" else found)
    return Answers(
        systems={name: one.predictions for name, one in chosen.items()},
        no_synonyms={
            name: other.predictions
            for name, one in chosen.items()
            for other in found
            if other.predictions.parent == one.predictions.parent and other.way == "no-synonyms"
        },
        not_shown=len(found) - len(chosen),
        files={file.stem: file for file in fitting},
        unfit=tuple(file for file in beside if file not in fitting),
        given=bool(predictions),
    )


def lender(dataset: str) -> Dataset:
    """The questions that the floor takes its queries from: the training split, else pocket's."""
    return load_dataset(dataset if has_split(dataset, "train") else "pocket", split="train")


def score_answers(
    questions: Questions,
    answers: Answers,
    *,
    train: Dataset | None,
    neighbours: int,
    deadline: float,
) -> Scores:
    """Score every system in each way that the chapter compares.

    The floor takes its queries from ``train``; None leaves the floor out. If no question can be
    scored, there are no reports.
    """
    data = questions.scored
    variants = build_neighbours(data, count=neighbours)
    found = _read({**answers.files, **answers.systems}, questions) if len(data) else {}
    plain = _read(answers.no_synonyms, questions) if len(data) else {}
    if train is not None and len(data):
        found[FLOOR] = NearestQuestion(train).predict(data)

    def reports(
        by_name: Mapping[str, Sequence[Prediction]],
        rules: Rules,
        on: Mapping[str, Sequence[Path]] | None = None,
    ) -> dict[str, ScoreReport]:
        with Judge(data, rules, neighbours=on, deadline=deadline) as judge:
            return {name: score_with(judge, each) for name, each in by_name.items()}

    official = reports(found, Rules())
    order = sorted(official, key=lambda name: official[name].accuracy().share)
    return Scores(
        data=data,
        neighbours=neighbours,
        variants=variants,
        answers=found,
        reports={name: official[name] for name in order},
        strict=reports(found, Rules(strict=True)),
        wide=reports(found, Rules(etype="exec"), variants),
        no_synonyms=reports(plain, Rules()),
    )


def _read(files: Mapping[str, Path], questions: Questions) -> dict[str, list[Prediction]]:
    """The predictions of each file for the questions that are scored."""
    scored = {example.question_id for example in questions.scored}
    return {
        name: [p for p in read_predictions(file, questions.asked) if p.question_id in scored]
        for name, file in files.items()
    }


def sources(questions: Questions, answers: Answers, *, shown: str, train: Dataset | None) -> str:
    """Which answers and questions the chapter analyses, and what it leaves out, as a list."""
    found = [*_of_systems(answers, questions.asked, shown), *_of_files(answers)]
    found += [*_of_questions(questions), _of_floor(questions.asked, train)]
    return "\n".join(f"- {line}" for line in found)


def _of_systems(answers: Answers, asked: Dataset, shown: str) -> list[str]:
    if not answers.systems:
        missing = (
            f"**There are no students' answers to {asked.name} {asked.split} here.** The training "
            "and scaling chapters leave them."
        )
        return [] if answers.given else [missing]
    line = f"**{len(answers.systems)} systems** of other chapters: {'; '.join(answers.systems)}."
    if shown == "main":
        line += (
            " A trained student is shown with its lowest seed, whatever the accuracy. The scaling "
            "chapter shows the spread over seeds."
        )
    if answers.not_shown:
        line += (
            f" {answers.not_shown} more prediction files are not shown: other seeds, fewer traces, "
            "direct answers only, other ways of asking. `-p shown all` adds them."
        )
    return [line]


def _of_files(answers: Answers) -> list[str]:
    found = [f"**{len(answers.files)} prediction files** were found."] if answers.files else []
    if answers.unfit:
        found.append(
            f"{len(answers.unfit)} prediction files in {answers.unfit[0].parent.name} answer other "
            "questions and are left out."
        )
    return found


def _of_questions(questions: Questions) -> list[str]:
    asked, data, failing = questions.asked, questions.scored, questions.failing
    found = [
        f"{len(data):,} questions of {asked.name} {asked.split} are scored, on {len(data.db_ids)} "
        f"database{'s' * (len(data.db_ids) != 1)}."
    ]
    if missing := asked.missing_databases:
        count = len(asked) - len(data) - len(failing)
        found.append(
            f"**Left out because their databases are missing: {count:,} questions** on "
            f"{', '.join(missing)}."
        )
    if failing:
        found.append(
            f"**Left out because their gold queries fail: {len(failing)} questions**, question_id "
            f"{', '.join(map(str, failing[:_NAMED]))}{', ...' * (len(failing) > _NAMED)}."
        )
    return found


def _of_floor(asked: Dataset, train: Dataset | None) -> str:
    if train is None:
        return "There is no floor: " + (
            "the baseline would retrieve from these same questions."
            if asked.split == "train"
            else "the parameter `floor` turns it off."
        )
    line = (
        "The floor is the baseline *nearest question*. It retrieves the nearest training question "
        "by BM25 and replaces the names in its query with those of the database asked about. It "
        "learns nothing, so a model should do much better."
    )
    if train.name != asked.name:
        line += (
            f" {asked.name} has no training split, so the baseline uses pocket's training "
            "questions."
        )
    return line

"""The plan of chapter 3's students: who is taught on what, and asked with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from distill_sql.book.pages import linking_students as page
from distill_sql.book.pages.linking import Setting
from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.errors import ParameterError
from distill_sql.prompting.prompts import prompt_messages, tokenizer_for
from distill_sql.teacher.traces import Trace, chapter_file


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    """The gold queries of training questions of pocket, as if a teacher had given them."""
    train = load_dataset("pocket", split="train")
    return [
        Trace(
            e.question_id, e.db_id, e.question, e.query, "direct",
            tuple(prompt_messages(train, e, style="compact")), f"```sql\n{e.query}\n```", e.query,
            3, 3, "teacher", 0, 0, 0,
        )
        for e in train.examples[::100]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def dev() -> Dataset:
    return load_dataset("pocket").limit(12)


def plan(
    traces: Sequence[Trace], data: Dataset, *, asked: Sequence[int] = (100, 150, 200),
    taught: Sequence[int] = (), questions: int = 0,
) -> page.Plan:  # fmt: skip
    setting = Setting(data, tokenizer_for(data).count, "compact", (100,))
    return page.plan_students(
        setting, traces, dataset="pocket", size="pocket-s", questions=questions, asked=asked,
        taught=taught, seed=7,
    )  # fmt: skip


def ways(found: page.Plan) -> list[tuple[int, int, bool]]:
    return [(one.recipe.schema_tokens, one.schema_asked, one.synonyms) for one in found.experiments]


def test_one_student_is_taught_on_whole_schemas_and_one_at_the_middle_budget(
    traces: list[Trace], dev: Dataset
) -> None:
    found = plan(traces, dev)
    assert ways(found) == [
        *((0, asked, True) for asked in (0, 100, 150, 200)),
        *((0, asked, False) for asked in (0, 100, 150, 200)),
        (150, 150, True),
    ]
    assert (found.taught, found.recipe.seed, found.recipe.style) == ((150,), 7, "compact")
    assert len(found.questions) == 12
    assert len(plan(traces, dev, questions=5).questions) == 5


def test_without_synonyms_there_is_nothing_to_ask_twice(traces: list[Trace], dev: Dataset) -> None:
    found = plan(traces, dev.without_synonyms(), asked=[100], taught=[100])
    assert ways(found) == [(0, 0, True), (0, 100, True), (100, 100, True)]


def test_a_student_is_taught_by_the_same_answers_with_other_prompts(
    traces: list[Trace], dev: Dataset
) -> None:
    whole, *_, cut = plan(traces, dev).experiments
    assert [one.completion for one in whole.traces] == [one.completion for one in cut.traces]
    assert all(one in traces for one in whole.traces), "as the teacher was asked"
    train = load_dataset("pocket", split="train")
    count = tokenizer_for(train).count
    trace = cut.traces[0]
    example = next(e for e in train if e.question_id == trace.question_id)
    assert trace.schema_tokens == 150
    assert list(trace.messages) == prompt_messages(
        train, example, style="compact", schema_tokens=150, count=count
    )


def test_a_student_cannot_be_taught_at_a_budget_that_is_not_asked(
    traces: list[Trace], dev: Dataset
) -> None:
    with pytest.raises(ParameterError, match=r"taught: \[250\] is not among the budgets asked"):
        plan(traces, dev, taught=[150, 250])


def test_traces_are_read_where_a_student_is_wanted(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert page.traces_for("", "pocket", size="") == []
    read = []
    monkeypatch.setattr(page, "chapter_traces", lambda *given: read.append(given) or ["a trace"])
    assert page.traces_for("", "pocket", size="") == ["a trace"]
    assert page.traces_for("t.jsonl", "pocket", size="pocket-s") == ["a trace"]
    assert page.traces_for("t.jsonl", str(toy_dataset), size="0.5b") == [], "no training split"
    assert read == [("", "pocket"), ("t.jsonl", "pocket")]
    assert not chapter_file("pocket").exists()


def test_what_to_run_where_there_are_no_traces() -> None:
    assert "`distill-sql book run teacher`" in page.untrained_note("pocket")
    assert "-p dataset spider -p size SIZE -p traces FILE`" in page.untrained_note("spider")


def test_the_answers_of_a_plan(
    traces: list[Trace], dev: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = plan(traces, dev, asked=[100])
    asked = []

    def run(experiments: Sequence[object], data: Dataset, folder: Path) -> list[object]:
        asked.append((data, folder))
        return [
            replace(_OUTCOME, experiment=experiment, report=f"report {number}")
            for number, experiment in enumerate(experiments)
        ]

    monkeypatch.setattr(page, "run_experiments", run)
    answers = page.run_plan(found, str(tmp_path))
    assert asked == [(found.questions, tmp_path)]
    assert ways(found) == [(0, 0, True), (0, 100, True), (0, 0, False), (0, 100, False),
                           (100, 100, True)]  # fmt: skip
    assert [one.report for one in answers.usual] == ["report 0", "report 1", "report 4"]
    assert answers.whole == "report 0"
    assert answers.bare == {0: "report 2", 100: "report 3"}
    page.run_plan(found, "")
    assert asked[1][1] == page.FOLDER


_OUTCOME = page.Outcome(None, None, Path("p.jsonl"), None)  # type: ignore[arg-type]

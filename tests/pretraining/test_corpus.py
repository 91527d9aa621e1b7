"""The pretraining corpus: its queries run, and it has nothing in common with the benchmark."""

from __future__ import annotations

import re
import sqlite3
from itertools import islice

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.pocket.domains import load_domains
from distill_sql.pocket.patterns import PATTERNS
from distill_sql.pretraining.corpus import EXERCISES, KINDS, Kind, Lesson, lessons
from distill_sql.pretraining.lexicon import Lexicon
from distill_sql.prompting.prompts import extract_sql
from distill_sql.sql.skeletons import skeleton, skeletons
from distill_sql.training.splits import normal_question


def some(
    lexicon: Lexicon,
    rich: float,
    count: int = 60,
    start: int = 40_000,
    shown: float = 0.0,
    kind: Kind = "benchmark",
) -> list[Lesson]:
    stream = lessons(lexicon, rich, shown, kind=kind, start=start)
    return list(islice(stream, count))


def asked(lesson: Lesson) -> list[str]:
    return [
        found[1] for turn in lesson.turns if (found := re.search(r"Question: (.*)", turn.question))
    ]


@pytest.mark.parametrize("kind", ["benchmark", "drawn"])
@pytest.mark.parametrize(("rich", "shown"), [(1.0, 0.0), (0.0, 0.0), (1.0, 1.0)])
def test_every_query_runs_on_its_schema(
    lexicon: Lexicon, rich: float, shown: float, kind: Kind
) -> None:
    seen = 0
    for lesson in some(lexicon, rich, shown=shown, kind=kind):
        with sqlite3.connect(":memory:") as connection:
            for line in lesson.context.strip().splitlines():
                table, _, columns = line.partition(": ")
                if not columns:
                    continue  # a join
                names = [re.match(r"\w+", column)[0] for column in columns.split(", ")]  # type: ignore[index]
                connection.execute(f"CREATE TABLE {table} ({', '.join(names)})")
            for turn in lesson.turns:
                connection.execute(str(extract_sql(turn.answer)))
                seen += 1
    assert seen > 150


def test_some_conditions_compare_with_a_small_number(lexicon: Lexicon) -> None:
    answers = [turn.answer for one in some(lexicon, 1.0, 120) for turn in one.turns]
    equal = [one for one in answers if re.search(r" = [2-9]\b", one)]
    assert len(answers) / 200 < len(equal) < len(answers) / 10


def test_a_share_of_queries_has_extra_columns(lexicon: Lexicon) -> None:
    def wide(shown: float) -> float:
        """The share of queries whose first column is a key."""
        answers = [t.answer for one in some(lexicon, 1.0, shown=shown) for t in one.turns]
        return sum("_id, " in one.partition(" FROM ")[0] for one in answers) / len(answers)

    none, half, most = map(wide, (0.0, 0.5, 1.0))
    assert none + 0.1 < half < most - 0.1


def test_a_lesson_depends_only_on_its_number(lexicon: Lexicon) -> None:
    assert some(lexicon, 1.0, 8)[5] == some(lexicon, 1.0, 1, start=40_005)[0]
    assert some(lexicon, 1.0, 3) != some(lexicon, 0.0, 3)


def test_copying_comes_first_then_short_queries_on_small_worlds(lexicon: Lexicon) -> None:
    exercises = some(lexicon, 1.0, 20, start=EXERCISES - 20)
    for lesson in exercises:
        ((question, answer),) = lesson.turns
        assert (question, answer) == ("", lesson.context)
        assert len(answer.split()) >= 8

    def largest(start: int) -> tuple[int, int]:
        found = some(lexicon, 1.0, 40, start=start)
        queries = [str(extract_sql(turn.answer)) for one in found for turn in one.turns]
        return max(one.context.count("\n") - 1 for one in found), max(
            len(query.split()) for query in queries
        )

    assert largest(EXERCISES) == (1, 8)
    tables, words = largest(40_000)
    assert tables > 3
    assert words > 20


def test_no_question_is_from_the_benchmark(lexicon: Lexicon) -> None:
    theirs = {
        normal_question(example.question)
        for split in ("train", "validation", "dev")
        for example in load_dataset("pocket", split=split)
    }
    ours = {normal_question(q) for c in some(lexicon, 1.0, 200) for q in asked(c)}
    assert len(ours) > 500
    assert not ours & theirs


def test_the_control_uses_no_pattern_of_the_benchmark(lexicon: Lexicon) -> None:
    names = {kind: {pattern.name for pattern in KINDS[kind]} for kind in KINDS}
    assert not names["drawn"] & {pattern.name for pattern in PATTERNS}
    turns = [turn for one in some(lexicon, 1.0, 120, kind="drawn") for turn in one.turns]
    queries = [str(extract_sql(turn.answer)) for turn in turns]
    assert not [one for one in queries if re.search("INTERSECT|EXCEPT|UNION", one)]
    # It has combinations of clauses that the benchmark's patterns lack.
    assert [one for one in queries if " NOT IN " in one and " ORDER BY " in one]
    assert [one for one in queries if " JOIN " in one and " GROUP BY " in one and "HAVING" in one]


def test_lessons_have_nearly_every_skeleton_of_dev(lexicon: Lexicon) -> None:
    dev = [skeleton(example.query) for example in load_dataset("pocket")]
    shares = {}
    for kind in KINDS:
        turns = [turn for one in some(lexicon, 1.0, 150, kind=kind) for turn in one.turns]
        seen = skeletons(str(extract_sql(turn.answer)) for turn in turns)
        shares[kind] = sum(form in seen for form in dev) / len(dev)
    assert shares["benchmark"] >= 0.98
    assert shares["drawn"] < 0.7


def test_no_world_has_a_table_of_the_benchmark(lexicon: Lexicon) -> None:
    theirs = {
        (table.name, frozenset(column.name for column in table.columns))
        for domain in load_domains()
        for table in domain.tables
    }
    for lesson in some(lexicon, 0.0, 100):
        for line in lesson.context.strip().splitlines():
            table, _, columns = line.partition(": ")
            names = frozenset(re.match(r"\w*", column)[0] for column in columns.split(", "))  # type: ignore[index]
            assert (table, names) not in theirs


def test_joins_are_written_as_in_the_prompt(lexicon: Lexicon) -> None:
    joins = [
        (join, lesson.context)
        for lesson in some(lexicon, 1.0)
        for turn in lesson.turns
        for join in re.findall(r"FROM (\w+ JOIN \w+ ON [\w.]+ = [\w.]+)", turn.answer)
    ]
    assert len(joins) > 50
    assert all(f"\n{join}\n" in context for join, context in joins)

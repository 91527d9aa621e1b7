"""Mentions of names, synonyms and values in questions."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_sql.data.datasets import load_dataset
from distill_sql.data.schema import Column, Schema, Table
from distill_sql.data.sqlite_schema import schema_from_sqlite
from distill_sql.prompting.mentions import Mentions, coverage, mentions_of
from distill_sql.prompting.prompts import prompt_messages

TABLES = """
CREATE TABLE cafe (cafe_id INTEGER PRIMARY KEY, cafe_name TEXT, district TEXT, "opening hour" TEXT);
CREATE TABLE delivery (id INTEGER PRIMARY KEY, cafe_id INTEGER, sent_on TEXT, roast TEXT, name TEXT,
  district TEXT);
INSERT INTO cafe VALUES (1, 'Name of the Rose', 'Old Town', 'nine'), (2, 'Bo''s', 'Station', 'ten');
INSERT INTO delivery VALUES (1, 1, '2020-01-01', 'Dark', 'first', 'North');
"""


@pytest.fixture(scope="module")
def mentions(tmp_path_factory: pytest.TempPathFactory) -> Mentions:
    path: Path = tmp_path_factory.mktemp("db") / "cafes.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return mentions_of(schema_from_sqlite(path), path)


@pytest.mark.parametrize(
    ("question", "marked"),
    [
        ("How many cafes?", "How many cafes [cafe]?"),
        ("When were deliveries sent?", "When were deliveries [delivery] sent [delivery.sent_on]?"),
        (
            "cafes in the Old Town",
            "cafes [cafe] in the Old Town [cafe.district = 'Old Town']",
        ),
        # Not spelled like any value or name: case does not matter.
        ("dark roasts", "dark [delivery.roast = 'Dark'] roasts [delivery.roast]"),
        ("hour of opening", 'hour of opening [cafe."opening hour"]'),
        ("what of Bo's", "what of Bo's [cafe.cafe_name = 'Bo''s']"),
        # Of a column in two tables, the one with the nearest table is meant.
        ("district of the cafe", "district [cafe.district] of the cafe [cafe]"),
        ("each delivery's district", "each delivery [delivery]'s district [delivery.district]"),
        ("any district", "any district [district]"),
        # A longer mention comes before a shorter one inside it.
        ("the Name of the Rose", "the Name of the Rose [cafe.cafe_name = 'Name of the Rose']"),
        ("is it on", "is it on"),
        ("", ""),
        ("¿Qué? — 🙂", "¿Qué? — 🙂"),
    ],
)
def test_mentions_are_marked(mentions: Mentions, question: str, marked: str) -> None:
    assert mentions.mark(question) == marked


SYNONYMS = Schema(
    "shop",
    (
        Table("book", (Column("title"), Column("price_eur", "number", "", ("cost", "dearest")),
                       Column("weight", "number", "", ("cost of sending",))), (), "", ("title",)),
        Table("buyer", (Column("full_name", synonyms=("name",)), Column("since")), (), "",
              ("ski customer",)),
        Table("shop", (Column("name"),)),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("question", "marked"),
    [
        ("the dearest book", "the dearest [book.price_eur] book [book]"),
        ("their cost", "their cost [book.price_eur]"),
        ("the cost of sending it", "the cost of sending [book.weight] it"),
        # A column's synonym must match completely; one word of a table's is enough.
        ("sending them", "sending them"),
        ("which customers", "which customers [buyer]"),
        # A name comes before a synonym, unless the table of the synonym is mentioned nearby.
        ("title of a book", "title [book.title] of a book [book]"),
        ("each name", "each name [shop.name]"),
        ("name of each buyer", "name [buyer.full_name] of each buyer [buyer]"),
    ],
)
def test_listed_synonyms_are_found(question: str, marked: str) -> None:
    assert Mentions(SYNONYMS).mark(question) == marked
    words = question.split()
    plain = Mentions(SYNONYMS.without_synonyms()).mark(question)
    assert plain != marked or set(words) & {"title", "sending", "name"}


def test_a_value_is_found_in_the_plural() -> None:
    found = Mentions(SYNONYMS, [("book", "title", "Comedy")])
    assert found.mark("all comedies") == "all comedies [book.title = 'Comedy']"


def test_a_name_comes_before_a_value_that_is_spelled_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "songs.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE song (name TEXT, mood TEXT); INSERT INTO song VALUES ('x', 'Name');"
        )
    found = mentions_of(schema_from_sqlite(path), path)
    assert found.mark("the name of a song") == "the name [song.name] of a song [song]"
    assert "[song.mood = 'Name']" in found.mark("songs with Name")


def test_the_compact_style_marks_and_the_full_one_does_not() -> None:
    dev = load_dataset("pocket")
    example = next(e for e in dev if e.question == "How many clients live in each city?")
    texts = {s: prompt_messages(dev, example, style=s)[1]["content"] for s in ("full", "compact")}
    assert "live in each city [owner.city]?" in texts["compact"]
    assert "live in each city?" in texts["full"]


def test_coverage_counts_what_gold_names_and_what_is_marked(tmp_path: Path) -> None:
    folder = tmp_path / "database" / "cafes"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "cafes.sqlite")) as connection:
        connection.executescript(TABLES)
    asked = [
        (
            "Which cafes are in the Old Town?",
            "SELECT cafe_name FROM cafe WHERE district = 'Old Town'",
        ),
        ("Coffee shops in Station?", 'SELECT count(*) FROM cafe WHERE district = "Station"'),
        (
            "What was sent?",
            "SELECT T2.id FROM cafe AS T1 JOIN delivery AS T2 ON T1.cafe_id = T2.cafe_id",
        ),
        # cannot be parsed, and does not count
        ("Cafes in Station?", "SELECT CAST(cafe_id AS UNSIGNED BIG INT) FROM cafe"),
    ]
    (tmp_path / "dev.json").write_text(
        json.dumps([{"db_id": "cafes", "question": q, "query": sql} for q, sql in asked])
    )
    of = {found["of"]: found for found in coverage(load_dataset(str(tmp_path)))}
    assert (of["tables"]["wanted"], of["tables"]["recall"]) == (4, 0.25)
    assert (of["columns"]["wanted"], of["columns"]["marked"]) == (4, 3)
    assert of["columns"]["recall"] == 0.5  # district twice; neither cafe_name nor id
    assert (of["values"]["wanted"], of["values"]["recall"], of["values"]["precision"]) == (2, 1, 1)


def test_about_half_of_what_pocket_wants_is_said_in_its_own_words() -> None:
    """One in five of pocket's questions uses synonyms, so coverage has both bounds."""
    for synonyms, most in ((False, 0.9), (True, 0.95)):
        for found in coverage(load_dataset("pocket"), synonyms=synonyms):
            assert 0.4 < found["recall"] < most
            assert found["precision"] > 0.75


def test_only_tables_that_are_shown_are_mentioned(mentions: Mentions, tmp_path: Path) -> None:
    """The mentions are those of a schema restricted to the shown tables."""
    path = tmp_path / "cafes.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    schema = schema_from_sqlite(path)
    questions = (
        "district of the cafe", "any district", "the Name of the Rose", "dark roasts of a cafe",
        "each delivery's district in the Old Town of the north", "first opening hour",
    )  # fmt: skip
    for names in ({"cafe"}, {"delivery"}, set(), {"cafe", "delivery"}):
        restricted = mentions_of(schema.restrict(names), path)
        for question in questions:
            assert mentions.mark(question, shown=names) == restricted.mark(question)
    assert mentions.mark("any district", shown={"cafe"}) == "any district [cafe.district]"

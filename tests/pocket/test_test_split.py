"""The properties of the test split that its README states; no model runs here."""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlglot import exp

from distill_sql.data.datasets import Dataset, load_dataset
from distill_sql.data.neighbours import has_ties, tie_query
from distill_sql.errors import DatasetError
from distill_sql.pocket import sealed
from distill_sql.pocket.domains import load_domains
from distill_sql.pocket.patterns import PATTERNS
from distill_sql.scoring import hardness
from distill_sql.scoring.mutants import mutants
from distill_sql.sql.parsing import parse_query
from distill_sql.sql.sandbox import Sandbox
from distill_sql.sql.skeletons import skeleton, skeletons

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("train", "validation", "dev")
#: SHA-256 of the questions and rows of the other splits, from before the test split was added.
BEFORE = {
    "train": "7f5c62381234c77d842aec6d3e9b3dce87ac9a9620fdf063668111b2574ea7eb",
    "validation": "dc5977ad19fa687fc1af7f8dda5d4f138f0ee49c4b35a815a521222dd5d99cc5",
    "dev": "8b91c7c22180b981326952d0433900cdbd03633ea279a90f73c0d2c613501d8d",
}
#: The join without a foreign key in each database.
UNDECLARED = {
    "court_docket": ("FeePd", "cs"),
    "dig_site": ("FindReg", "stf"),
    "harbour_log": ("TugJob", "tug"),
    "it_desk": ("tkt", "Asset"),
    "sky_obs": ("expo", "PropSub"),
    "xl8_agency": ("Inv", "Prj"),
}
#: Names that are not specific to a domain.
GENERIC = {"Job", "full name", "tag", "tier", "task", "area_m2"}


@pytest.fixture(scope="module")
def split() -> Dataset:
    return sealed.with_gold()


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("pocket", split="train")


def test_it_is_frozen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sealed.digest() == sealed.SHA256
    sealed.check_frozen()
    for path in sealed.FOLDER.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text())
    changed = tmp_path / "dig_site.sql"
    changed.write_text(changed.read_text().replace("Agnes", "Agness", 1))
    monkeypatch.setattr(sealed, "FOLDER", tmp_path)
    with pytest.raises(DatasetError, match="raise VERSION and set SHA256"):
        sealed.check_frozen()


def test_the_digest_ignores_line_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in sealed.FOLDER.glob("*.sql"):
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(sealed, "FOLDER", tmp_path)
    assert sealed.digest() == sealed.SHA256


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_splits_have_not_changed(name: str) -> None:
    dataset = load_dataset("pocket", split=name)
    digest = hashlib.sha256((dataset.root / f"{name}.json").read_bytes())
    for db_id in sorted(dataset.db_ids):
        with closing(sqlite3.connect(dataset.database_path(db_id))) as connection:
            digest.update("\n".join(connection.iterdump()).encode())
    assert digest.hexdigest() == BEFORE[name]


def test_size_and_shape(split: Dataset) -> None:
    assert len(split) >= 200
    assert len(split.db_ids) == 6
    assert min(Counter(e.db_id for e in split).values()) >= 30
    for db_id in split.db_ids:
        schema = split.schema(db_id)
        assert 4 <= len(schema.tables) <= 8
        assert any(" " in column.name for table in schema.tables for column in table.columns)
        assert schema == schema.without_synonyms()


def test_hardness_is_roughly_spiders_mix(split: Dataset) -> None:
    counts = Counter(hardness(example.query) for example in split)
    for level, share in {"easy": 0.24, "medium": 0.43, "hard": 0.17, "extra": 0.16}.items():
        assert abs(counts[level] / len(split) - share) < 0.05, counts


def test_one_join_of_each_database_has_no_foreign_key(split: Dataset) -> None:
    assert set(UNDECLARED) == set(split.db_ids)
    for db_id, pair in UNDECLARED.items():
        schema = split.schema(db_id)
        assert schema.foreign_keys
        assert pair[1] not in {k.ref_table for k in schema.foreign_keys if k.table == pair[0]}
        asked = [parse_query(e.query) for e in split if e.db_id == db_id]
        assert any(
            set(pair) <= {t.name for t in tree.find_all(exp.Table)} for tree in asked if tree
        )


def test_references_hold_and_values_are_dirty(split: Dataset) -> None:
    for db_id in split.db_ids:
        with closing(sqlite3.connect(split.database_path(db_id))) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            dump = "\n".join(connection.iterdump())
        assert "NULL" in dump
        assert re.search(r"'\d\d\.\d\d\.\d{4}'", dump), db_id
        assert re.search(r"'\d{4}-\d\d-\d\d'", dump), db_id
        assert 100 < dump.count("INSERT INTO") < 900


def test_every_gold_query_is_worth_asking(split: Dataset) -> None:
    with Sandbox() as sandbox:
        for example in split:
            path = split.database_path(example.db_id)
            gold = sandbox.run(path, example.query)
            assert gold.ok, (example, gold)
            assert 0 < len(gold.rows) <= 200, example
            assert any(value is not None for row in gold.rows for value in row), example
            assert gold.rows != [(0,)], example
            wrong = mutants(example.query, split.schema(example.db_id))
            results = (sandbox.run(path, mutant.sql) for mutant in wrong)
            assert any(r.ok and Counter(r.rows) != Counter(gold.rows) for r in results), example


def test_no_order_has_ties(split: Dataset) -> None:
    seen = 0
    for example in split:
        tree = parse_query(example.query)
        assert tree is not None, example
        for select in tree.find_all(exp.Select):
            if select.args.get("order") is None:
                continue
            shown = tie_query(select.sql("sqlite"))
            assert shown is not None, example
            with closing(sqlite3.connect(split.database_path(example.db_id))) as connection:
                rows = connection.execute(shown[0]).fetchall()
            assert not has_ties(rows, shown[1]), example
            seen += 1
    assert seen > 20


def test_no_rounding_depends_on_the_last_bit(split: Dataset) -> None:
    """Another correct way to compute a number is rounded to the same result."""
    halves: list[float] = []

    def rounded(value: float | None, digits: int = 0) -> float | None:
        if value is None:
            return None
        scaled = value * 10**digits
        halves.append(abs(scaled - math.floor(scaled) - 0.5))
        return round(value, digits)

    for example in split:
        with closing(sqlite3.connect(split.database_path(example.db_id))) as connection:
            connection.create_function("round", 1, rounded)
            connection.create_function("round", 2, rounded)
            connection.execute(example.query).fetchall()
        assert min(halves, default=1) > 1e-6, example
    assert len(halves) > 50


def test_two_queries_in_five_have_a_skeleton_that_training_lacks(
    split: Dataset, train: Dataset
) -> None:
    known = skeletons(e.query for e in train)
    forms = [skeleton(e.query) for e in split]
    assert None not in forms
    assert sum(form not in known for form in forms) / len(forms) >= 0.4
    # The new skeletons do not repeat: most occur once.
    new = Counter(form for form in forms if form not in known)
    assert sum(count == 1 for count in new.values()) / len(split) >= 0.4


def _masked(text: str) -> frozenset[str]:
    """The set of words of a question, without slots and values."""
    text = re.sub(r"\{\w+\}", " ", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"|[\d.,]*\d", " ", text)
    return frozenset(re.findall(r"[a-z]+", text.lower()))


def _nearness(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _filled(phrasing: str) -> re.Pattern[str]:
    """A pattern that matches a phrasing with up to five words in each slot."""
    form = ""
    for text, slots in re.findall(r"([^{}]*)((?:\{\w+\} ?)*)", phrasing):
        words = 5 * slots.count("{") - 1
        form += re.escape(text.strip()).replace(r"\ ", r"\s") + r"\s*"
        form += rf"\S+(?:\s\S+){{0,{words}}}?\s*" if slots else ""
    return re.compile(form, re.IGNORECASE)


def test_no_question_matches_a_phrasing_of_the_generator(split: Dataset) -> None:
    phrasings = [text for pattern in PATTERNS for text in (*pattern.train, *pattern.held_out)]
    assert _filled("How many {things} are there?").fullmatch("How many old red boats are there?")
    assert not _filled("How many {things} are there?").fullmatch("How many boats are there now?")
    # A phrasing of few words besides its slots matches too many questions.
    forms = [_filled(text) for text in phrasings if len(_masked(text)) >= 3]
    assert len(forms) > 0.9 * len(phrasings)
    for example in split:
        for form in forms:
            assert not form.fullmatch(example.question), (example.question, form.pattern)


def test_no_question_is_similar_to_one_of_another_split(split: Dataset) -> None:
    known = {
        _masked(text): text
        for text in (
            *(text for pattern in PATTERNS for text in (*pattern.train, *pattern.held_out)),
            *(e.question for name in OTHERS for e in load_dataset("pocket", split=name)),
        )
    }
    for example in split:
        words = _masked(example.question)
        near = max(known, key=lambda other: _nearness(words, other))
        assert _nearness(words, near) < 0.6, (example.question, known[near])


def test_questions_share_no_template(split: Dataset) -> None:
    assert len({e.question.lower() for e in split}) == len(split)
    openings = Counter(" ".join(e.question.lower().split()[:3]) for e in split)
    assert max(openings.values()) <= 4, openings.most_common(5)
    masked = [_masked(e.question) for e in split]
    for place, words in enumerate(masked):
        for other in masked[:place]:
            assert _nearness(words, other) < 0.6, (words, other)


def test_names_are_new(split: Dataset) -> None:
    known = {
        word.lower()
        for domain in load_domains()
        for table in domain.tables
        for word in (table.name, *table.one, *table.many, *(c.name for c in table.columns))
    }
    corpus = "".join(p.read_text() for p in (ROOT / "distill_sql/pretraining").glob("*.toml"))
    subjects = ("translat", "linguist", "harbour", "vessel", "excavat", "trench", "help desk",
                "telescope", "observatory", "court", "attorney")  # fmt: skip
    for subject in subjects:
        assert not re.search(rf"\b{subject}", corpus, re.IGNORECASE), subject
    for db_id in split.db_ids:
        assert db_id not in {domain.db_id for domain in load_domains()}
        schema = split.schema(db_id)
        names = {t.name for t in schema.tables} | {c.name for t in schema.tables for c in t.columns}
        shared = {name for name in names if name.lower() in known} - GENERIC
        assert not shared, (db_id, shared)


def test_the_questions_are_loaded_without_gold_queries() -> None:
    asked = load_dataset("pocket", split="test")
    assert asked.name == "pocket"
    assert {example.query for example in asked} == {""}
    assert "SELECT" not in (asked.root / "test.json").read_text()
    assert [e.question for e in asked] == [e.question for e in sealed.with_gold()]


def test_no_other_module_reads_it() -> None:
    allowed = {"pocket/__init__.py", "pocket/sealed.py", "pocket/reading.py", "cli/pocket.py"}
    library = ROOT / "distill_sql"
    for path in [*library.rglob("*.py"), *(ROOT / "notebooks").glob("*.md")]:
        name = str(path.relative_to(library)) if library in path.parents else path.name
        if name not in allowed:
            text = path.read_text()
            assert not re.search(r"pocket\.sealed import|import sealed|with_gold", text), path
            assert not re.search(r"""split\s*=\s*["']test["']""", text), path
            assert "pocket/test" not in text, path

"""The questions of a pocket database: generated from patterns and filtered, or hand-written.

A generated question is kept if its query returns rows, its superlative has no tie, some plausible
wrong query (:mod:`distill_sql.scoring.mutants`) returns other rows, and neither its words nor its
query are used already. Hand-written questions are read from ``questions/<db_id>.sql``.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from distill_sql.errors import DatasetError
from distill_sql.files import read_text
from distill_sql.pocket.domains import SOURCES, Domain
from distill_sql.pocket.patterns import PATTERNS, Draft
from distill_sql.pocket.phrases import Speaker
from distill_sql.scoring.hardness import LEVELS, Hardness, hardness
from distill_sql.scoring.mutants import mutants

#: The share of each level of hardness, that of Spider dev rounded to percents.
MIX: dict[Hardness, float] = {"easy": 0.24, "medium": 0.43, "hard": 0.17, "extra": 0.16}
#: The number of generated questions per database, by split.
PER_DATABASE = {"train": 145, "validation": 80, "dev": 62}
#: Attempts per wanted question; after that, a database has fewer questions.
PATIENCE = 60
#: The most rows that the answer to a generated question may have.
MAX_ROWS = 200


@dataclass(frozen=True)
class Question:
    """A question in the benchmark's files; ``source`` is "generated" or "handwritten"."""

    db_id: str
    question: str
    query: str
    source: str
    pattern: str

    def record(self) -> dict[str, str]:
        """The JSON record."""
        return asdict(self)


def handwritten(domain: Domain) -> list[Question]:
    """The hand-written questions of a database; none if it has no file."""
    path = SOURCES / "questions" / f"{domain.db_id}.sql"
    return read_handwritten(path, domain.db_id) if path.is_file() else []


def read_handwritten(path: Path, db_id: str) -> list[Question]:
    """Read the questions of a file: each is one comment line with its query below it.

    Raises :class:`DatasetError`, which names the file and the question, if a query is missing.
    """
    found = []
    text = read_text(path)
    for number, block in enumerate(re.split(r"^-- ", text, flags=re.MULTILINE)[1:], 1):
        question, _, query = block.partition("\n")
        query = " ".join(query.split())
        if not query.endswith(";"):
            raise DatasetError(
                f"{path}: question {number} ({question.strip()!r}) has no query that ends with a "
                "semicolon. Write the question as one comment line and its query below it."
            )
        found.append(Question(db_id, question.strip(), query[:-1].rstrip(), "handwritten", ""))
    return found


def generate(domain: Domain, connection: sqlite3.Connection, taken: set[str]) -> list[Question]:
    """Generate a database's questions with the shares of :data:`MIX`.

    ``taken`` holds the questions and queries that exist already; the new ones are added to it.
    """
    random = Random(f"{domain.db_id}/questions")
    speaker = Speaker(domain, connection, random)
    kept: list[Question] = []
    written = handwritten(domain)
    wanted = PER_DATABASE[domain.split]
    missing = _wanted(wanted + len(written))
    for question in written:
        if level := hardness(question.query):
            missing[level] -= 1
    uses: Counter[str] = Counter()
    for _ in range(wanted * PATIENCE):
        if len(kept) == wanted:
            break
        # A pattern becomes less likely with each use, so that no kind of question dominates.
        weights = [pattern.weight / (1 + uses[pattern.name]) for pattern in PATTERNS]
        pattern = random.choices(PATTERNS, weights)[0]
        draft = pattern.draw(speaker)
        if draft is None:
            continue
        level = hardness(draft.sql)
        if level is None or missing[level] <= 0:
            continue
        phrasings = pattern.train if domain.split == "train" else pattern.held_out
        words = sentence(random.choice(phrasings), draft)
        keys = {words.lower(), f"{domain.db_id}: {draft.sql.lower()}"}
        if keys & taken or not worth_asking(domain, connection, draft):
            continue
        taken |= keys
        missing[level] -= 1
        uses[pattern.name] += 1
        kept.append(Question(domain.db_id, words, draft.sql, "generated", pattern.name))
    return [*written, *kept]


def _wanted(total: int) -> dict[Hardness, int]:
    counts = {level: round(share * total) for level, share in MIX.items()}
    counts["medium"] += total - sum(counts.values())
    return {level: counts[level] for level in LEVELS}


def sentence(phrasing: str, draft: Draft) -> str:
    """A phrasing with its slots filled, as a sentence."""
    return polished(phrasing.format(**draft.slots))


def polished(text: str) -> str:
    """A text as a sentence: single spaces, *an* before vowels, a capital first letter.

    >>> polished("which  is a old tree?")
    'Which is an old tree?'
    """
    text = " ".join(text.split())
    text = re.sub(r"\ba (?=[aeio]|u[^ns]|hour)", "an ", text)
    text = re.sub(r"(whose [^,.?]+?) (whose )(?!.*(?:and|or) whose)", r"\1 and \2", text)
    return text[0].upper() + text[1:]


def worth_asking(domain: Domain, connection: sqlite3.Connection, draft: Draft) -> bool:
    """Whether a draft has an answer without ties that some wrong query does not give."""
    rows = connection.execute(draft.sql).fetchall()
    if not 0 < len(rows) <= MAX_ROWS or all(value is None for row in rows for value in row):
        return False
    if draft.tie:
        leaders = connection.execute(draft.tie).fetchall()
        if len(leaders) == 2 and leaders[0] == leaders[1]:
            return False
    return told_apart(domain, connection, draft.sql, rows)


def told_apart(
    domain: Domain, connection: sqlite3.Connection, sql: str, rows: list[tuple[Any, ...]]
) -> bool:
    """Whether some plausible wrong query returns other rows than ``rows``."""
    return any(
        _rows(connection, mutant.sql, len(rows)) != sorted(rows, key=repr)
        for mutant in mutants(sql, domain.schema)
    )


def _rows(connection: sqlite3.Connection, sql: str, count: int) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(sql).fetchmany(count + 1), key=repr)

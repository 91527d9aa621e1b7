"""The questions of a pocket database: drawn from patterns, kept only if they test something.

A drawn question is kept if its query gives rows, its superlative is not tied, some plausible wrong
query (:mod:`distill_sql.scoring.mutants`) gives other rows, and neither its words nor its query
were drawn before. Hand-written questions are read from ``questions/<db_id>.sql``.
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

#: Share of each level of hardness: Spider dev's, to the percent.
MIX: dict[Hardness, float] = {"easy": 0.24, "medium": 0.43, "hard": 0.17, "extra": 0.16}
#: Generated questions per database of each split.
PER_DATABASE = {"train": 145, "validation": 80, "dev": 62}
#: Drawings per question wanted, after which a database has to do with fewer.
PATIENCE = 60
#: The longest answer of a generated question, in rows.
MAX_ROWS = 200


@dataclass(frozen=True)
class Question:
    """A question as it stands in the benchmark's files; ``source`` is generated or handwritten."""

    db_id: str
    question: str
    query: str
    source: str
    pattern: str

    def record(self) -> dict[str, str]:
        """The JSON record."""
        return asdict(self)


def handwritten(domain: Domain) -> list[Question]:
    """The questions that were written by hand for a database; none if it has no file."""
    path = SOURCES / "questions" / f"{domain.db_id}.sql"
    return read_handwritten(path, domain.db_id) if path.is_file() else []


def read_handwritten(path: Path, db_id: str) -> list[Question]:
    """The questions of a file: each is one comment line, and its query stands below it.

    Raises :class:`DatasetError` naming the file and the place where a question lacks its query.
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
    """Draw a database's questions at the mix of :data:`MIX`.

    ``taken`` holds the questions and queries that are taken already; it grows.
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
        # Patterns that were used less come first, so that no kind of question crowds out another.
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
    """A phrasing with its slots filled in, as a sentence."""
    return polished(phrasing.format(**draft.slots))


def polished(text: str) -> str:
    """Words as a sentence: single spaces, *an* where it belongs, a capital.

    >>> polished("which  is a old tree?")
    'Which is an old tree?'
    """
    text = " ".join(text.split())
    text = re.sub(r"\ba (?=[aeio]|u[^ns]|hour)", "an ", text)
    text = re.sub(r"(whose [^,.?]+?) (whose )(?!.*(?:and|or) whose)", r"\1 and \2", text)
    return text[0].upper() + text[1:]


def worth_asking(domain: Domain, connection: sqlite3.Connection, draft: Draft) -> bool:
    """Whether a draft has an answer, only one, and one that a wrong query does not give."""
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
    """Whether some plausible wrong query gives other rows than ``rows``."""
    return any(
        _rows(connection, mutant.sql, len(rows)) != sorted(rows, key=repr)
        for mutant in mutants(sql, domain.schema)
    )


def _rows(connection: sqlite3.Connection, sql: str, count: int) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(sql).fetchmany(count + 1), key=repr)

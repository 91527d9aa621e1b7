"""Reading the question files of Spider and BIRD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_sql.data.databases import check_name
from distill_sql.errors import DatasetError
from distill_sql.files import parse_json, read_json, read_json_lines, read_text

#: Spider-Syn's field for its own question, beside Spider's.
SYNONYMS = "SpiderSynQuestion"


def read_examples(file: Path) -> list[dict[str, Any]]:
    """Read a Spider or BIRD question file, checking every record's fields.

    A record has ``db_id``, ``question`` and ``query`` (BIRD: ``SQL``). Spider-Syn's questions
    become ``question``. The file is a JSON list or JSON Lines. Raises :class:`DatasetError` naming
    the file and the first invalid record.
    """
    records = _read_records(file)
    if not isinstance(records, list):
        raise DatasetError(
            f"{file}: expected a list of questions, found {type(records).__name__}. "
            'Each is an object like {"db_id": "...", "question": "...", "query": "..."}.'
        )
    if not records:
        raise DatasetError(f"{file} has no questions (an empty list). Check the download.")
    for position, record in enumerate(records):
        found = record if isinstance(record, dict) else {}
        if SYNONYMS in found:
            found.setdefault("question", found[SYNONYMS])
        missing = [
            "/".join(names) + "".join(f" (found {found[n]!r:.40})" for n in names if n in found)
            for names in (("db_id",), ("question",), ("query", "SQL"))
            if not any(isinstance(found.get(name), str) for name in names)
        ]
        if not isinstance(evidence := found.get("evidence"), str | None):
            missing.append(f"evidence (found {evidence!r:.40})")
        if missing:
            raise DatasetError(
                f"{file}: question {position} has no text for {', '.join(missing)}; found the keys "
                f"{sorted(found)[:20] or type(record).__name__}. Add what is missing."
            )
        check_name(record["db_id"], what=f"{file}, question {position}: the db_id")
    return records


def _read_records(file: Path) -> Any:
    """The value of a question file; for JSON Lines, the list of values."""
    text = read_text(file).lstrip()
    if not text.startswith("{"):
        return read_json(file)
    try:
        value = parse_json(text)
    except ValueError:
        fix = "Give one question per line, or one list of all questions."
        return [value for _, value in read_json_lines(file, fix=fix)]
    return [value] if "db_id" in value else value


def question_ids(records: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[int]:
    """The ids in the file, as numbers or text, if all are distinct; else positions from 0."""
    given = [record.get("question_id") for _, record in records]
    ids = [int(key) for key in map(str, given) if key.isascii() and key.isdigit() and len(key) < 16]
    return ids if len(set(ids)) == len(records) else list(range(len(records)))

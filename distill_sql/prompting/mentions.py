"""Mentions: which names of a schema, and which of its values, a question contains.

The stems of a question's words are compared with the stems of names, of listed synonyms and of
values. Each match is written behind the words, so that the model need not find it again::

    How many cafes in the Old Town [cafe.district = 'Old Town'] ...

Values are linked as in BRIDGE (Lin et al., *Bridging Textual and Tabular Data*, 2020). Synonyms
come from a semantic layer; those that it does not list are left to the model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from distill_sql.data.databases import Reader
from distill_sql.data.datasets import Dataset
from distill_sql.data.schema import Column, Schema, Table
from distill_sql.prompting.words import FUNCTION_WORDS, WORD, stem, stems, synonym_stems
from distill_sql.sql.names import identifier, quote_identifier

#: How many distinct values of a text column can be mentioned, and their greatest length.
VALUES_PER_COLUMN = 2000
VALUE_LENGTH = 60
#: The least share of a name's words that a question must contain.
SHARE = 0.5


class Mention(NamedTuple):
    """Characters ``start`` to ``end`` of a question mention ``label``."""

    start: int
    end: int
    label: str


class _Name(NamedTuple):
    table: str
    column: str
    stems: frozenset[str]
    own: bool


class _Value(NamedTuple):
    words: tuple[str, ...]
    table: str
    column: str
    spelled: str


class Mentions:
    """Finds one database's names and values in questions.

    ``values`` are its text values: table, column, and the value as the database spells it.
    """

    def __init__(self, schema: Schema, values: Iterable[tuple[str, str, str]] = ()) -> None:
        self._names: dict[str, list[_Name]] = defaultdict(list)
        for table in schema.tables:
            named: list[tuple[Table | Column, str]] = [(table, "")]
            named += ((column, column.name) for column in table.columns)
            for part, column_name in named:
                own = stems(part.name)
                for words in dict.fromkeys((own, *map(synonym_stems, part.synonyms))):
                    for word in words:
                        self._names[word].append(
                            _Name(table.name, column_name, words, words is own)
                        )
        self._values: dict[str, list[_Value]] = defaultdict(list)
        for table_name, column_name, value in values:
            if said := tuple(stem(word) for word in WORD.findall(value)):
                self._values[said[0]].append(_Value(said, table_name, column_name, value))
        for found in self._values.values():
            found.sort(key=lambda value: -len(value.words))

    def mark(self, question: str, *, shown: Collection[str] | None = None) -> str:
        """``question`` with the label of each mention in brackets behind it.

        ``shown`` names the tables that the prompt shows (None: all); others are not mentioned.
        """
        marked, done = "", 0
        for mention in self.find(question, shown=shown):
            marked += f"{question[done : mention.end]} [{mention.label}]"
            done = mention.end
        return marked + question[done:]

    def find(self, question: str, *, shown: Collection[str] | None = None) -> list[Mention]:
        """The mentions in ``question`` of the tables ``shown`` (None: all), from left to right.

        Mentions do not overlap: the longest match wins. Among columns that match equally well, the
        one whose table is mentioned nearest wins. If no such table is mentioned, the label is the
        name that the columns share; if they share none, there is no mention.
        """
        said = list(WORD.finditer(question))
        lower = [word[0].lower() for word in said]
        spans: list[tuple[int, int, list[_Name], list[_Value]]] = []
        place = 0
        while place < len(said):
            values, length = self._values_at(lower, place, shown)
            names, words = self._names_at(lower, place, shown)
            spelled = question[said[place].start() : said[place + max(length, 1) - 1].end()]
            # A value that is not longer than a name wins only if it is spelled exactly so.
            if length > words or any(value.spelled == spelled for value in values):
                spans.append((place, place + length, [], values))
            elif names:
                spans.append((place, place + words, names, []))
            place += max(length, words, 1)
        tables = [
            (start, name.table) for start, _, names, _ in spans for name in names if not name.column
        ]
        found = []
        for start, end, names, values in spans:
            if names:
                near = _nearest([(n.table, n.column) for n in names], start, tables)
                names = [name for name in names if (name.table, name.column) in near]
                # A table's or column's own name comes before a synonym.
                names = [name for name in names if name.own] or names
            places = [(n.table, n.column) for n in names] or _nearest(
                [(v.table, v.column) for v in values], start, tables
            )
            if label := _label(list(dict.fromkeys(places))):
                value = f" = {_quoted(values[0].spelled)}" if values else ""
                found.append(Mention(said[start].start(), said[end - 1].end(), label + value))
        return found

    def _values_at(
        self, words: list[str], place: int, shown: Collection[str] | None
    ) -> tuple[list[_Value], int]:
        """The longest values that begin at ``place``, and their length in words."""
        if words[place] in FUNCTION_WORDS:
            return [], 0
        fitting = [
            value
            for value in self._values.get(stem(words[place]), ())
            if (shown is None or value.table in shown)
            and value.words == tuple(map(stem, words[place : place + len(value.words)]))
        ]
        length = max((len(value.words) for value in fitting), default=0)
        return [value for value in fitting if len(value.words) == length], length

    def _names_at(
        self, words: list[str], place: int, shown: Collection[str] | None
    ) -> tuple[list[_Name], int]:
        """The names that match the most words from ``place`` on, complete names first."""
        best = (0, 0.0)
        names: list[_Name] = []
        length = 0
        if words[place] in FUNCTION_WORDS:
            return [], 0
        for name in self._names.get(stem(words[place]), ()):
            if shown is not None and name.table not in shown:
                continue
            matched: set[str] = set()
            end = place
            for offset, word in enumerate(words[place:]):
                if stem(word) in name.stems:
                    matched.add(stem(word))
                    end = place + offset + 1
                elif word not in FUNCTION_WORDS:
                    break
            share = len(matched) / len(name.stems)
            if share < (SHARE if name.own or not name.column else 1):
                continue
            # A complete table name comes before a column of the same words.
            quality = (len(matched), share + (0.1 if name.own and not name.column else 0.0))
            if quality > best:
                best, names, length = quality, [], end - place
            if quality == best:
                names.append(name)
        return names, length


def _nearest(
    places: list[tuple[str, str]], start: int, tables: list[tuple[int, str]]
) -> list[tuple[str, str]]:
    """The columns whose table is mentioned nearest; all of them if no table is mentioned."""
    if len(places) == 1:
        return places
    own = {table for table, _ in places}
    near = min(
        (mention for mention in tables if mention[1] in own),
        key=lambda mention: abs(mention[0] - start),
        default=None,
    )
    return [place for place in places if near is None or place[0] == near[1]]


def _label(places: list[tuple[str, str]]) -> str:
    columns = {column for _, column in places}
    if len(columns) != 1:
        return ""
    table, column = places[0]
    if len(places) > 1:
        return identifier(column) if column else ""
    return f"{identifier(table)}.{identifier(column)}" if column else identifier(table)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@lru_cache(maxsize=1024)
def mentions_of(schema: Schema, path: Path) -> Mentions:
    """The :class:`Mentions` of a SQLite file, built on first use."""
    with Reader(path) as reader:
        values = [
            (table.name, column, value)
            for table in schema.tables
            for column, value in _text_values(reader, table, VALUES_PER_COLUMN)
            if len(value) <= VALUE_LENGTH
        ]
    return Mentions(schema, values)


def coverage(dataset: Dataset, *, synonyms: bool = True) -> list[dict[str, Any]]:
    """Recall and precision of mentions against the gold queries.

    Without ``synonyms``, listed synonyms are not looked for. One record each for tables,
    for columns (without those used in joins only) and for text values: ``wanted`` counts what the
    gold queries contain, once per question, and ``marked`` what is mentioned; ``recall`` is a share
    of the first and ``precision`` of the second. Questions whose gold query cannot be parsed do not
    count.
    """
    wanted: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for example in dataset:
        schema = dataset.schema(example.db_id)
        schema = schema if synonyms else schema.without_synonyms()
        found = mentions_of(schema, dataset.database_path(example.db_id)).find(example.question)
        gold = _gold_parts(example.query, schema)
        if gold is None:
            continue
        said: dict[str, set[str]] = {kind: set() for kind in gold}
        for label in (mention.label for mention in found):
            name, _, value = label.partition(" = ")
            table, _, column = name.rpartition(".")
            if value:
                said["values"].add(value.lower())
            # A column that several tables share is marked without a table.
            said["tables" if not table and name in schema else "columns"].add(column.lower())
        for kind, parts_ in gold.items():
            wanted[kind] += len(parts_)
            marked[kind] += len(said[kind])
            both[kind] += len(parts_ & said[kind])
    return [
        {
            "of": kind,
            "wanted": wanted[kind],
            "recall": both[kind] / max(wanted[kind], 1),
            "marked": marked[kind],
            "precision": both[kind] / max(marked[kind], 1),
        }
        for kind in wanted
    ]


def _gold_parts(query: str, schema: Schema) -> dict[str, set[str]] | None:
    """The names and values of a gold query; None if it cannot be parsed."""
    from sqlglot import exp

    from distill_sql.sql.parsing import parse

    tree = parse(query)
    if tree is None:
        return None
    known = {column.name.lower() for table in schema.tables for column in table.columns}
    columns, values = set(), {text.this for text in tree.find_all(exp.Literal) if text.is_string}
    for column in tree.find_all(exp.Column):
        # SQLite reads a double-quoted name that does not exist as a string.
        if column.this.quoted and column.name.lower() not in known:
            values.add(column.name)
        elif not column.find_ancestor(exp.Join):
            columns.add(column.name.lower())
    return {
        "tables": {table.name.lower() for table in tree.find_all(exp.Table)},
        "columns": columns,
        "values": {_quoted(value).lower() for value in values if "%" not in value},
    }


def text_values(path: Path, table: Table, limit: int) -> Iterator[tuple[str, str]]:
    """At most ``limit`` distinct values of each text column, as the database spells them."""
    with Reader(path) as reader:
        yield from _text_values(reader, table, limit)


def _text_values(reader: Reader, table: Table, limit: int) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        if column.type == "text":
            name = f"{quote_identifier(table.name)}.{quote_identifier(column.name)}"
            query = (
                f"SELECT DISTINCT {name} FROM {quote_identifier(table.name)} "
                f"WHERE typeof({name}) = 'text' LIMIT {limit}"
            )
            yield from ((column.name, value) for (value,) in reader.rows(table.name, query))

"""What the pocket ladder's models read before they meet a question of the benchmark.

A lesson is about one world: its schema, and several questions, marked with what they mention, each
with its query. Two languages: ``rich`` asks in sentences, with synonyms, and sometimes wants
reasons first; ``terse`` asks in keywords and in the schema's own words more often.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

from distill_sql.data.schema import Column, Schema, Table
from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pocket.patterns import PATTERNS, Draft
from distill_sql.pocket.patterns.registry import Pattern
from distill_sql.pocket.phrases import Filter, Speaker, sql_value
from distill_sql.pocket.questions import polished
from distill_sql.pretraining.drawn import DRAWN_PATTERNS
from distill_sql.pretraining.lexicon import Lexicon, invented, plural
from distill_sql.pretraining.patterns import MORE_PATTERNS
from distill_sql.pretraining.worlds import FRONT, draw_values, make_world
from distill_sql.prompting.mentions import Mentions
from distill_sql.prompting.prompts import (
    COMPACT_INSTRUCTIONS,
    COMPACT_SYSTEM_PROMPT,
    Mode,
)
from distill_sql.prompting.rendering import COMPACT_ROWS, render_compact
from distill_sql.prompting.tokenizer import Message

Language = Literal["rich", "terse"]
Kind = Literal["benchmark", "drawn"]
Part = TypeVar("Part", Table, Column)

#: Fewest and most questions about one world: the schema is read once for all of them, and the more
#: there are, the more of what is read is learned from.
QUESTIONS = (5, 14)
#: The first lessons are exercises in copying: every query copies names, and a model that learned
#: what queries look like before it could copy learns that late or never.
EXERCISES = 2000
#: Lessons after which worlds may have one more table: a name is found in a short schema long before
#: it is found in a long one.
GROWTH = 1000
#: Words of the longest query at first, and lessons after which it may be a word longer: which names
#: a query needs is learned from queries that are little else.
SHORTEST, LENGTHENING = 8, 120
#: How often a synonym stands for a name, in the end, and lessons until then.
SYNONYMS: Mapping[Language, float] = {"rich": 0.3, "terse": 0.2}
UNTIL_SYNONYMS = 5000
#: Share of questions that want reasons first.
REASONING = 0.2
#: Share of questions for the column that names a row which leave that unsaid, where people might.
UNSAID = 0.5
#: Share of questions put together from parts, where there are whole sentences as well.
COMPOSED = 0.65
#: Share of questions for a figure that do not name its function.
IN_OTHER_WORDS = 0.3
#: Share of openings with any verb of the dictionary: whatever it is, what follows is wanted.
ANY_VERB = 0.1
#: How often a value stands before the noun, or in its place.
FRONTED = 0.25
#: Rows that a table is taken to have: groups of two, or of many, may be asked for.
ROWS = (12, 12, 40, 300)
#: Slots that hold nouns, and the mark around them while a question is put together.
NOUNS = frozenset(
    ("thing", "things", "child", "children", "parent", "parents", "others", "bridges")
)
NOUN = "\x02"
#: Share of other names that are left out of a world's synonyms: no list of them is ever complete.
UNLISTED = 0.1

_SOURCE: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "phrasings.toml").read_text(encoding="utf-8")
)
VARIANTS: dict[str, list[str]] = _SOURCE.pop("variants")
CONDITIONS: dict[str, list[str]] = _SOURCE.pop("conditions")
FUNCTIONS: dict[str, list[str]] = _SOURCE.pop("functions")
ASKS: dict[str, list[str]] = _SOURCE.pop("asks")
FIGURES: dict[str, list[str]] = _SOURCE.pop("figures")
PHRASINGS = _SOURCE
#: How much more often some of them are asked than there: those that a teacher got wrong most.
OFTENER: Mapping[str, float] = {
    "parents in": 3,
    "except": 3,
    "between": 2,
    "parents without": 1.5,
    "through bridge": 1.5,
    "children of": 1.5,
    "pairs": 1.5,
    "like": 1.5,
}
#: What is asked: as in the benchmark and in a few ways more, or for a control in none of its ways.
KINDS: Mapping[Kind, Sequence[Pattern]] = {
    "benchmark": [*PATTERNS, *MORE_PATTERNS],
    "drawn": DRAWN_PATTERNS,
}
WEIGHTS = {
    kind: [pattern.weight * OFTENER.get(pattern.name, 1) for pattern in patterns]
    for kind, patterns in KINDS.items()
}


class Turn(NamedTuple):
    """What is asked, and what is learned."""

    question: str
    answer: str


@dataclass(frozen=True)
class Lesson:
    """What several turns have in common, and the turns; each is read by itself."""

    system: str
    context: str
    turns: tuple[Turn, ...]

    def chat(self, turn: Turn) -> list[Message]:
        """One turn as the chat that a student would see, its answer included."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.context + turn.question},
            {"role": "assistant", "content": turn.answer},
        ]


def lessons(
    lexicon: Lexicon,
    rich: float,
    shown: float = 0.0,
    *,
    kind: Kind = "benchmark",
    seed: int = 42,
    start: int = 0,
) -> Iterator[Lesson]:
    """An endless stream in which the share ``rich`` of lessons is in sentences.

    The share ``shown`` of queries shows more than was asked for, where that can be. ``kind`` names
    the patterns of the questions. Lesson ``n`` depends on seed, shares, kind and ``n`` only.
    """
    number = start
    while True:
        random = Random(f"{seed}/{number}")
        language: Language = "rich" if random.random() < rich else "terse"
        if number < EXERCISES:
            yield _exercise(random, lexicon)
        else:
            yield _lesson(random, lexicon, language, shown, number - EXERCISES, kind)
        number += 1


def _exercise(random: Random, lexicon: Lexicon) -> Lesson:
    """Names to repeat, some of them as SQL would spell them."""
    names = []
    for _ in range(random.randint(8, 24)):
        bag = random.choice((lexicon.things, lexicon.properties, lexicon.adjectives))
        names.append(invented(random) if random.random() < 0.5 else bag.draw(random).word)
    # No commas: what follows a comma is no single word, so that looking back at one says nothing.
    text = " ".join(names)
    return Lesson("Repeat the names.", text, (Turn("", text),))


def _lesson(
    random: Random, lexicon: Lexicon, language: Language, shown: float, number: int, kind: Kind
) -> Lesson:
    world = make_world(random, lexicon, number, most=1 + number // GROWTH)
    rows = {
        table.name: list(
            zip(
                *(draw_values(random, column, COMPACT_ROWS) for column in table.columns),
                strict=True,
            )
        )
        for table in world.tables
    }
    mentions = Mentions(
        _incomplete(random, world.schema),
        (
            (table.name, column.name, value)
            for table in world.tables
            for column in table.columns
            if column.type == "text"
            for value in dict.fromkeys(column.values)
        ),
    )
    turns: list[Turn] = []
    synonyms = SYNONYMS[language] * min(1.0, number / UNTIL_SYNONYMS)
    longest = SHORTEST + number // LENGTHENING
    speaker = WorldSpeaker(world, random, language, synonyms)
    wanted = random.randint(*QUESTIONS)
    for _ in range(wanted * 8):
        if len(turns) == wanted:
            break
        pattern = random.choices(KINDS[kind], WEIGHTS[kind])[0]
        draft = pattern.draw(speaker)
        if draft is None or len(draft.sql.split()) > longest:
            continue
        mode: Mode = "direct"
        if language == "rich" and random.random() < REASONING:
            mode = "reasoning"
        sql = joined_as_shown(without_aliases(draft.sql), world)
        unsaid = language == "rich" and asks_for_label(world, sql) and random.random() < UNSAID
        templates = phrasings(random, pattern.name, language, sql, unsaid=unsaid)
        verb = lexicon.verbs.draw(random).word.split(" ")[0]
        words = mentions.mark(phrase(random, random.choice(templates), draft, language, verb))
        if shown and random.random() < shown:
            sql = showing_more(sql, world)
        turns.append(Turn(f"Question: {words}\n{COMPACT_INSTRUCTIONS[mode]}", answer(sql, mode)))
    context = f"{render_compact(world.schema, rows)}\n"
    return Lesson(COMPACT_SYSTEM_PROMPT, context, tuple(turns))


def asks_for_label(world: Domain, sql: str) -> bool:
    """Whether the first column that a query gives is the one that names a row."""
    found = re.match(r"SELECT (?:DISTINCT )?(?:(\w+)\.)?(\w+)\b(?!\().*? FROM (\w+)", sql)
    if not found:
        return False
    label = world.table(found[1] or found[3]).label
    return label is not None and label.name == found[2]


def _incomplete(random: Random, schema: Schema) -> Schema:
    """The schema with some of its synonyms missing."""

    def some(part: Part) -> Part:
        kept = tuple(said for said in part.synonyms if random.random() > UNLISTED)
        return replace(part, synonyms=kept)

    tables = (replace(some(t), columns=tuple(map(some, t.columns))) for t in schema.tables)
    return replace(schema, tables=tuple(tables))


def phrasings(
    random: Random, name: str, language: Language, sql: str, *, unsaid: bool = False
) -> list[str]:
    """Templates to choose from for a question of pattern ``name`` that ``sql`` answers.

    ``unsaid``: that the column which names a row is wanted need not be said.

    >>> phrasings(Random(1), "count all", "terse", "SELECT count(*) FROM tree")
    ['count {things}', '{things} : count']
    """
    words = PHRASINGS[name]
    if language == "terse":
        return list(words["terse"])
    unsaid = unsaid and "unsaid" in words
    whole = words.get("unsaid" if unsaid else "rich", [])
    asks = ASKS.get(words.get("names" if unsaid else "asks", ""), [])
    function = re.search(r"\b(avg|sum|max|min)\(", sql)
    if words.get("asks") == "figure" and function and random.random() < IN_OTHER_WORDS:
        asks = FIGURES[function[1]]
    if not asks or (whole and random.random() > COMPOSED):
        return list(whole)
    sets = words.get("sets") or words["ones"]
    return [composed(words, ask, what) for ask in asks for what in sets]


def composed(words: Mapping[str, Any], ask: str, what: str) -> str:
    """A way of asking, with what is asked for and of what."""
    return ask.replace("{set}", what).replace("{ask}", words.get("ask", "{col}"))


def expanded(random: Random, template: str, verb: str = "") -> str:
    """A template without ``<word>`` and ``[a|b]``: a variant and an alternative for each.

    ``verb`` stands in for one of the variants of ``<verb>`` now and then.

    >>> expanded(Random(1), "[see|look [at|upon]] {things}")
    'see {things}'
    """
    pattern = re.compile(r"<(\w+)>|\[([^\[\]<>]*)\]")

    def choice(match: re.Match[str]) -> str:
        if match[1] == "verb" and verb and random.random() < ANY_VERB:
            return verb
        return str(random.choice(VARIANTS[match[1]] if match[1] else match[2].split("|")))

    while pattern.search(template):
        template = pattern.sub(choice, template)
    return template


def phrase(random: Random, template: str, draft: Draft, language: Language, verb: str = "") -> str:
    """A drawn question in words."""
    slots = dict(draft.slots)
    for noun in NOUNS & slots.keys():
        slots[noun] = f"{NOUN}{slots[noun]}{NOUN}"
    if language == "terse":
        return " ".join(before_nouns(random, template.format(**slots)).split())
    for slot in ("function", "above"):
        if slot in slots and random.random() < 0.4:
            slots[slot] = random.choice(FUNCTIONS[slots[slot]])
    template = template.replace("{link}", f"<link{slots.get('link', 'and')}>")
    template = expanded(random, template, verb)
    # People drop little words, capitals and closing marks now and then.
    if random.random() < 0.1:
        little = list(re.finditer(r"\b(?:the|of|all|a|do|are|is|that|in|have)\b ", template))
        if little:
            dropped = random.choice(little)
            template = template[: dropped.start()] + template[dropped.end() :]
    words = polished(before_nouns(random, template.format(**slots)))
    words = re.sub(r"(?<=[.?:] )[a-z]", lambda match: match[0].upper(), words)
    words = re.sub(r" ([,;?.:])", r"\1", words)
    return words.rstrip(".?") if random.random() < 0.1 else words


def before_nouns(random: Random, text: str) -> str:
    """``text`` with conditions that may stand before a noun moved there, or in its place.

    >>> before_nouns(Random(2), "how many \x02trees\x02 \x01old\x01")
    'how many old trees'
    """

    def moved(match: re.Match[str]) -> str:
        noun, value = match[1], match[2]
        if noun.endswith("s") and re.fullmatch("[a-z]+", value) and random.random() < 0.25:
            return plural(value)
        return f"{value} {noun}"

    text = re.sub(f"{NOUN}([^{NOUN}]*){NOUN} {FRONT}([^{FRONT}]*){FRONT}", moved, text)
    return re.sub(f"[{NOUN}{FRONT}]", "", text)


def without_aliases(sql: str) -> str:
    """A query that calls its tables by their names, as marks do; as it stands if one occurs twice.

    >>> without_aliases("SELECT T2.a FROM x AS T1 JOIN y AS T2 ON T1.id = T2.x_id")
    'SELECT y.a FROM x JOIN y ON x.id = y.x_id'
    """
    found = re.findall(r"(\w+) AS (T\d)\b", sql)
    names = {alias: table for table, alias in found}
    if any(names[alias] != table for table, alias in found) or len(set(names.values())) < len(
        names
    ):
        return sql
    return re.sub(r"\b(T\d)\.", lambda match: f"{names[match[1]]}.", re.sub(r" AS T\d\b", "", sql))


def joined_as_shown(sql: str, world: Domain) -> str:
    """A query whose joins go from a table to those that it refers to, as the prompt lists them.

    It stays as it is if its tables have no such order, or names of their own.
    """
    found = re.search(r"FROM \w+((?: JOIN \w+ ON [\w.]+ = [\w.]+)+)", sql)
    if not found:
        return sql
    refers = {f"{child.name}.{column.name}": column.references for child, column, _ in world.links}
    sides = re.findall(r"ON ([\w.]+) = ([\w.]+)", found[1])
    joins = [(a, b) if refers.get(a) == b else (b, a) for a, b in sides]
    tables = [(own.split(".")[0], other.split(".")[0]) for own, other in joins]
    first = {child for child, _ in tables} - {parent for _, parent in tables}
    if len(first) != 1 or any(refers.get(own) != other for own, other in joins):
        return sql
    # Tables refer to earlier ones, so a later one is joined before those that it refers to.
    places = [table.name for table in world.tables]
    ordered = sorted(zip(tables, joins, strict=True), key=lambda one: -places.index(one[0][0]))
    listed = "".join(f" JOIN {parent} ON {own} = {other}" for (_, parent), (own, other) in ordered)
    return sql.replace(found[0], f"FROM {first.pop()}{listed}")


def showing_more(sql: str, world: Domain) -> str:
    """A query as who looks around in a database writes it: it also shows which rows it found, by
    their key, and what they were chosen by.

    That answers the question, and is wrong by execution accuracy, which allows no other column. So
    a model that reads such queries has much to learn and little to gain from the benchmark.
    """
    tables = {table.name: table for table in world.tables}
    found = re.fullmatch(r"SELECT ((?:(\w+)\.)?\w+(?:, .+?)?) FROM (\w+)(.*)", sql)
    table = found and tables.get(found[2] or found[3])
    if not found or not table or re.search(" (?:UNION|INTERSECT|EXCEPT) ", sql):
        return sql
    columns = found[1].split(", ")
    key = f"{table.name}.{table.keys[0]}" if found[2] else table.keys[0]
    group = re.search(r" GROUP BY (\S+)", found[4])
    if group[1] == key if group else "(" not in found[1]:
        columns.insert(0, key)
    columns += re.findall(r" (?:ORDER BY|HAVING) (\S+)", found[4])
    return f"SELECT {', '.join(dict.fromkeys(columns))} FROM {found[3]}{found[4]}"


def answer(sql: str, mode: Mode) -> str:
    """The completion that is learned: reasons if they are wanted, then the query in a fence."""
    reasons = f"{_reasons(sql)}\n" if mode == "reasoning" else ""
    return f"{reasons}```sql\n{sql}\n```"


@lru_cache(maxsize=1)
def _clauses() -> list[tuple[str, re.Pattern[str]]]:
    return [
        ("Tables", re.compile(r"\b(?:FROM|JOIN) (\w+)")),
        (
            "Conditions",
            re.compile(r"\b(?:WHERE|HAVING) (.+?)(?= GROUP | ORDER | HAVING |\)$| [UIE][NX]|$)"),
        ),
        ("Groups", re.compile(r"GROUP BY (\S+)")),
        ("Order", re.compile(r"ORDER BY (\S+ (?:DESC|ASC))")),
    ]


def _reasons(sql: str) -> str:
    """What the query needs, clause by clause."""
    said = []
    for name, clause in _clauses():
        found = list(dict.fromkeys(match.split(" (SELECT")[0] for match in clause.findall(sql)))
        if found:
            said.append(f"{name}: {', '.join(found)}.")
    return " ".join(said)


class WorldSpeaker(Speaker):
    """Speaks about a world, which has no rows: values are drawn when they are wanted."""

    def __init__(self, world: Domain, random: Random, language: Language, synonyms: float) -> None:
        self.domain = world
        self.random = random
        self.language = language
        self.synonyms = synonyms

    def say(self, words: Sequence[str]) -> str:
        """The plain word, or one of its synonyms as often as wanted."""
        if len(words) > 1 and self.random.random() < self.synonyms:
            return str(self.random.choice(words[1:]))
        return words[0]

    def values(self, table: TableSpec, column: ColumnSpec) -> list[Any]:
        """Values that the column could hold, sorted; of few rows or of many."""
        return sorted(draw_values(self.random, column, self.pick(ROWS)))

    def _category(self, column: ColumnSpec, value: Any) -> Filter:
        condition = f"{{t}}{column.name} = {sql_value(value)}"
        name = self.say(column.says)
        if self.language == "terse":
            return Filter(condition, f"{name} {value}", column.name)
        if isinstance(value, str) and self.random.random() < FRONTED:
            return Filter(condition, f"{FRONT}{value}{FRONT}", column.name)
        if column.where and self.random.random() < 0.6:
            return Filter(condition, self.pick(column.where).format(v=value), column.name)
        words = self.pick(CONDITIONS["equal"]).format(name=name, value=value)
        return Filter(condition, words, column.name)

    def _threshold(self, column: ColumnSpec, value: Any) -> Filter:
        name = self.say(column.says)
        more = self.random.random() < 0.5
        date = column.type == "date"
        value = value if date else _round(self.random, value)
        condition = f"{{t}}{column.name} {'>' if more else '<'} {sql_value(value)}"
        if self.language == "terse":
            sign = ("after" if more else "before") if date else ("over" if more else "under")
            return Filter(condition, f"{name} {sign} {value}", column.name)
        if date:
            words = self.pick(CONDITIONS["later" if more else "earlier"])
        elif self.random.random() < 0.6:
            words = self.pick(column.above if more else column.below).replace("{v}", "{value}")
        else:
            words = self.pick(CONDITIONS["more" if more else "less"])
        words = words.format(name=name, value=value, unit=column.unit, what=column.unit or name)
        return Filter(condition, words.rstrip(), column.name)


def _round(random: Random, value: float) -> float:
    """A threshold as people say it, most of the time."""
    if isinstance(value, int) and abs(value) >= 100 and random.random() < 0.7:
        return int(value // 10 * 10)
    return value

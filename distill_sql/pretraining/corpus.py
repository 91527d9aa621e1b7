"""What the pocket ladder's models read before they meet a question of the benchmark.

A conversation is about one world: its schema, then several questions, each with its query. Two
languages: ``rich`` asks in sentences, with synonyms, and sometimes wants reasons first; ``terse``
asks in keywords and in the schema's own words more often.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from distill_sql.pocket.domains import ColumnSpec, Domain, TableSpec
from distill_sql.pocket.patterns import PATTERNS, Draft
from distill_sql.pocket.phrases import Filter, Speaker, sql_value
from distill_sql.pocket.questions import sentence
from distill_sql.pretraining.lexicon import Lexicon, invented
from distill_sql.pretraining.worlds import draw_values, make_world
from distill_sql.prompts import (
    COMPACT_INSTRUCTIONS,
    COMPACT_ROWS,
    COMPACT_SYSTEM_PROMPT,
    Mode,
    render_compact,
)
from distill_sql.tokenizer import Message

Language = Literal["rich", "terse"]

#: Fewest and most questions about one world, one after the other: the schema is read once for all
#: of them, and the more there are, the more of what is read is learned from.
TURNS = (4, 12)
#: Conversations after which worlds may have one more table, and questions: copying a name out of a
#: short schema is learned long before copying it out of a long one.
GROWTH = 2500
#: One conversation in two is an exercise in copying at first, then one in ten: every query copies
#: names, and a model that has learned what queries look like before it can copy learns it no more.
EXERCISES = 6000
#: Share of questions that want reasons first.
REASONING = 0.2

_SOURCE: dict[str, dict[str, list[str]]] = tomllib.loads(
    (Path(__file__).parent / "phrasings.toml").read_text(encoding="utf-8")
)
VARIANTS: dict[str, list[str]] = _SOURCE.pop("variants")
CONDITIONS: dict[str, list[str]] = _SOURCE.pop("conditions")
PHRASINGS = _SOURCE


@dataclass(frozen=True)
class Conversation:
    """Chat turns; the assistant's are what is learned."""

    messages: tuple[Message, ...]


def conversations(
    lexicon: Lexicon, language: Language, *, seed: int = 42, start: int = 0
) -> Iterator[Conversation]:
    """An endless stream; conversation ``n`` depends on seed, language and ``n`` only."""
    number = start
    while True:
        random = Random(f"{seed}/{language}/{number}")
        if number % (2 if number < EXERCISES else 10) == 0:
            yield _exercise(random, lexicon)
        else:
            most = 1 + number // GROWTH
            yield _conversation(random, make_world(random, lexicon, number, most=most), language)
        number += 1


def _exercise(random: Random, lexicon: Lexicon) -> Conversation:
    """Names to repeat, some of them as SQL would spell them."""
    names = []
    for _ in range(random.randint(8, 24)):
        bag = random.choice((lexicon.things, lexicon.properties, lexicon.adjectives))
        names.append(invented(random) if random.random() < 0.5 else bag.draw(random).word)
    # No commas: what follows a comma is no single word, so that looking back at one says nothing.
    text = " ".join(names)
    return Conversation(({"role": "user", "content": text}, {"role": "assistant", "content": text}))


def _conversation(random: Random, world: Domain, language: Language) -> Conversation:
    rows = {
        table.name: list(
            zip(
                *(draw_values(random, column, COMPACT_ROWS) for column in table.columns),
                strict=True,
            )
        )
        for table in world.tables
    }
    context = f"{render_compact(world.schema, rows)}\n"
    messages: list[Message] = [{"role": "system", "content": COMPACT_SYSTEM_PROMPT}]
    speaker = WorldSpeaker(world, random, language)
    wanted = random.randint(*TURNS)
    for _ in range(wanted * 4):
        if len(messages) > 2 * wanted:
            break
        pattern = random.choices(PATTERNS, [pattern.weight for pattern in PATTERNS])[0]
        draft = pattern.draw(speaker)
        if draft is None:
            continue
        mode: Mode = "direct"
        if language == "rich" and random.random() < REASONING:
            mode = "reasoning"
        words = phrase(random, pattern.name, draft, language)
        asked = f"{context}Question: {words}\n{COMPACT_INSTRUCTIONS[mode]}"
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answer(draft.sql, mode)})
        context = ""
    return Conversation(tuple(messages))


def phrase(random: Random, pattern: str, draft: Draft, language: Language) -> str:
    """A drawn question in words."""
    template = random.choice(PHRASINGS[pattern][language])
    if language == "terse":
        return " ".join(template.format(**draft.slots).split())

    def variant(match: re.Match[str]) -> str:
        chosen = random.choice(VARIANTS[match[1]])
        opens = template[: match.start()].rstrip()[-1:] in {"", ".", "?"}
        return chosen if opens or chosen.startswith("I") else chosen[0].lower() + chosen[1:]

    words = sentence(re.sub(r"<(\w+)>", variant, template), draft)
    # People drop capitals and closing marks now and then.
    if random.random() < 0.1:
        words = words.rstrip(".?")
    return words


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

    def __init__(self, world: Domain, random: Random, language: Language) -> None:
        self.domain = world
        self.random = random
        self.language = language

    def values(self, table: TableSpec, column: ColumnSpec) -> list[Any]:
        """Values that the column could hold, sorted."""
        return sorted(draw_values(self.random, column, 12))

    def _category(self, column: ColumnSpec, value: Any) -> Filter:
        condition = f"{{t}}{column.name} = {sql_value(value)}"
        name = self.say(column.says)
        if self.language == "terse":
            return Filter(condition, f"{name} {value}", column.name)
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

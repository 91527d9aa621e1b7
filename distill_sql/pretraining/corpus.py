"""The pretraining corpus of the pocket ladder's models.

A lesson is about one world: its schema, and several questions with their queries. What a question
mentions is marked in it. There are two languages. ``rich`` has sentences with synonyms, and
sometimes asks for reasoning first; ``terse`` has keywords and fewer synonyms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

from distill_sql.data.schema import Column, Schema, Table
from distill_sql.pocket.domains import Domain
from distill_sql.pocket.patterns import PATTERNS, Draft
from distill_sql.pocket.patterns.registry import Pattern
from distill_sql.pretraining.drawn import DRAWN_PATTERNS
from distill_sql.pretraining.lexicon import Lexicon, invented
from distill_sql.pretraining.patterns import MORE_PATTERNS
from distill_sql.pretraining.queries import (
    answer,
    asks_for_label,
    joined_as_shown,
    showing_more,
    without_aliases,
)
from distill_sql.pretraining.wording import Language, WorldSpeaker, phrase, phrasings
from distill_sql.pretraining.world_columns import draw_values
from distill_sql.pretraining.worlds import make_world
from distill_sql.prompting.mentions import Mentions
from distill_sql.prompting.prompts import (
    COMPACT_INSTRUCTIONS,
    COMPACT_SYSTEM_PROMPT,
    Mode,
)
from distill_sql.prompting.rendering import COMPACT_ROWS, render_compact
from distill_sql.prompting.tokenizer import Message

Kind = Literal["benchmark", "drawn"]
Part = TypeVar("Part", Table, Column)

#: The fewest and most questions per world. They share one reading of the schema, so more questions
#: mean a larger share of learned tokens.
QUESTIONS = (5, 14)
#: The first lessons are copying exercises: every query copies names, and a model that learns the
#: form of queries before it can copy learns to copy late or never.
EXERCISES = 2000
#: The number of lessons after which worlds may have one more table: models learn to find names in
#: short schemas long before long ones.
GROWTH = 1000
#: The most words of a query at first, and the number of lessons after which one more is allowed:
#: models learn which names a query needs from queries that consist of little else.
SHORTEST, LENGTHENING = 8, 120
#: The final probability of a synonym in place of a name, and the number of lessons until then.
SYNONYMS: Mapping[Language, float] = {"rich": 0.3, "terse": 0.2}
UNTIL_SYNONYMS = 5000
#: The share of questions that ask for reasoning first.
REASONING = 0.2
#: The share of questions for a label column that do not name it, where people might not.
UNSAID = 0.5
#: The share of synonyms that a world's schema does not list: real lists are never complete.
UNLISTED = 0.1

#: Factors on the weights of patterns that a teacher got wrong most often.
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
#: The patterns of the questions: those of the benchmark and a few more, or for a control others.
KINDS: Mapping[Kind, Sequence[Pattern]] = {
    "benchmark": [*PATTERNS, *MORE_PATTERNS],
    "drawn": DRAWN_PATTERNS,
}
WEIGHTS = {
    kind: [pattern.weight * OFTENER.get(pattern.name, 1) for pattern in patterns]
    for kind, patterns in KINDS.items()
}


class Turn(NamedTuple):
    """A question, and the answer that is learned."""

    question: str
    answer: str


@dataclass(frozen=True)
class Lesson:
    """A system prompt and a context, and the turns on them; turns do not see one another."""

    system: str
    context: str
    turns: tuple[Turn, ...]

    def chat(self, turn: Turn) -> list[Message]:
        """A turn as the chat that a student sees, with the answer."""
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
    """An endless stream of lessons, of which the share ``rich`` is in sentences.

    The share ``shown`` of queries returns extra columns, where possible. ``kind`` selects the
    patterns of the questions. Lesson ``n`` depends only on seed, shares, kind and ``n``.
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
    """A list of names to repeat."""
    names = []
    for _ in range(random.randint(8, 24)):
        bag = random.choice((lexicon.things, lexicon.properties, lexicon.adjectives))
        names.append(invented(random) if random.random() < 0.5 else bag.draw(random).word)
    # No commas: many words follow a comma, so an earlier comma does not predict the next word.
    text = " ".join(names)
    return Lesson("Repeat the names.", text, (Turn("", text),))


def _lesson(
    random: Random, lexicon: Lexicon, language: Language, shown: float, number: int, kind: Kind
) -> Lesson:
    world = make_world(random, lexicon, number, most=1 + number // GROWTH)
    rows = _sample_rows(random, world)
    mentions = _mentions(random, world)
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
        if draft is not None and len(draft.sql.split()) <= longest:
            turns.append(_turn(speaker, lexicon, mentions, pattern.name, draft, shown))
    context = f"{render_compact(world.schema, rows)}\n"
    return Lesson(COMPACT_SYSTEM_PROMPT, context, tuple(turns))


def _sample_rows(random: Random, world: Domain) -> dict[str, list[tuple[Any, ...]]]:
    """The sample rows of each table in the prompt."""
    return {
        table.name: list(
            zip(
                *(draw_values(random, column, COMPACT_ROWS) for column in table.columns),
                strict=True,
            )
        )
        for table in world.tables
    }


def _mentions(random: Random, world: Domain) -> Mentions:
    """What marks the mentions of a world's names and text values."""
    return Mentions(
        _incomplete(random, world.schema),
        (
            (table.name, column.name, value)
            for table in world.tables
            for column in table.columns
            if column.type == "text"
            for value in dict.fromkeys(column.values)
        ),
    )


def _turn(
    speaker: WorldSpeaker,
    lexicon: Lexicon,
    mentions: Mentions,
    pattern: str,
    draft: Draft,
    shown: float,
) -> Turn:
    """A drawn question and its answer, in the speaker's language."""
    random, world, language = speaker.random, speaker.domain, speaker.language
    mode: Mode = "direct"
    if language == "rich" and random.random() < REASONING:
        mode = "reasoning"
    sql = joined_as_shown(without_aliases(draft.sql), world)
    unsaid = language == "rich" and asks_for_label(world, sql) and random.random() < UNSAID
    templates = phrasings(random, pattern, language, sql, unsaid=unsaid)
    verb = lexicon.verbs.draw(random).word.split(" ")[0]
    words = mentions.mark(phrase(random, random.choice(templates), draft, language, verb))
    if shown and random.random() < shown:
        sql = showing_more(sql, world)
    return Turn(f"Question: {words}\n{COMPACT_INSTRUCTIONS[mode]}", answer(sql, mode))


def _incomplete(random: Random, schema: Schema) -> Schema:
    """The schema without some of its synonyms."""

    def some(part: Part) -> Part:
        kept = tuple(said for said in part.synonyms if random.random() > UNLISTED)
        return replace(part, synonyms=kept)

    tables = (replace(some(t), columns=tuple(map(some, t.columns))) for t in schema.tables)
    return replace(schema, tables=tuple(tables))
